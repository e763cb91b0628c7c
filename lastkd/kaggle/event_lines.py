"""Event logs carried by a kernel's log: printed line by line there, restored here.

The kernel prints every line of every `events.jsonl` as `@lastkd {"run": ..., "line": ..., "event":
...}`, where `line` counts the file's lines from 0. Lines that the local copy already has are
skipped, so a log may be followed twice, from its beginning or from the middle. Lines that never
arrived are replaced by `gap` events, which readers skip, so that the count stays right.
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
    """Prints what is appended to the event logs in a folder while a kernel works.

    Lines that exist at the start were printed by an earlier version of the kernel.
    """

    def __init__(self, folder: Path, lock: threading.Lock, every_s: float = 2.0) -> None:
        """
        Args:
            folder: contains the logs at any depth; runs are named by their paths in it.
            lock: held while a line is printed, so that other output doesn't run into it.
            every_s: seconds between polls.
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
        """Prints the rest and ends the thread."""
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
                line_of = {"run": run, "line": number, "event": event}
                with self.lock:
                    print(MARK + json.dumps(line_of, ensure_ascii=True), flush=True)
                number += 1
            self.places[log] = (offset + len(whole), number)


class EventFollower:
    """Restores event logs in a local folder from a kernel's event lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[Path, int] = {}

    def log_of(self, run: str) -> Path | None:
        """The log of a run; None if its path leads out of the folder."""
        parts = PurePosixPath(run).parts
        if not parts or ".." in parts or PurePosixPath(run).is_absolute():
            return None
        inside = parts[1:] if parts[0] == "runs" and len(parts) > 1 else parts
        return self.folder.joinpath(*inside) / FILE_NAME

    def take(self, line: str) -> bool:
        """Takes a line of the kernel's log; returns whether it was an event line."""
        parsed = parse(line)
        if parsed is None:
            return line.startswith(MARK)
        log = self.log_of(parsed["run"])
        if log is None:
            return True
        number = int(parsed["line"])
        count = self.counts[log] if log in self.counts else _whole_lines(log)
        if number >= count:
            gap = json.dumps({"event": "gap", "time": round(time.time(), 3)}) + "\n"
            event = json.dumps(parsed["event"], ensure_ascii=False, allow_nan=False) + "\n"
            _append(log, (gap * (number - count) + event).encode())
            count = number + 1
        self.counts[log] = count
        return True


def parse(line: str) -> dict[str, Any] | None:
    """The content of an event line; None if it is another line or a part of one."""
    if not line.startswith(MARK):
        return None
    try:
        content = parse_json(line[len(MARK) :])
        valid = isinstance(content["event"]["event"], str) and isinstance(content["run"], str)
        valid = valid and isinstance(content["line"], int) and content["line"] >= 0
        return content if valid else None
    except (ValueError, KeyError, TypeError):
        return None


def _whole_lines(log: Path) -> int:
    """Cuts off an unfinished last line and returns the number of lines that are left."""
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
    """Makes lines of the pieces in which a log arrives.

    A piece may contain several lines, a part of one, or one without its newline. The end of a piece
    without a newline is a line too, unless it begins an event line that isn't complete yet.
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
