"""Reads a growing log that other processes append to, truncate and replace."""

from __future__ import annotations

import os
from io import RawIOBase
from pathlib import Path

_HEAD, _SEAM = 256, 64
LONGEST_LINE = 16 << 20
"""Longer lines are skipped instead of being held in memory until their end."""


def _read_at(file: RawIOBase, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size) or b""


class LogTail:
    """Returns each complete line of a growing file once.

    Every read compares the file's first bytes, which contain the run id, and the bytes before the
    current offset with those seen earlier. A file that was replaced, or truncated and grown past
    the offset, differs there and is read from its beginning.

    Attributes:
        size: of the file at the last read, in bytes.
        offset: up to which it was read.
        gone: the file doesn't exist any more.
        problem: why the file can't be read, or None.
        too_long: lines that were skipped for their length.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.gone = False
        self.problem: str | None = None
        self.reset()

    def reset(self) -> None:
        """Starts over at the beginning of the file."""
        self.offset = 0
        self.too_long = 0
        self._head = self._seam = self._rest = b""
        self._inode: tuple[int, int] | None = None
        self._discarding = False

    @property
    def pending(self) -> bool:
        """More can be read without waiting."""
        return self.offset < self.size

    def read(self, limit: int) -> tuple[bytes, bool]:
        """Complete lines of about `limit` bytes in all, and whether the file was replaced.

        If it was, the lines are the first of the new file. A missing or unreadable file gives no
        lines; see `gone` and `problem`.
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
        """Skips to the first complete line within the last `size` bytes."""
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
            return  # `read` reports it

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
