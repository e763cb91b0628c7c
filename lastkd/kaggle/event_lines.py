"""A run's events on a kernel's log, and back into an event log on this side.

The kernel prints every line of every `events.jsonl` as `@lastkd {"run": ..., "line": ..., "event":
...}`, where `line` counts the file's lines from 0. A line that the local copy holds already is
passed over, so a log may be followed twice, from its beginning or from the middle. Lines that never
arrived are filled with `gap` events, which readers pass over, so that the count stays right.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path, PurePosixPath
from typing import Any

from lastkd.files.json_text import parse_json
from lastkd.runs.events import FILE_NAME

MARK = "@lastkd "


class EventPrinter(threading.Thread):
    """Prints what is appended to the event logs below a folder while a kernel works.

    What is there already at the start was printed by an earlier version of the kernel.
    """

    def __init__(self, folder: Path, lock: threading.Lock, every_s: float = 2.0) -> None:
        """
        Args:
            folder: the runs' paths are told relative to it.
            lock: held while a line is printed, so that lines of others don't run into it.
        """
        super().__init__(daemon=True)
        self.folder = folder
        self.lock = lock
        self.every_s = every_s
        self.stopped = threading.Event()
        self.places: dict[Path, tuple[int, int]] = {}  # bytes and lines done
        for log in self.logs():
            done = log.read_bytes()
            done = done[: done.rfind(b"\n") + 1]
            self.places[log] = (len(done), done.count(b"\n"))

    def logs(self) -> list[Path]:
        return sorted(self.folder.rglob(FILE_NAME))

    def run(self) -> None:
        while not self.stopped.wait(self.every_s):
            self.print_new()

    def stop(self) -> None:
        """Prints what is left, and ends."""
        self.stopped.set()
        self.join()
        self.print_new()

    def print_new(self) -> None:
        for log in self.logs():
            offset, number = self.places.get(log, (0, 0))
            with log.open("rb") as file:
                file.seek(offset)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            run = log.parent.relative_to(self.folder).as_posix()
            for line in whole.splitlines():
                try:
                    event = parse_json(line)
                except ValueError:
                    event = {"event": "gap"}
                told = {"run": run, "line": number, "event": event}
                with self.lock:
                    print(MARK + json.dumps(told, ensure_ascii=True), flush=True)
                number += 1
            self.places[log] = (offset + len(whole), number)


class EventFollower:
    """Turns a kernel's event lines into event logs below a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[Path, int] = {}

    def log_of(self, run: str) -> Path | None:
        """Where a run's events go; None for a path that leads outside."""
        parts = PurePosixPath(run).parts
        if not parts or ".." in parts or PurePosixPath(run).is_absolute():
            return None
        inside = parts[1:] if parts[0] == "runs" and len(parts) > 1 else parts
        return self.folder.joinpath(*inside) / FILE_NAME

    def take(self, line: str) -> bool:
        """Takes a line of the log; whether it was an event line."""
        told = parse(line)
        if told is None:
            return line.startswith(MARK)
        log = self.log_of(told["run"])
        if log is None:
            return True
        number = int(told["line"])
        have = self.counts[log] if log in self.counts else _mend(log)
        if number >= have:
            gap = json.dumps({"event": "gap", "time": round(time.time(), 3)}) + "\n"
            event = json.dumps(told["event"], ensure_ascii=False, allow_nan=False) + "\n"
            _append(log, (gap * (number - have) + event).encode())
            have = number + 1
        self.counts[log] = have
        return True


def parse(line: str) -> dict[str, Any] | None:
    """The content of a whole event line, or None."""
    if not line.startswith(MARK):
        return None
    try:
        told = parse_json(line[len(MARK) :])
        whole = isinstance(told["event"]["event"], str) and isinstance(told["run"], str)
        return told if whole and isinstance(told["line"], int) and told["line"] >= 0 else None
    except (ValueError, KeyError, TypeError):
        return None


def _mend(log: Path) -> int:
    """Cuts off a last line that was never finished; the number of lines that stay."""
    if not log.exists():
        return 0
    content = log.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(log, whole)
    return content[:whole].count(b"\n")


def _append(log: Path, data: bytes) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab", buffering=0) as file:
        file.write(data)


class LineAssembler:
    """Whole lines from the pieces in which a log arrives.

    A piece may hold several lines, a part of one, or one without its newline. Pieces without a
    newline are lines of their own, unless they begin an event line that isn't whole yet.
    """

    def __init__(self) -> None:
        self._held = ""

    def lines(self, piece: str) -> list[str]:
        text = self._held + piece
        self._held = ""
        *whole, last = text.split("\n")
        if last:
            if last.startswith(MARK) and parse(last) is None:
                self._held = last
            else:
                whole.append(last)
        return [line.rstrip("\r") for line in whole]
