"""Finds a kernel's inputs among Kaggle's mounts by their content.

A dataset is mounted at `input/datasets/OWNER/SLUG` and a kernel's output at
`input/notebooks/OWNER/SLUG`; formerly both were at `input/SLUG`. So folders of the right name are
searched first, then everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from lastkd.data.open_source import find_sources, takes_several
from lastkd.data.store.clip_store import holds_store
from lastkd.errors import UserError
from lastkd.files.safetensors_header import metadata_of
from lastkd.kaggle.references import KaggleInput
from lastkd.runs.events import BEST


def _below(folder: Path) -> Iterator[Path]:
    """Files and folders at any depth, sorted, without hidden ones."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*folders, *files]):
            yield Path(parent) / name


def of_run_state(path: Path) -> bool:
    """Whether a file is part of a run's resume state, which has copies of its checkpoints."""
    return path.parent.name.startswith("step-") and path.parent.parent.name == "checkpoints"


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint of lastkd, by its safetensors header."""
    if path.suffix != ".safetensors" or of_run_state(path) or not path.is_file():
        return False
    metadata = metadata_of(path)
    return "lastkd" in metadata and "info" in metadata


def skeleton_sources(start: Path) -> list[Path]:
    """The sources for `lastkd prepare` in a mounted dataset: folders or files of one format.

    Files that make up one set, such as NTU's zips, are returned together; any other file is a set
    by itself.
    """
    return find_sources(start) or [start]


def _only_one(name: str, source: KaggleInput, mount: Path, paths: list[Path]) -> None:
    if len(paths) > 1:
        shown = ", ".join(str(path.relative_to(mount)) for path in paths[:5])
        raise UserError(
            f"input {name} ({source}): contains {len(paths)} that fit ({shown}); give one as "
            f"{source}/PATH"
        )


_KINDS: dict[str, tuple[str, Callable[[Path], bool]]] = {
    "data": ("store (store.json, clips.safetensors)", holds_store),
    "teacher": ("checkpoint of lastkd (.safetensors)", is_checkpoint),
    "checkpoint": ("checkpoint of lastkd (.safetensors)", is_checkpoint),
}


def _kind(name: str) -> str:
    """The kind of content that an input must have: its name without its number."""
    return name.rstrip("0123456789")


class Mounts:
    """The folder in which Kaggle mounts a kernel's inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def described(self) -> list[str]:
        """A line for each mounted dataset and kernel."""
        lines = []
        for group in sorted(self.folder.glob("*")):
            deep = group.name in ("datasets", "notebooks")
            for mount in sorted(group.glob("*/*") if deep else [group]):
                inside = sorted(path.name for path in mount.iterdir()) if mount.is_dir() else []
                more = f" and {len(inside) - 5} more" if len(inside) > 5 else ""
                lines.append(f"{mount}: {', '.join(inside[:5])}{more}")
        return lines

    def candidates(self, source: KaggleInput) -> list[Path]:
        """The folders in which a source may be mounted."""
        reference = source.reference
        kinds = ("notebooks", "datasets") if source.kernel else ("datasets", "notebooks")
        places = [self.folder / kind / reference.owner / reference.slug for kind in kinds]
        places.append(self.folder / reference.slug)
        return [place for place in places if place.is_dir()] or [self.folder]

    def find(self, name: str, source: KaggleInput) -> list[Path]:
        """The paths of an input: one, or several checkpoints or zip files of skeletons.

        Args:
            name: `data`, `teacher`, `checkpoint` or `source`, which says what it has to contain;
                further ones are numbered (`teacher2`).

        Raises:
            UserError: nothing that fits is mounted, or more than one if one is expected.
        """
        for place in self.candidates(source):
            paths = self._inside(name, source, place)
            if paths:
                return paths
        kind = _kind(name)
        expected = _KINDS[kind][0] if kind in _KINDS else "file or folder"
        mounts = "; ".join(self.described()) or "nothing is mounted"
        raise UserError(f"input {name} ({source}): no {expected} among the inputs ({mounts})")

    def _inside(self, name: str, source: KaggleInput, place: Path) -> list[Path]:
        start = place / source.path if source.path else place
        if not start.exists():
            return []
        kind = _kind(name)
        if kind not in _KINDS:
            paths = skeleton_sources(start)
            _only_one(name, source, place, [] if takes_several(paths) else paths)
            return paths
        fits = _KINDS[kind][1]
        paths = [path for path in (start, *_below(start)) if fits(path)]
        if kind in ("teacher", "checkpoint"):
            paths = [path for path in paths if path.name == BEST] or paths
        if kind != "checkpoint":
            _only_one(name, source, place, paths)
        return paths

    def files(self, name: str) -> Iterator[Path]:
        """All files of a name, wherever they are mounted."""
        return (path for path in _below(self.folder) if path.name == name)
