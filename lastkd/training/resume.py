"""Whether a start begins a run, goes on with one, or finds it finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from lastkd.config import ConductSettings, RunSettings
from lastkd.errors import UserError
from lastkd.training.run_folder import Found, RunFolder
from lastkd.training.run_state import DamagedError, Place, RunState

Tensors = dict[str, Tensor]

_PATHS = ("data", "teacher", "teacher_cache")
"""Settings that are places on a machine: what is found there counts."""
_SHARES = ("batch_size", "accumulation")
"""Settings that share out the global batch: that counts."""


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on.

    Attributes:
        states: a state for each run folder; None where the run begins again at its first step.
        notes: what the user should know.
        ended: how the last process ended, in words.
    """

    place: Place
    states: list[RunState] | None
    ended: str
    notes: list[str] = field(default_factory=list)


Start = Resumed | Literal["new", "finished"]


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
    passed_over = {*ConductSettings.model_fields, *_PATHS, *_SHARES}
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


def find_start(
    folders: Sequence[RunFolder],
    identities: Sequence[dict[str, Any]],
    settings: RunSettings,
    tensors: list[Tensors],
) -> Start:
    """Locks the folders and says how to start; for the first rank.

    Args:
        tensors: where the state goes on, the tensors for each folder are put in here.

    Raises:
        UserError: the folders are being written, hold other runs, or can't be gone on with.
    """
    known = [folder.found() for folder in folders]
    for folder, found in zip(folders, known, strict=True):
        if found is None and settings.resume == "must":
            raise UserError(
                f"{folder.path}: holds no run to go on with, and --resume is must; check --run"
            )
        if found is not None and settings.resume == "never":
            raise UserError(
                f"{folder.path}: holds a run already, and --resume is never; choose another --run "
                "or remove it"
            )
    for folder, found, own in zip(folders, known, identities, strict=True):
        if found:
            refuse_another_run(folder, found, own)
    if all(found and found.finished for found in known):
        return "finished"  # which is also said of a folder that can't be written
    for folder in folders:
        folder.lock()
    known = [folder.found() for folder in folders]  # another process may have gone on until now
    begun = [(folder, found) for folder, found in zip(folders, known, strict=True) if found]
    if not begun:
        return "new"
    for folder, found in begun:
        if found.finished and not folder.checkpoints.places():
            raise UserError(
                f"{folder.path}: holds a finished run, and others of these aren't; start those by "
                "themselves"
            )
    return _newest(folders, begun[0][1].ended, tensors)


def _newest(folders: Sequence[RunFolder], ended: str, tensors: list[Tensors]) -> Resumed:
    """The newest place of which every folder has a whole checkpoint, or the run's beginning."""
    everywhere = [set(folder.checkpoints.places()) for folder in folders]
    notes: list[str] = []
    for place in sorted(set.intersection(*everywhere), reverse=True):
        states: list[RunState] = []
        read: list[Tensors] = []
        for folder in folders:
            try:
                state, own = folder.checkpoints.read(place)
            except DamagedError as error:
                notes.append(f"{error}; it is set aside as damaged-{place.name}")
                folder.checkpoints.set_aside(place)
                break
            states.append(state)
            read.append(own)
        else:
            tensors.extend(read)
            return Resumed(place, states, ended, notes)
    if notes or max(map(len, everywhere)) > 1:
        paths = ", ".join(str(folder.checkpoints.folder) for folder in folders)
        why = "; ".join(notes) or "they are of different steps"
        raise UserError(
            f"{paths}: no checkpoint is whole in every folder ({why}); remove these folders to "
            "begin the run again"
        )
    # at most a first checkpoint was under way
    return Resumed(Place(0, 0), None, ended)
