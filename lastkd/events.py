"""The event log: the one thing that observers of a run see.

`events.jsonl` in a run's folder gets one JSON object a line and is only ever appended to. It stands
outside `training` because its readers (monitor, report) must not import torch. `docs/events.md`
describes every event.
"""

from __future__ import annotations

import json
import math
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lastkd.errors import UserError

SCHEMA = 1
FILE_NAME = "events.jsonl"


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
    """Appends events to a run's log, each as one whole line in one write."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UserError: the file can't be opened for writing.
        """
        self.path = path
        self.run_id = uuid.uuid4().hex
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None

    def write(self, event: str, **fields: Any) -> None:
        """Appends one event; a full disk is a `UserError`."""
        record: dict[str, Any] = {"event": event, "time": round(time.time(), 3)}
        if event == "start":
            record |= {"schema": SCHEMA, "run_id": self.run_id}
        not_finite: list[str] = []
        record |= _plain(fields, "", not_finite)
        if not_finite:
            record["not_finite"] = not_finite
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            os.write(self._file, line.encode())
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}); free some space"
            ) from None

    def close(self) -> None:
        os.close(self._file)


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
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "event" not in record:
            raise UserError(f"{path}: line {number} is not an event")
        yield record
