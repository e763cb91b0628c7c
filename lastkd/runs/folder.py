"""A run's folder: who may write to it, and what an earlier process left in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from filelock import FileLock, Timeout

from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.runs.events import FILE_NAME, EventLog, read_events
from lastkd.settings.runs import RunSettings

SETTINGS = "settings.yaml"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
_POSITION = re.compile(r"step-(\d{8})-epoch-(\d{4})")


class Position(NamedTuple):
    """A place between two steps of a run."""

    step: int
    """Steps done in the whole run."""
    epochs: int
    """Epochs done, evaluated and saved."""

    @property
    def name(self) -> str:
        return f"step-{self.step:08d}-epoch-{self.epochs:04d}"


def positions(run_folder: Path) -> list[Position]:
    """Where a run folder's checkpoints are, whole or damaged, the newest first."""
    names = (_POSITION.fullmatch(path.name) for path in (run_folder / CHECKPOINTS).glob("step-*"))
    return sorted((Position(*map(int, name.groups())) for name in names if name), reverse=True)


@dataclass(frozen=True)
class Found:
    """What the event log says of a run that was begun."""

    start: dict[str, Any]
    finished: bool
    ended: str
    """How its last process ended, in words."""


class RunFolder:
    """One run's folder; only the process that has locked it may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint_folder = path / CHECKPOINTS
        self._lock: FileLock | None = None

    def found(self) -> Found | None:
        """The run in the folder; None where none was begun.

        Raises:
            UserError: the event log is damaged, or there are checkpoints without one.
        """
        log = self.path / FILE_NAME
        events = list(read_events(log)) if log.exists() else []
        start = next((event for event in events if event["event"] == "start"), None)
        if start is None:
            if positions(self.path):
                raise UserError(
                    f"{log}: is missing or empty, but there are checkpoints beside it; bring the "
                    "log back, or remove the folder to begin anew"
                )
            return None
        last = events[-1]
        finished = last["event"] == "end" and last.get("state") == "finished"
        ended = "killed or lost"
        if last["event"] == "end":
            ended = str(last.get("reason") or last.get("state"))
        return Found(start, finished, ended)

    def lock(self) -> None:
        """Keeps every other process from writing, until `release` or until this process ends.

        Raises:
            UserError: another process writes here, or the folder can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK, timeout=0)
            lock.acquire()
            self._lock = lock
        except Timeout:
            raise UserError(
                f"{self.path}: a live run is writing there; wait for its end, stop it, or choose "
                "another --run"
            ) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"{self.path}: cannot be written ({reason}); choose another --run"
            ) from None

    def release(self) -> None:
        """Lets others write; a finished run's folder keeps no trace of the lock."""
        if self._lock is not None:
            if not self.checkpoint_folder.exists():
                (self.path / LOCK).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def open(self, settings: RunSettings) -> EventLog:
        """The event log, to be continued; settings are written, and remains of writing removed.

        Raises:
            UserError: the folder can't be written.
        """
        for remains in (*self.path.glob(".*.part"), *self.checkpoint_folder.glob(".*.part")):
            if remains.is_dir():
                shutil.rmtree(remains)
            else:
                remains.unlink()
        log = EventLog(self.path / FILE_NAME)
        with replacing(self.path / SETTINGS) as part:
            text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
            part.write_text(text, encoding="utf-8")
        return log


class RunGroups(NamedTuple):
    """Numbers of the folders that go together, in their order.

    Runs train together from one place on, so those that were begun can't take in those that
    weren't, and finished ones take no part.
    """

    finished: list[int]
    begun: list[int]
    new: list[int]

    @property
    def in_turn(self) -> list[list[int]]:
        """Those that aren't empty; finished ones first, for a start only says that they are."""
        return [company for company in self if company]


def group_by_progress(folders: Sequence[Path]) -> RunGroups:
    """
    Raises:
        UserError: a folder's event log is damaged.
    """
    found = RunGroups([], [], [])
    for number, folder in enumerate(folders):
        run = RunFolder(folder).found()
        if run is None:
            found.new.append(number)
        elif run.finished:
            found.finished.append(number)
        else:
            found.begun.append(number)
    return found
