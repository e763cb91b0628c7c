"""A run's identity: everything that decides its result, compared when a run is resumed."""

from __future__ import annotations

from typing import Any

from lastkd.errors import UserError
from lastkd.runs.log import Run
from lastkd.settings.runs import RunSettings, RuntimeSettings

PATHS = ("data", "teacher", "teacher_cache", "performers", "standalone")
"""Settings that are paths: what a result depends on is part of the identity, not where it lies."""

_SHARES = ("batch_size", "accumulation")
"""Settings that divide up the global batch: only their product is part of the identity."""


_ORIGIN = "recipe"
"""Where defaults came from; the values are part of the identity themselves."""


def identity(
    settings: dict[str, Any],
    *,
    data: str,
    teacher: str | None,
    architecture: dict[str, Any] | None,
    global_batch: int,
    precision: str,
    validation: str | None = None,
) -> dict[str, Any]:
    """Everything that decides a run's result, by the name that users know it by."""
    passed_over = {*RuntimeSettings.model_fields, *PATHS, *_SHARES, _ORIGIN}
    if settings.get("steps"):
        passed_over.add("epochs")  # which follow from them
    decisive = {
        f"--{name.replace('_', '-')}": value
        for name, value in settings.items()
        if name not in passed_over
    }
    return decisive | {
        "the data's content hash": data,
        "the validation part's hash": validation,
        "the teacher's weights hash": teacher,
        "the model's configuration": architecture,
        "the global batch": global_batch,
        "the precision": precision,
    }


def identity_of(start: dict[str, Any]) -> dict[str, Any]:
    """The identity that a start event records."""
    teacher = start.get("teacher")
    # what an earlier version didn't know was as it is by default
    defaults = {
        name: field.default
        for name, field in RunSettings.model_fields.items()
        if not field.is_required()
    }
    return identity(
        defaults | start["settings"],
        data=start["data"]["hash"],
        teacher=teacher and teacher["hash"],
        architecture=start.get("architecture"),
        global_batch=start["global_batch"],
        precision=start["device"]["precision"],
        validation=start["data"].get("validation_hash"),
    )


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."


def refuse_another_run(run: Run, expected: dict[str, Any], option: str = "--run") -> None:
    """Checks that the run in a folder is the one that is about to be resumed.

    Args:
        expected: the identity of the run to resume.
        option: the command-line option that names another folder, for the error.

    Raises:
        UserError: the identities differ; the error says in what.
    """
    try:
        actual = identity_of(run.start)
    except (KeyError, TypeError):
        raise UserError(
            f"{run.folder}: its start event lacks what identifies a run; choose another {option}"
        ) from None
    differing = [
        f"{name} {_short(actual[name])} there and {_short(value)} here"
        for name, value in expected.items()
        if name in actual and actual[name] != value
    ]
    if differing:
        raise UserError(
            f"{run.folder}: holds a run that differs ({'; '.join(differing)}); start it as it "
            f"was, or choose another {option}"
        )
