"""Atomic writes: files and folders that appear complete or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lastkd.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what is written there is synced and replaces `path`.

    Raises:
        UserError: the disk is full or the folder can't be written; `path` is unchanged.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _errors_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            sync_file(part)
            part.chmod(0o644)  # some writers make their files private
            part.replace(path)
            sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8, whole or not at all.

    Raises:
        UserError: the disk is full or the folder can't be written; `path` is unchanged.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which is synced with its files and replaces `path`.

    Raises:
        UserError: the disk is full or the folder can't be written; nothing is left behind, and
            `path` is unchanged.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with _errors_of(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
            part.mkdir()
            yield part
            for written in part.iterdir():
                sync_file(written)
            sync_folder(part)
            if path.exists():
                shutil.rmtree(path)
            part.rename(path)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turns an `OSError` about `path` into a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "free some space or choose another folder"
        ) from error


def sync_file(path: Path) -> None:
    """Flushes a file's content to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries to the disk, where the system supports it."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
