"""The state of a job, carried from one version of a kernel to the next: how far it is, its runs."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.files.json_text import parse_json
from lastkd.kaggle.inputs import Mounts
from lastkd.kaggle.job import JOB_FILE, Job

_SAME_DATE = (1980, 1, 1, 0, 0, 0)


def write_job_file(working: Path, job: Job, *, state: str, reason: str, seconds: float) -> None:
    """Records in the output how far the job is, so that the next version can go on.

    Args:
        state: `done`, `more` or `failed`.
    """
    values = {
        "id": job.id,
        "attempt": job.attempt,
        "state": state,
        "reason": reason,
        "command": job.command,
        "seconds": round(seconds, 1),
    }
    write_text(working / JOB_FILE, json.dumps(values, indent=2) + "\n")


def read_job_file(path: Path) -> dict[str, Any]:
    """The content of a job file; empty if it is missing or damaged."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def pack(places: Mapping[str, Path], out: Path) -> None:
    """Packs files by name; the same files make the same archive, so an upload can resume."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, place in sorted(places.items()):
            info = zipfile.ZipInfo(name, _SAME_DATE)
            with place.open("rb") as file, archive.open(info, "w", force_zip64=True) as into:
                shutil.copyfileobj(file, into, 1 << 20)


def restore(job: Job, mounts: Mounts, working: Path) -> Path | None:
    """Copies the run folders of the previous attempt into the working folder.

    They are mounted as a packed state dataset, or as the output of the previous version, attached
    by hand.

    Returns:
        Where they were found; None if this is the first attempt.

    Raises:
        UserError: this is a later attempt and they aren't among the inputs.
    """
    packed = next(mounts.files(job.state_file), None)
    if packed is not None and packed.is_file():
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(working)
        return packed
    output = next((file.parent for file in mounts.files(JOB_FILE) if _goes_on(file, job)), None)
    if output is not None:
        _copy_writable(output, working)
    elif job.attempt > 1:
        raise UserError(
            f"the state of attempt {job.attempt - 1} ({job.state_file}) is not among the inputs; "
            "start with lastkd kaggle resume, which attaches it"
        )
    return output


def _goes_on(job_file: Path, job: Job) -> bool:
    """Whether a mounted output is that of this job, unfinished."""
    content = read_job_file(job_file)
    same = content.get("id") == job.id and content.get("command") == job.command
    return same and content.get("state") == "more"


def _copy_writable(source: Path, target: Path) -> None:
    """Copies a folder without the read-only modes of its files."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            shutil.copyfile(path, copy)
