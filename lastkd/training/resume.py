"""Whether a start begins a run, goes on with one, or finds it finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from lastkd.errors import UserError
from lastkd.runs.folder import Position, RunFolder, positions
from lastkd.runs.identity import refuse_another_run
from lastkd.settings.runs import RunSettings
from lastkd.training.checkpoints import Checkpoints, DamagedError, RunState

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Resumed:
    """Where a run goes on.

    Attributes:
        states: a state for each run folder; None where the run begins again at its first step.
        notes: what the user should know.
        ended: how the last process ended, in words.
    """

    position: Position
    states: list[RunState] | None
    ended: str
    notes: list[str] = field(default_factory=list)


Start = Resumed | Literal["new", "finished"]


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
    known = [folder.read() for folder in folders]
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
    for found, own in zip(known, identities, strict=True):
        if found:
            refuse_another_run(found, own)
    if all(found and found.finished for found in known):
        return "finished"  # which is also said of a folder that can't be written
    for folder in folders:
        folder.lock()
    known = [folder.read() for folder in folders]  # another process may have gone on until now
    begun = [(folder, found) for folder, found in zip(folders, known, strict=True) if found]
    if not begun:
        return "new"
    for folder, found in begun:
        if found.finished and not positions(folder.path):
            raise UserError(
                f"{folder.path}: holds a finished run, and others of these aren't; start those by "
                "themselves"
            )
    return _newest(folders, begun[0][1].ended, tensors)


def _newest(folders: Sequence[RunFolder], ended: str, tensors: list[Tensors]) -> Resumed:
    """The newest position of which every folder has a whole checkpoint, or the run's beginning."""
    everywhere = [set(positions(folder.path)) for folder in folders]
    notes: list[str] = []
    for position in sorted(set.intersection(*everywhere), reverse=True):
        states: list[RunState] = []
        read: list[Tensors] = []
        for folder in folders:
            try:
                state, own = Checkpoints(folder.path).read(position)
            except DamagedError as error:
                notes.append(f"{error}; it is set aside as damaged-{position.name}")
                Checkpoints(folder.path).set_aside(position)
                break
            states.append(state)
            read.append(own)
        else:
            tensors.extend(read)
            return Resumed(position, states, ended, notes)
    if notes or max(map(len, everywhere)) > 1:
        paths = ", ".join(str(folder.checkpoint_folder) for folder in folders)
        why = "; ".join(notes) or "they are of different steps"
        raise UserError(
            f"{paths}: no checkpoint is whole in every folder ({why}); remove these folders to "
            "begin the run again"
        )
    # at most a first checkpoint was under way
    return Resumed(Position(0, 0), None, ended)
