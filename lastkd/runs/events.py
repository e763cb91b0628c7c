"""The event log of a run, the only thing that its observers read.

`events.jsonl` in the run folder has one JSON object per line and is only ever appended to. This
module is separate from `training` because its readers (monitor, report) must not import torch.
`docs/events.md` describes every event.
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
"""Version of the written events; since version 2, `soft` replaces `kl`."""
FILE_NAME = "events.jsonl"
BEST, LAST = "best.safetensors", "last.safetensors"
"""The checkpoints of the chosen epoch and of the last one."""
STEPPED = ("step", "epoch", "skipped")
"""Events of a step, which are recorded again when a resumed run repeats the step."""


def _plain(value: Any, key: str, not_finite: list[str]) -> Any:
    """`value` as strict JSON: numbers that aren't finite become null and are listed by key."""
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
    """Appends events to a run's log, each as a complete line in a single write.

    Only one process at a time may have a log open. An existing log is continued: an incomplete
    event that a dying process or machine left at its end is cut off, and steps that were recorded
    before are marked `redone` when they are repeated.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: the file can't be opened for writing, or a line within it isn't an event.
        """
        self.path = path
        self.run_id = uuid.uuid4().hex
        self.begun = False
        """Whether the log contained a start event when it was opened."""
        self._last_step: dict[str, int] = {}
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if path.stat().st_size:
                self._continue()
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None

    def _continue(self) -> None:
        os.ftruncate(self._file, _intact_length(self.path.read_bytes()))
        for record in read_events(self.path):
            if record["event"] == "start":
                self.begun = True
                self.run_id = record.get("run_id", self.run_id)
            if record["event"] in STEPPED and isinstance(record.get("step"), int):
                last = self._last_step.get(record["event"], 0)
                self._last_step[record["event"]] = max(last, record["step"])

    def write(self, event: str, **fields: Any) -> None:
        """Appends an event.

        Raises:
            UserError: the disk is full or the log can't be written.
        """
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
                # only part of the line fitted; a log has complete lines only, so remove it
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self._unwritable(error) from None

    def sync(self) -> None:
        """Flushes the log to the disk."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be written ({error.strerror}); free some space")

    def close(self) -> None:
        os.close(self._file)


def _intact_length(content: bytes) -> int:
    """Length of the intact part: a power cut may leave half a line, or a line of zeros."""
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
    """The events of a log in order; a last line that is still being written is ignored.

    Raises:
        UserError: the log is missing, or a complete line isn't an event.
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
