"""What a run is resumed from: its whole state at one step, in a folder that is whole or damaged.

A run folder's `checkpoints` holds one folder for each of the two newest places:

    step-00001200-epoch-0003/
        state.json          where the run stands, and under what conditions it went
        tensors.safetensors weights, momentum, sums not yet reported, soft labels of half an epoch
        best.safetensors, last.safetensors   as they were then
        manifest.json       size and SHA-256 of each

Views, order, dropout and learning rate are functions of place, so no generator's state is kept. The
ranks' running statistics differ, but only the first rank's are ever evaluated or saved, and DDP
hands them to the others before each forward pass.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lastkd.errors import UserError
from lastkd.files.atomic import replacing_folder
from lastkd.files.json_text import parse_json
from lastkd.runs.folder import CHECKPOINTS, Position, positions

FORMAT = 1
KEPT = 2
STATE, TENSORS, MANIFEST = (
    "state.json",
    "tensors.safetensors",
    "manifest.json",
)


class DamagedError(UserError):
    """A checkpoint isn't as it was written."""


class Best(BaseModel):
    """The best epoch so far; its confusion matrix is among the tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    top5_hits: int


class RunState(BaseModel):
    """All of a run's state that isn't a tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    run_id: str
    step: int = Field(ge=0)
    epochs: int = Field(ge=0)
    reported: int = Field(ge=0, description="steps done at the last step event")
    skipped: dict[str, int] = Field(description="steps not taken, in all and in a row")
    best: Best | None
    scaler: dict[str, float | int]
    conditions: dict[str, str | int] = Field(
        description="on which the rounding depends: a resumed run repeats them or says so"
    )

    @property
    def position(self) -> Position:
        return Position(self.step, self.epochs)


def _digest(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


class Checkpoints:
    """The checkpoints of one run folder; one process at a time may write them."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self.folder = run_folder / CHECKPOINTS

    def path(self, position: Position) -> Path:
        return self.folder / position.name

    def positions(self) -> list[Position]:
        """Where checkpoints are, whole or damaged, the newest first."""
        return positions(self.run_folder)

    def write(self, state: RunState, tensors: dict[str, Tensor], beside: Sequence[Path]) -> int:
        """Writes a checkpoint, whole or not at all.

        Args:
            beside: files of the run folder that belong to the state, as they are now.

        Returns:
            Its size in bytes.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        files = {
            STATE: state.model_dump_json(indent=1).encode(),
            TENSORS: save(tensors),
        }
        manifest = {name: _digest(content) for name, content in files.items()}
        with replacing_folder(self.path(state.position)) as part:
            for name, content in files.items():
                (part / name).write_bytes(content)
            for path in beside:
                _same_file(path, part / path.name)
                manifest[path.name] = _digest(path.read_bytes())
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return sum(int(about["bytes"]) for about in manifest.values())

    def read(self, position: Position) -> tuple[RunState, dict[str, Tensor]]:
        """A checkpoint's state and tensors (on the CPU), if all of it is as it was written.

        Raises:
            DamagedError: a file is missing, has changed, or isn't what its name says.
        """
        path = self.path(position)
        files = self._checked(path)
        try:
            state = RunState.model_validate_json(files[STATE])
            if state.format != FORMAT or state.position != position:
                raise ValueError("it is of another format or place")
            return state, load(files[TENSORS])
        except (KeyError, ValueError, SafetensorError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedError(f"{path}: is damaged ({reason})") from None

    def _checked(self, path: Path) -> dict[str, bytes]:
        try:
            manifest = parse_json((path / MANIFEST).read_text(encoding="utf-8"))
            names = {path.name for path in path.iterdir()} - {MANIFEST}
            if not isinstance(manifest, dict) or set(manifest) != names:
                raise DamagedError(f"{path}: is damaged (its files aren't those of its manifest)")
            files: dict[str, bytes] = {}
            for name, about in manifest.items():
                content = (path / name).read_bytes()
                if _digest(content) != about:
                    raise DamagedError(f"{path}: is damaged ({name} isn't as it was written)")
                files[name] = content
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedError(f"{path}: is damaged ({reason})") from None
        return files

    def restore_files(self, position: Position, names: Sequence[str]) -> None:
        """Gives the run folder back the files that belong to a checkpoint, as they were then.

        A file that the checkpoint doesn't have was written later, and goes.
        """
        for name in names:
            there, here = self.path(position) / name, self.run_folder / name
            if not there.exists():
                here.unlink(missing_ok=True)
            elif not (here.exists() and here.samefile(there)):
                part = here.with_name(f".{name}.{os.getpid()}.part")
                _same_file(there, part)
                part.replace(here)

    def set_aside(self, position: Position) -> None:
        """Renames a damaged checkpoint, so that it is neither read again nor lost."""
        path = self.path(position)
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)

    def drop_after(self, position: Position) -> None:
        """Removes checkpoints of a later place: the run goes on from this one."""
        for later in self.positions():
            if later > position:
                shutil.rmtree(self.path(later))

    def prune(self) -> None:
        """Keeps the newest checkpoints."""
        for old in self.positions()[KEPT:]:
            shutil.rmtree(self.path(old), ignore_errors=True)

    def clear(self) -> None:
        """Removes all: there is nothing left to resume."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _same_file(path: Path, other: Path) -> None:
    """`path` under another name; files are replaced and never changed, so a link keeps them."""
    try:
        os.link(path, other)
    except OSError:  # a file system without links, or another one
        shutil.copyfile(path, other)
