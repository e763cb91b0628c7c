"""Decides whether a start begins a new run, resumes one, or finds it finished."""

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
    """The point at which a run is resumed.

    Attributes:
        position: steps and epochs done.
        states: one state per run folder; None if the run begins again at its first step.
        ended: how the previous process ended, as text.
        notes: messages for the user.
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
    """Locks the run folders and decides how to start. Only rank 0 calls it.

    Args:
        identities: the identity of each run, by `lastkd.runs.identity`.
        tensors: filled with the tensors of each folder's checkpoint if the run is resumed.

    Raises:
        UserError: the folders are in use, hold other runs, or can't be resumed together.
    """
    if _finished(folders, identities, settings):
        return "finished"  # before locking: a finished run may lie in a read-only folder
    for folder in folders:
        folder.lock()
    if _finished(folders, identities, settings):  # another process may have written until now
        return "finished"
    begun = [(folder, run) for folder in folders if (run := folder.read())]
    if not begun:
        return "new"
    for folder, run in begun:
        if run.finished and not positions(folder.path):
            raise UserError(
                f"{folder.path}: holds a finished run, but others of these runs aren't finished; "
                "start those by themselves"
            )
    return _newest(folders, begun[0][1].ended, tensors)


def _finished(
    folders: Sequence[RunFolder], identities: Sequence[dict[str, Any]], settings: RunSettings
) -> bool:
    """Whether the runs that the folders hold are these, and all finished.

    Raises:
        UserError: a folder holds another run, or one where `--resume` allows none.
    """
    held = [folder.read() for folder in folders]
    for folder, run, identity in zip(folders, held, identities, strict=True):
        if run is None and settings.resume == "must":
            raise UserError(
                f"{folder.path}: holds no run to resume, and --resume is must; check --run"
            )
        if run is not None and settings.resume == "never":
            raise UserError(
                f"{folder.path}: holds a run already, and --resume is never; choose another --run "
                "or remove it"
            )
        if run is not None:
            refuse_another_run(run, identity)
    return all(run is not None and run.finished for run in held)


def _newest(folders: Sequence[RunFolder], ended: str, tensors: list[Tensors]) -> Resumed:
    """The newest position with an intact checkpoint in every folder, or the start of the run."""
    everywhere = [set(positions(folder.path)) for folder in folders]
    notes: list[str] = []
    for position in sorted(set.intersection(*everywhere), reverse=True):
        states: list[RunState] = []
        read: list[Tensors] = []
        for folder in folders:
            try:
                state, checkpoint = Checkpoints(folder.path).read(position)
            except DamagedError as error:
                notes.append(f"{error}; it is set aside as damaged-{position.name}")
                Checkpoints(folder.path).set_aside(position)
                break
            states.append(state)
            read.append(checkpoint)
        else:
            tensors.extend(read)
            return Resumed(position, states, ended, notes)
    if notes or max(map(len, everywhere)) > 1:
        paths = ", ".join(str(folder.checkpoint_folder) for folder in folders)
        why = "; ".join(notes) or "they are of different steps"
        raise UserError(
            f"{paths}: no position has an intact checkpoint in every folder ({why}); remove these "
            "folders to begin the run again"
        )
    # at most the first checkpoint was being written
    return Resumed(Position(0, 0), None, ended)
