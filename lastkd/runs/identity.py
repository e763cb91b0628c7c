"""What decides a run's result, so that a resumed run is the same run."""

from __future__ import annotations

from typing import Any

from lastkd.errors import UserError
from lastkd.runs.folder import Found, RunFolder
from lastkd.settings.runs import RuntimeSettings

_PATHS = ("data", "teacher", "teacher_cache")
"""Settings that are places on a machine: what is found there counts."""


_SHARES = ("batch_size", "accumulation")
"""Settings that share out the global batch: that counts."""


def identity(
    settings: dict[str, Any],
    *,
    data: str,
    teacher: str | None,
    architecture: dict[str, Any] | None,
    global_batch: int,
    precision: str,
) -> dict[str, Any]:
    """All that decides a run's result, by the name under which a user knows it."""
    passed_over = {*RuntimeSettings.model_fields, *_PATHS, *_SHARES}
    decisive = {
        f"--{name.replace('_', '-')}": value
        for name, value in settings.items()
        if name not in passed_over
    }
    return decisive | {
        "the data's content hash": data,
        "the teacher's weights hash": teacher,
        "the model's configuration": architecture,
        "the global batch": global_batch,
        "the precision": precision,
    }


def identity_of(start: dict[str, Any]) -> dict[str, Any]:
    """The identity that a start event tells of."""
    teacher = start.get("teacher")
    return identity(
        start["settings"],
        data=start["data"]["hash"],
        teacher=teacher and teacher["hash"],
        architecture=start.get("architecture"),
        global_batch=start["global_batch"],
        precision=start["device"]["precision"],
    )


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def refuse_another_run(
    folder: RunFolder, found: Found, own: dict[str, Any], option: str = "--run"
) -> None:
    """
    Args:
        option: the one that names another folder.

    Raises:
        UserError: the run in the folder has another identity, naming in what.
    """
    try:
        theirs = identity_of(found.start)
    except (KeyError, TypeError):
        raise UserError(
            f"{folder.path}: its start event lacks what a run is known by; choose another {option}"
        ) from None
    differing = [
        f"{name} {_short(theirs[name])} there and {_short(value)} here"
        for name, value in own.items()
        if name in theirs and theirs[name] != value
    ]
    if differing:
        raise UserError(
            f"{folder.path}: holds a run that differs ({'; '.join(differing)}); start it as it "
            f"was, or choose another {option}"
        )
