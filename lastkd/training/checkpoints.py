"""Resumable checkpoints: the complete state of a run at one step, with checksums.

A run folder's `checkpoints` holds one folder for each of the two newest positions:

    step-00001200-epoch-0003/
        state.json          position, counters, and the conditions that the run trained under
        tensors.safetensors weights, momentum, sums not yet reported, soft labels of half an epoch
        best.safetensors, last.safetensors   as they were at that step
        manifest.json       size and SHA-256 of each file

Views, clip order, dropout masks and the learning rate are functions of the position, so no random
generator's state is stored. Running statistics differ between ranks, but only rank 0's are ever
evaluated or saved, and they are broadcast before either.
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
STATE, TENSORS, MANIFEST = "state.json", "tensors.safetensors", "manifest.json"


class DamagedError(UserError):
    """A checkpoint differs from what was written."""


class Best(BaseModel):
    """The best epoch so far; its confusion matrix is stored with the tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    top5_hits: int


class RunState(BaseModel):
    """The part of a run's state that isn't tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    run_id: str
    step: int = Field(ge=0)
    epochs: int = Field(ge=0)
    reported: int = Field(ge=0, description="steps done when the last step event was written")
    skipped: dict[str, int] = Field(description="skipped steps, in total and in a row")
    best: Best | None
    scaler: dict[str, int | float]
    conditions: dict[str, str | int] = Field(
        description="what rounding depends on; resuming under other conditions gives a warning"
    )

    @property
    def position(self) -> Position:
        return Position(self.step, self.epochs)


def _digest(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


class Checkpoints:
    """The resumable checkpoints of one run folder, written by one process at a time."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder
        self.folder = run_folder / CHECKPOINTS

    def path(self, position: Position) -> Path:
        return self.folder / position.name

    def positions(self) -> list[Position]:
        """The positions of all checkpoints, damaged ones included, newest first."""
        return positions(self.run_folder)

    def write(self, state: RunState, tensors: dict[str, Tensor], beside: Sequence[Path]) -> int:
        """Writes a checkpoint atomically.

        Args:
            beside: files of the run folder to store with it, as they are now.

        Returns:
            The size in bytes.

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
                _link_or_copy(path, part / path.name)
                manifest[path.name] = _digest(path.read_bytes())
            (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        return sum(int(entry["bytes"]) for entry in manifest.values())

    def read(self, position: Position) -> tuple[RunState, dict[str, Tensor]]:
        """Reads a checkpoint's state and its tensors (on the CPU), verifying every file.

        Raises:
            DamagedError: a file is missing, has changed, or has other content than its name says.
        """
        path = self.path(position)
        files = self._checked(path)
        try:
            state = RunState.model_validate_json(files[STATE])
            if state.format != FORMAT or state.position != position:
                raise ValueError("its format or position isn't the expected one")
            return state, load(files[TENSORS])
        except (KeyError, ValueError, SafetensorError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedError(f"{path}: is damaged ({reason})") from None

    def _checked(self, path: Path) -> dict[str, bytes]:
        try:
            manifest = parse_json((path / MANIFEST).read_text(encoding="utf-8"))
            names = {path.name for path in path.iterdir()} - {MANIFEST}
            if not isinstance(manifest, dict) or set(manifest) != names:
                raise DamagedError(f"{path}: is damaged (its files don't match its manifest)")
            files: dict[str, bytes] = {}
            for name, entry in manifest.items():
                content = (path / name).read_bytes()
                if _digest(content) != entry:
                    raise DamagedError(
                        f"{path}: is damaged ({name} has changed since it was written)"
                    )
                files[name] = content
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedError(f"{path}: is damaged ({reason})") from None
        return files

    def restore_files(self, position: Position, names: Sequence[str]) -> None:
        """Restores the run folder's files from a checkpoint.

        A file that the checkpoint doesn't contain was written later and is removed.
        """
        for name in names:
            stored, current = self.path(position) / name, self.run_folder / name
            if not stored.exists():
                current.unlink(missing_ok=True)
            elif not (current.exists() and current.samefile(stored)):
                part = current.with_name(f".{name}.{os.getpid()}.part")
                _link_or_copy(stored, part)
                part.replace(current)

    def set_aside(self, position: Position) -> None:
        """Renames a damaged checkpoint so that it isn't read again, without deleting it."""
        path = self.path(position)
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)

    def drop_after(self, position: Position) -> None:
        """Removes the checkpoints after `position`, from which the run continues."""
        for later in self.positions():
            if later > position:
                shutil.rmtree(self.path(later))

    def prune(self) -> None:
        """Removes all but the newest `KEPT` checkpoints."""
        for old in self.positions()[KEPT:]:
            shutil.rmtree(self.path(old), ignore_errors=True)

    def clear(self) -> None:
        """Removes all checkpoints of a finished run."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    """Hard-links a file; a link is safe since files are replaced and never modified in place."""
    try:
        os.link(source, target)
    except OSError:  # no hard links here, or another file system
        shutil.copyfile(source, target)
