"""From any source to a packed store: read, centre, write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lastkd.data.centring import centre_and_scale
from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.sources.base import Source
from lastkd.data.sources.ntu_skeleton import NtuSkeletonFolder
from lastkd.data.sources.pyskl import PysklPickle
from lastkd.data.store import StoreWriter
from lastkd.data.synthetic import SyntheticSettings, SyntheticSource
from lastkd.errors import UserError

SYNTHETIC = "synthetic"
_NO_JOINTS = np.zeros((0, 0, 0, 0), np.float32)


def open_source(
    source: str, *, layout: str | None = None, synthetic: SyntheticSettings | None = None
) -> Source:
    """The reader for `source`: a folder of `.skeleton` files, a pyskl pickle, or `synthetic`.

    Args:
        layout: of a pickle's skeletons, where they aren't NTU's 25 joints.
        synthetic: size and difficulty of the procedural set.

    Raises:
        UserError: the source is missing or of no known format.
    """
    if source == SYNTHETIC:
        return SyntheticSource(synthetic or SyntheticSettings())
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"{path}: no such file or folder; give a folder of .skeleton files, a pyskl pickle, "
            f"or the word {SYNTHETIC}"
        )
    if path.is_dir():
        if layout not in (None, "ntu25"):
            raise UserError(f"{path}: .skeleton files are of layout ntu25, not {layout}")
        return NtuSkeletonFolder(path)
    if path.suffix in (".pkl", ".pickle"):
        return PysklPickle(path, get_layout(layout or "ntu25"))
    raise UserError(
        f"{path}: is of no known format; give a folder of .skeleton files or a pyskl .pkl"
    )


def prepare(
    source: Source, out: Path, *, visited: Callable[[int], None] = lambda count: None
) -> None:
    """Writes the store `out` from a source, each clip centred and scaled.

    Args:
        visited: called with the number of clips stored so far.

    Raises:
        UserError: a clip can't be read or `out` can't be written; nothing is left behind.
    """
    known: list[Clip] = []
    with StoreWriter(out, source.layout) as writer:
        for clip in source:
            joints = centre_and_scale(clip.joints, source.layout)
            writer.add(dataclasses.replace(clip, joints=joints))
            known.append(dataclasses.replace(clip, joints=_NO_JOINTS))
            visited(len(known))
        writer.finish(
            class_names=source.class_names,
            splits=source.splits(known),
            source=source.kind,
            counts=source.counts,
        )
