"""Reads what was appended to a log that others write, cut and replace."""

from __future__ import annotations

import os
from io import RawIOBase
from pathlib import Path

_HEAD, _SEAM = 256, 64
LONGEST_LINE = 16 << 20
"""A line longer than this is garbage, and is not kept in memory to find its end."""


def _read_at(file: RawIOBase, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size) or b""


class LogTail:
    """The whole lines of a growing file, each once.

    The file's first bytes (which hold the run id) and those before the place that was read to are
    looked at again each time: a file that was replaced, or cut and grown past that place, shows
    itself there, and is read anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.gone = False
        self.problem: str | None = None
        self.reset()

    def reset(self) -> None:
        """Starts again at the file's beginning."""
        self.offset = 0
        self.too_long = 0
        self._head = self._seam = self._rest = b""
        self._inode: tuple[int, int] | None = None
        self._discarding = False

    @property
    def pending(self) -> bool:
        """There is more to read at once."""
        return self.offset < self.size

    def read(self, limit: int) -> tuple[bytes, bool]:
        """Some whole lines, of about `limit` bytes, and whether the file is another one now.

        Where it is, the lines are the new file's first ones. A file that is gone or can't be read
        gives none; see `gone` and `problem`.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                self.gone, self.problem, self.size = False, None, status.st_size
                replaced = self._replaced(file, status)
                if replaced:
                    self.reset()
                self._inode = (status.st_dev, status.st_ino)
                if self.size == self.offset:
                    return b"", replaced
                fresh = _read_at(file, self.offset, limit)
        except FileNotFoundError:
            self.gone = True
            return b"", False
        except OSError as error:
            self.problem = error.strerror or str(error)
            return b"", False
        if len(self._head) < _HEAD:
            self._head = (self._head + fresh)[:_HEAD]
        self.offset += len(fresh)
        self._seam = (self._seam + fresh)[-_SEAM:]
        return self._whole_lines(fresh), replaced

    def start_near_end(self, size: int) -> None:
        """Passes over all but about the last `size` bytes, from a whole line on."""
        try:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if status.st_size <= size:
                    return
                self._inode = (status.st_dev, status.st_ino)
                self._head = _read_at(file, 0, _HEAD)
                self.offset, self.size = status.st_size - size, status.st_size
                self._discarding = True
        except OSError:
            return  # `read` says it

    def _replaced(self, file: RawIOBase, status: os.stat_result) -> bool:
        if self._inode is None or self.offset == 0:
            return False
        if (status.st_dev, status.st_ino) != self._inode or status.st_size < self.offset:
            return True
        return (
            _read_at(file, 0, len(self._head)) != self._head
            or _read_at(file, self.offset - len(self._seam), len(self._seam)) != self._seam
        )

    def _whole_lines(self, fresh: bytes) -> bytes:
        if self._discarding:
            end = fresh.find(b"\n")
            if end < 0:
                return b""
            fresh, self._discarding = fresh[end + 1 :], False
        lines, newline, rest = fresh.rpartition(b"\n")
        if newline:
            lines, self._rest = self._rest + lines, rest
        else:
            lines, self._rest = b"", self._rest + rest
        if len(self._rest) > LONGEST_LINE:
            self._rest, self._discarding = b"", True
            self.too_long += 1
        return lines
