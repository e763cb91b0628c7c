"""A run's folder: its lock, its checkpoints' positions, and what an earlier process left in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml
from filelock import FileLock, Timeout

from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.files.lock import lock
from lastkd.runs.events import FILE_NAME, EventLog
from lastkd.runs.log import Run
from lastkd.settings.runs import RunSettings

SETTINGS = "settings.yaml"
LOCK = ".lock"
CHECKPOINTS = "checkpoints"
_POSITION = re.compile(r"step-(\d{8})-epoch-(\d{4})")


class Position(NamedTuple):
    """A point between two steps of a run."""

    step: int
    """Steps done in the whole run."""
    epochs: int
    """Epochs done, evaluated and saved."""

    @property
    def name(self) -> str:
        return f"step-{self.step:08d}-epoch-{self.epochs:04d}"


def positions(run_folder: Path) -> list[Position]:
    """The positions of a run folder's checkpoints, whole or damaged, newest first."""
    names = (_POSITION.fullmatch(path.name) for path in (run_folder / CHECKPOINTS).glob("step-*"))
    return sorted((Position(*map(int, name.groups())) for name in names if name), reverse=True)


def is_live(run_folder: Path) -> bool:
    """Whether a process holds a run folder's lock."""
    file = run_folder / LOCK
    if not file.exists():
        return False
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return False  # the run itself will say why the folder can't be written or locked


class RunFolder:
    """A run's folder; only the process that holds its lock may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint_folder = path / CHECKPOINTS
        self._lock: FileLock | None = None

    def read(self) -> Run | None:
        """The run in the folder; None where none was begun.

        Raises:
            UserError: the event log is damaged, or there are checkpoints without one.
        """
        run = Run.find(self.path)
        if run is None and positions(self.path):
            raise UserError(
                f"{self.path / FILE_NAME}: is missing or empty, but there are checkpoints beside "
                "it; bring the log back, or remove the folder to begin anew"
            )
        return run

    def lock(self) -> None:
        """Locks the folder until `release` or until this process ends.

        Raises:
            UserError: another process writes here, or the folder can't be written.
        """
        self._lock = lock(
            self.path / LOCK,
            taken=f"{self.path}: a live run is writing there; wait for its end, stop it, or choose "
            "another --run",
            advice="choose another --run",
        )

    def release(self) -> None:
        """Unlocks the folder; in a finished run's folder the lock file is removed too."""
        if self._lock is not None:
            if not self.checkpoint_folder.exists():
                (self.path / LOCK).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def open(self, settings: RunSettings) -> EventLog:
        """Opens the event log to append to, writes the settings and removes partial files.

        Raises:
            UserError: the folder can't be written.
        """
        for partial in (*self.path.glob(".*.part"), *self.checkpoint_folder.glob(".*.part")):
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink()
        log = EventLog(self.path / FILE_NAME)
        text = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
        write_text(self.path / SETTINGS, text)
        return log


@dataclass
class _Begun:
    """Begun runs that can be resumed together.

    Attributes:
        shared: positions at which every one of them has a checkpoint.
        any: positions at which at least one has.
    """

    members: list[int]
    shared: set[Position]
    any: set[Position]

    def takes(self, its_positions: set[Position]) -> bool:
        """Whether a run belongs here: it shares a checkpoint, or no run is past its first one."""
        return bool(self.shared & its_positions) or len(self.any | its_positions) < 2


def group_by_progress(folders: Sequence[Path]) -> list[list[int]]:
    """Groups run folders by progress: only runs at the same step can train together.

    Returns:
        Indices of the folders: of the finished runs, which only report that they are, then of each
        group of begun runs that share a checkpoint, then of those that aren't begun.

    Raises:
        UserError: an event log is damaged.
    """
    finished: list[int] = []
    new: list[int] = []
    begun: list[_Begun] = []
    for number, folder in enumerate(folders):
        run = RunFolder(folder).read()
        if run is None:
            new.append(number)
        elif run.finished:
            finished.append(number)
        else:
            there = set(positions(folder))
            group = next((group for group in begun if group.takes(there)), None)
            if group is None:
                begun.append(_Begun([number], there, there))
            else:
                group.members.append(number)
                group.shared, group.any = group.shared & there, group.any | there
    return [group for group in (finished, *(one.members for one in begun), new) if group]
