"""How far a job is, and its run folders, carried from one version of a kernel to the next."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.files.json_text import parse_json
from lastkd.kaggle.inputs import Mounts
from lastkd.kaggle.job import JOB_FILE, Job

_SAME_DATE = (1980, 1, 1, 0, 0, 0)


def write_job_file(
    working: Path, job: Job, *, state: str, reason: str, done: list[int], seconds: float
) -> None:
    """Says in the output how far the job is, so that the other side can go on.

    Args:
        state: `done`, `more` or `failed`.
        done: the numbers of the steps that are done.
    """
    said = {
        "id": job.id,
        "attempt": job.attempt,
        "state": state,
        "reason": reason,
        "done": done,
        "steps": list(job.steps),
        "seconds": round(seconds, 1),
    }
    with replacing(working / JOB_FILE) as part:
        part.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def read_job_file(path: Path) -> dict[str, Any]:
    """What a job file says; nothing where it is missing or damaged."""
    try:
        said = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def pack(places: Mapping[str, Path], out: Path) -> None:
    """Packs an output; the same output makes the same file, so that its upload can go on."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, place in sorted(places.items()):
            info = zipfile.ZipInfo(name, _SAME_DATE)
            with place.open("rb") as file, archive.open(info, "w", force_zip64=True) as into:
                shutil.copyfileobj(file, into, 1 << 20)


def restore(job: Job, mounts: Mounts, working: Path) -> Path | None:
    """Brings the run folders of the attempt before into the working folder.

    They come packed in a state dataset, or as the output of the version before, attached by hand.

    Returns:
        Where they were; None where the job begins.

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
    said = read_job_file(job_file)
    mine = said.get("id") == job.id and said.get("steps") == list(job.steps)
    return mine and said.get("state") == "more"


def _copy_writable(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            shutil.copyfile(path, copy)
