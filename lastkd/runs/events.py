"""The event log: the one thing that observers of a run see.

`events.jsonl` in a run's folder gets one JSON object a line and is only ever appended to. It stands
outside `training` because its readers (monitor, report) must not import torch. `docs/events.md`
describes every event.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.files.json_text import parse_json

SCHEMA = 2
"""Version of the events that are written; since 2 `soft` stands in place of `kl`."""
FILE_NAME = "events.jsonl"
STEPPED = ("step", "epoch", "skipped")
"""Events that belong to a step, and come again when it is done again."""


def _plain(value: Any, key: str, not_finite: list[str]) -> Any:
    """`value` as strict JSON has it: a number that isn't finite becomes null and is listed."""
    if isinstance(value, float) and not math.isfinite(value):
        not_finite.append(key)
        return None
    if isinstance(value, dict):
        return {k: _plain(v, f"{key}.{k}" if key else k, not_finite) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{key}[{i}]", not_finite) for i, v in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    return value


class EventLog:
    """Appends events to a run's log, each as one whole line in one write.

    One process at a time may have a log open. A log that exists is continued: what a dying process
    or machine left at its end and is no whole event is cut off, and steps that were recorded before
    are marked `redone` where they come again.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: the file can't be opened for writing, or a line within it isn't an event.
        """
        self.path = path
        self.run_id = uuid.uuid4().hex
        self.begun = False
        """Whether the log held a start event when it was opened."""
        self._last_step: dict[str, int] = {}
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if path.stat().st_size:
                self._continue()
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None

    def _continue(self) -> None:
        os.ftruncate(self._file, _whole_length(self.path.read_bytes()))
        for record in read_events(self.path):
            if record["event"] == "start":
                self.begun = True
                self.run_id = record.get("run_id", self.run_id)
            if record["event"] in STEPPED and isinstance(record.get("step"), int):
                last = self._last_step.get(record["event"], 0)
                self._last_step[record["event"]] = max(last, record["step"])

    def write(self, event: str, **fields: Any) -> None:
        """Appends one event; a full disk is a `UserError`."""
        record: dict[str, Any] = {"event": event, "time": round(time.time(), 3)}
        if event == "start":
            record |= {"schema": SCHEMA}
        if event in ("start", "resume"):
            record |= {"run_id": self.run_id}
        not_finite: list[str] = []
        record |= _plain(fields, "", not_finite)
        if fields.get("step", math.inf) <= self._last_step.get(event, 0):
            record["redone"] = True
        if not_finite:
            record["not_finite"] = not_finite
        line = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            if (written := os.write(self._file, line)) < len(line):
                # a part of it found room; a log holds whole lines, so even that goes
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._unwritable(error) from None

    def sync(self) -> None:
        """Has the disk take what was written."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be written ({error.strerror}); free some space")

    def close(self) -> None:
        os.close(self._file)


def _whole_length(content: bytes) -> int:
    """Up to where a log's content is whole: a power cut leaves half a line, or one of zeros."""
    end = content.rfind(b"\n") + 1
    while end:
        start = content.rfind(b"\n", 0, end - 1) + 1
        try:
            if isinstance(parse_json(content[start:end]), dict):
                break
        except ValueError:
            pass
        end = start
    return end


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log in order; a last line that is still being written is passed over.

    Raises:
        UserError: the log is missing, or a whole line isn't an event.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = parse_json(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "event" not in record:
            raise UserError(f"{path}: line {number} is not an event")
        yield record
