"""Locks between processes, each a file that its holder's end releases too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lastkd.errors import UserError


def lock(path: Path, *, taken: str | None, advice: str) -> FileLock:
    """Acquires a lock on a file, whose folder is made if it isn't there.

    Args:
        taken: the error where another process holds it; None to wait for it.
        advice: the way out where the folder can't be written.

    Raises:
        UserError: another process holds it, or the folder can't be written.
    """
    held = FileLock(path, timeout=-1 if taken is None else 0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        raise UserError(taken or f"{path}: another process holds it") from None
    # filelock raises NotImplementedError where the file system has no locks
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path.parent}: cannot be written ({reason}); {advice}") from None
    return held


@contextmanager
def locked(path: Path, *, taken: str | None, advice: str) -> Iterator[None]:
    """Holds a lock for the length of a block; arguments and errors as of `lock`."""
    held = lock(path, taken=taken, advice=advice)
    try:
        yield
    finally:
        held.release()
