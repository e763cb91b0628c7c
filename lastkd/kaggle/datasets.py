"""Private datasets: collects their files, uploads them and waits until they are ready."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

from lastkd.data.store.clip_store import ABOUT_FILE, CLIPS_FILE, DETAILS_FILE, holds_store
from lastkd.errors import UserError
from lastkd.kaggle.api_types import Dataset
from lastkd.kaggle.credentials import refuse_credential_files, refuse_secrets
from lastkd.kaggle.inputs import is_checkpoint
from lastkd.kaggle.references import Reference
from lastkd.kaggle.service import Kaggle
from lastkd.runs.events import FILE_NAME
from lastkd.terminal import Echo

READY_WITHIN_S = 3 * 3600.0
LICENCE_NOTE = (
    "The dataset is private. NTU RGB+D's licence forbids passing its data on: never make it public."
)

_BESIDE_CHECKPOINT = (FILE_NAME, "settings.yaml")
_READ_FOR_SECRETS = (".json", ".jsonl", ".yaml", ".txt", ".log")


def collect(folder: Path) -> tuple[str, dict[str, Path]]:
    """What to upload of a folder.

    A store is uploaded as it is; of run folders, the checkpoints, settings and event logs.

    Returns:
        A description such as `2 checkpoints`, and the files by their names in the dataset.

    Raises:
        UserError: the folder is neither, or a file contains credentials or is named like one
            that does.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a store or a folder with checkpoints")
    everything = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    refuse_credential_files(everything)
    if holds_store(folder):
        files = [folder / name for name in (ABOUT_FILE, CLIPS_FILE, DETAILS_FILE)]
        # the service takes no empty file
        chosen = [path for path in files if path.is_file() and path.stat().st_size]
        description = "a store"
    else:
        checkpoints = [path for path in everything if is_checkpoint(path)]
        beside = [path.parent / name for path in checkpoints for name in _BESIDE_CHECKPOINT]
        chosen = [*checkpoints, *(path for path in dict.fromkeys(beside) if path.is_file())]
        description = f"{len(checkpoints)} checkpoint{'s' if len(checkpoints) > 1 else ''}"
        if not checkpoints:
            raise UserError(
                f"{folder}: contains neither a store (store.json) nor a checkpoint (.safetensors); "
                "make a store with lastkd prepare"
            )
    for path in chosen:
        if path.suffix in _READ_FOR_SECRETS:
            refuse_secrets(path.read_text(encoding="utf-8", errors="replace"), str(path))
    return description, {path.relative_to(folder).as_posix(): path for path in chosen}


def _stage(reference: Reference, files: Mapping[str, Path], title: str) -> Path:
    """Makes the folder that the client uploads: the files and the metadata.

    Its path is the same each time, so that an interrupted upload resumes.
    """
    stage = user_cache_path("lastkd") / "kaggle" / f"{reference.owner}.{reference.slug}"
    shutil.rmtree(stage, ignore_errors=True)
    for name, path in files.items():
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(path.resolve())
        except OSError:  # a system without links
            shutil.copy2(path, target)
    metadata = {"id": str(reference), "title": title, "licenses": [{"name": "other"}]}
    (stage / "dataset-metadata.json").write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    return stage


def send(
    service: Kaggle,
    reference: Reference,
    files: Mapping[str, Path],
    *,
    notes: str,
    poll_s: float,
    echo: Echo,
) -> Dataset:
    """Makes a dataset, or a new version of it, and waits until it can be used.

    Args:
        files: by their names in the dataset, which may have folders.
        notes: on the version.
        poll_s: seconds between polls.

    Raises:
        UserError: the service refuses it, or a file is missing after the upload.
    """
    before = service.dataset(reference)
    total = sum(path.stat().st_size for path in files.values())
    doing = "a new dataset" if before is None else f"version {before.version + 1}"
    count = f"{len(files)} file{'s' if len(files) != 1 else ''}"
    echo(f"{reference}: {doing}, {count}, {total / 1e6:,.1f} MB, private")
    title = reference.slug.replace("-", " ")
    stage = _stage(reference, files, title)
    try:
        shown = sys.stderr.isatty()
        service.send_dataset(stage, new=before is None, notes=notes, shown=shown)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    now = wait_ready(
        service, reference, after=before.version if before else 0, poll_s=poll_s, echo=echo
    )
    # the client silently leaves out a file whose upload failed
    arrived = service.dataset_files(reference)
    for name, path in files.items():
        size = path.stat().st_size
        if "/" not in name and arrived.get(name) != size:
            raise UserError(
                f"{reference}: {name} has not arrived whole ({arrived.get(name, 0):,} of {size:,} "
                "bytes); run the same command again"
            )
    echo(f"{reference}: version {now.version} is ready")
    return now


def wait_ready(
    service: Kaggle, reference: Reference, *, after: int, poll_s: float, echo: Echo
) -> Dataset:
    """Waits until a version after `after` can be used.

    Raises:
        UserError: Kaggle failed to make it, or hasn't for hours.
    """
    started = time.monotonic()
    echoed = ""
    while time.monotonic() - started < READY_WITHIN_S:
        now = service.dataset(reference)
        if now is not None and now.version > after:
            if now.failed:
                raise UserError(
                    f"{reference}: Kaggle says that it is {now.status}; upload it again"
                )
            if now.ready:
                return now
        status = "not visible yet" if now is None else now.status.replace("_", " ")
        if status != echoed:
            echo(f"{reference}: waiting until it is ready ({status})")
            echoed = status
        time.sleep(poll_s)
    raise UserError(
        f"{reference}: isn't ready after {READY_WITHIN_S / 3600:.0f} h; look at its page"
    )


def fixed_time(path: Path) -> None:
    """Gives a file the same date each time it is written, so that an interrupted upload resumes."""
    os.utime(path, (315532800, 315532800))
