"""Downloads a kernel's output: each file whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.files.json_text import parse_json
from lastkd.kaggle.api_types import OutputFile
from lastkd.kaggle.job import JOB_FILE
from lastkd.kaggle.service import RETRIES_AFTER_S, UnreachableError
from lastkd.runs.events import FILE_NAME
from lastkd.terminal import Echo

_CHUNK = 1 << 20
_TIMEOUT_S = (20.0, 120.0)  # to connect, between two pieces


def progress_bar() -> Progress:
    """A bar for a download on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class _BrokenError(Exception):
    """The connection broke; the download may be tried again."""


def _write(file: OutputFile, out: BinaryIO, shown: Callable[[int, int], None]) -> None:
    """Streams a file to `out`.

    Args:
        shown: called with the bytes written and the total, which is 0 if it isn't known.
    """
    import requests

    try:
        with requests.get(file.url, stream=True, timeout=_TIMEOUT_S) as answer:
            if not answer.ok:  # its address is as good as a password: it isn't shown
                raise UserError(
                    f"{file.name}: Kaggle refuses the download (HTTP {answer.status_code}); run "
                    "the same command again, as its addresses don't live long"
                )
            length = int(answer.headers.get("Content-Length") or 0)
            # a packed answer is longer or shorter than it says
            plain = "Content-Encoding" not in answer.headers
            written = 0
            for chunk in answer.iter_content(_CHUNK):
                written += out.write(chunk)
                shown(written, length)
    except requests.RequestException as error:
        raise _BrokenError(type(error).__name__) from None
    if plain and length and written != length:
        raise _BrokenError(f"{written} of {length} bytes")


def download(file: OutputFile, target: Path, progress: Progress) -> None:
    """Downloads a file, and again if the connection breaks.

    Raises:
        UserError: it breaks every time, or the file can't be written.
    """
    for wait in (*RETRIES_AFTER_S, None):
        task = progress.add_task(file.name, total=None)

        def shown(written: int, length: int, task: TaskID = task) -> None:
            progress.update(task, completed=written, total=length or None)

        try:
            with replacing(target) as part, part.open("wb") as out:
                _write(file, out, shown)
            return
        except _BrokenError as error:
            if wait is None:
                raise UnreachableError(
                    f"{file.name}: the download broke off ({error}); run the same command again"
                ) from None
            time.sleep(wait)
        finally:
            progress.remove_task(task)


def local_path(name: str, folder: Path) -> Path:
    """Where a file of the output goes: run folders lie directly in `folder`.

    Raises:
        UserError: the name leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(f"{name!r}: the output names a file outside its folder; nothing is fetched")
    parts = path.parts[1:] if path.parts[0] == "runs" and len(path.parts) > 1 else path.parts
    return folder.joinpath(*parts)


def _take_events(fetched: Path, log: Path) -> None:
    """Completes a followed log in place, so that its readers lose nothing."""
    whole, followed = fetched.read_bytes(), log.read_bytes() if log.exists() else b""
    if followed and whole.startswith(followed):
        with log.open("ab", buffering=0) as file:
            file.write(whole[len(followed) :])
        fetched.unlink()
    else:
        fetched.replace(log)


def fetch(
    files: list[OutputFile],
    folder: Path,
    *,
    include: Callable[[str], bool],
    echo: Echo,
) -> dict[str, Path]:
    """Downloads the wanted files.

    Returns:
        Where each is, by its name in the output.

    Raises:
        UserError: as in `download` and `local_path`.
    """
    chosen = [file for file in files if include(file.name)]
    paths = {file.name: local_path(file.name, folder) for file in chosen}
    with progress_bar() as progress:
        for file in chosen:
            path = paths[file.name]
            if path.name == FILE_NAME:
                fetched = path.with_name(f".{FILE_NAME}.fetched")
                download(file, fetched, progress)
                _take_events(fetched, path)
            else:
                download(file, path, progress)
    size = sum(path.stat().st_size for path in paths.values())
    echo(f"{folder}: {len(paths)} files, {size / 1e6:,.1f} MB")
    return paths


def fetch_job(files: list[OutputFile], folder: Path) -> dict[str, Any] | None:
    """The content of the job file in the output; None if there is none.

    Raises:
        UserError: as in `download`, or the file is damaged.
    """
    file = next((file for file in files if file.name == JOB_FILE), None)
    if file is None:
        return None
    path = folder / JOB_FILE
    with progress_bar() as progress:
        download(file, path, progress)
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: is damaged; fetch again") from None
    return content
