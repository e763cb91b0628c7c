"""The kernels pushed from this machine: a convenience, since the service has the truth."""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager
from pathlib import Path

from platformdirs import user_state_path
from pydantic import BaseModel, ConfigDict, ValidationError

from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.files.lock import locked
from lastkd.kaggle.references import Reference, reference


class Entry(BaseModel):
    """What was last pushed to a kernel."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kernel: str
    url: str = ""
    job: str = ""
    pushed_attempt: int = 0
    pushed_version: int = 0
    pushed_at: float = 0.0


def _folder() -> Path:
    return user_state_path("lastkd") / "kaggle"


def _path(kernel: Reference) -> Path:
    return _folder() / f"{kernel.owner}.{kernel.slug}.json"


def recall(kernel: Reference) -> Entry:
    """The entry of a kernel; an empty one if it is missing or damaged."""
    try:
        return Entry.model_validate_json(_path(kernel).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return Entry(kernel=str(kernel))


def remember(kernel: Reference, *, job: str, attempt: int, version: int, url: str) -> None:
    """Writes the entry of a kernel."""
    entry = Entry(
        kernel=str(kernel),
        job=job,
        pushed_attempt=attempt,
        pushed_version=version,
        pushed_at=time.time(),
        url=url,
    )
    write_text(_path(kernel), entry.model_dump_json(indent=2) + "\n")


def latest() -> Reference:
    """The kernel that was last pushed from here.

    Raises:
        UserError: none was.
    """
    entries = []
    for path in _folder().glob("*.json"):
        with contextlib.suppress(OSError, ValidationError):
            entries.append(Entry.model_validate_json(path.read_text(encoding="utf-8")))
    if not entries:
        raise UserError("nothing was pushed from here yet; name the kernel as OWNER/SLUG")
    return reference(max(entries, key=lambda entry: entry.pushed_at).kernel)


def exclusive(kernel: Reference) -> AbstractContextManager[None]:
    """Keeps other commands on this machine from working on the same kernel meanwhile.

    Entering it raises a UserError where one is working on it.
    """
    return locked(
        _path(kernel).with_suffix(".lock"),
        taken=f"{kernel}: another lastkd kaggle command is using it; wait for its end, or stop it",
        advice="free some space, or make it writable",
    )
