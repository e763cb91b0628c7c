"""Clips whose prediction distillation corrected or broke, with their skeletons for the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import USUAL_FPS
from lastkd.data.layouts import Layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.calibration import softmax
from lastkd.report.table import Row, Section
from lastkd.show.limbs import colour_of, lighter, limbs

MAX_CLIPS = 4
"""Of each kind, for each student."""
MAX_FRAMES = 60
"""Frames of a clip on the page; longer clips are thinned out."""
UNIT = 4000
"""Coordinates are stored as 16-bit integers, this many to a unit of length."""
ABSENT = -32768
"""Stored in place of the coordinates of an absent body."""


@dataclass(frozen=True)
class JudgedClip:
    """A test clip whose prediction distillation changed, with the predictions of each seed.

    Attributes:
        index: in the predictions.
        mended: more distilled than standalone runs got it right; otherwise it was broken.
        standalone, distilled: by seed, the predicted class.
    """

    name: str
    index: int
    label: int
    mended: bool
    standalone: dict[int, int]
    distilled: dict[int, int]


def judge(row: Row, count: int = MAX_CLIPS) -> list[JudgedClip]:
    """The clips that distillation corrected for most seeds, then those that it broke.

    Clips with equally many seeds are ordered by how much probability their true class gained or
    lost.

    Args:
        row: one student; only its seeds with predictions of both runs count.
        count: the largest number of clips of each kind.
    """
    seeds = list(row.hits)
    if not seeds:
        return []
    ours = [_of_seed(row.distilled, seed) for seed in seeds]
    theirs = [_of_seed(row.standalone, seed) for seed in seeds]
    labels, names = ours[0].labels, ours[0].names
    changes = np.sum([a.astype(int) - b for a, b in row.hits.values()], axis=0)
    clips = np.arange(len(labels))
    certainty = np.sum(
        [
            softmax(a.logits)[clips, labels] - softmax(b.logits)[clips, labels]
            for a, b in zip(ours, theirs, strict=True)
        ],
        axis=0,
    )
    judged = []
    for sign in (1, -1):
        order = np.lexsort((-sign * certainty, -sign * changes))
        for index in [int(i) for i in order if sign * changes[i] > 0][:count]:
            judged.append(
                JudgedClip(
                    names[index],
                    index,
                    int(labels[index]),
                    sign > 0,
                    {seed: int(p.predicted[index]) for seed, p in zip(seeds, theirs, strict=True)},
                    {seed: int(p.predicted[index]) for seed, p in zip(seeds, ours, strict=True)},
                )
            )
    return judged


def _of_seed(runs: Sequence[Any], seed: int) -> Any:
    return next(run.predictions for run in runs if run.seed == seed)


class ClipShelf:
    """The clips of one section that the page shows, each stored once.

    Args:
        section: the set.
        store: the store that its runs were made with.
    """

    def __init__(self, section: Section, store: ClipStore) -> None:
        self.store = store
        self._test = {store.names[i]: int(i) for i in store.split(section.split)[1]}
        self.skeletons: dict[str, dict[str, Any]] = {}

    def cards(self, row: Row) -> list[dict[str, Any]]:
        """The clips of one student, as the page shows them."""
        return [self._card(clip) for clip in judge(row) if clip.name in self._test]

    def _card(self, clip: JudgedClip) -> dict[str, Any]:
        names = self.store.class_names
        if clip.name not in self.skeletons:
            index = self._test[clip.name]
            (fps,) = self.store.frames_per_second(np.array([index]))
            self.skeletons[clip.name] = encode(self.store.clip(index), float(fps))
        return {
            "clip": clip.name,
            "label": names[clip.label],
            "mended": clip.mended,
            "seeds": [
                {
                    "seed": seed,
                    "standalone": names[clip.standalone[seed]],
                    "distilled": names[clip.distilled[seed]],
                }
                for seed in clip.distilled
            ],
        }

    def to_dict(self) -> dict[str, Any]:
        """The skeletons, and the bones with their colours."""
        return {"layout": layout_to_dict(self.store.layout), "skeletons": self.skeletons}


def open_shelves(sections: Sequence[Section], stores: Sequence[Path]) -> dict[str, ClipShelf]:
    """For each section whose store is among `stores`, its clips.

    Raises:
        UserError: a store can't be read, or none of them belongs to any section.
    """
    by_hash = {store.content_hash: store for store in map(ClipStore.open, stores)}
    shelves = {
        section.name: ClipShelf(section, by_hash[section.data["hash"]])
        for section in sections
        if section.data["hash"] in by_hash
    }
    if not shelves:
        raise UserError(
            f"{stores[0]}: no run was made with this store; name the stores of the runs"
        )
    return shelves


def encode(joints: NDArray[np.float32], fps: float = USUAL_FPS) -> dict[str, Any]:
    """A clip for the page's player.

    Args:
        joints: `(T, M, V, C)`, centred; zeros where a body is absent.
        fps: frames per second.

    Returns:
        `shape` (frames, bodies, joints), `seconds`, and `data`: base64 of `(T, M, V, 3)` 16-bit
        integers, little-endian, `ABSENT` for absent bodies.
    """
    T = len(joints)
    frames = np.unique(np.linspace(0, T - 1, min(T, MAX_FRAMES)).round().astype(int))
    thinned = joints[frames]
    present = np.any(thinned, axis=(2, 3))
    bodies = present.any(axis=0)
    thinned, present = thinned[:, bodies], present[:, bodies]
    extent = float(np.abs(thinned).max()) if thinned.size else 1.0
    unit = min(UNIT, 32767 / max(extent, 1e-6))  # so that a distant second body still fits
    coordinates = np.round(thinned * unit).astype("<i2")
    coordinates[~present] = ABSENT
    return {
        "shape": list(coordinates.shape[:3]),
        "seconds": round(T / fps, 2),
        "unit": unit,
        "data": base64.b64encode(coordinates.tobytes()).decode(),
    }


def layout_to_dict(layout: Layout) -> dict[str, Any]:
    """Bones as pairs of joints, their colours by body, and the joint that is drawn as a head."""
    of = limbs(layout)
    return {
        "bones": [list(bone) for bone in layout.bones],
        "colours": [
            [_hex(colour_of(of[bone[0]], body)) for bone in layout.bones] for body in (0, 1)
        ],
        "dark": [
            [_hex(lighter(colour_of(of[bone[0]], body), 0.35)) for bone in layout.bones]
            for body in (0, 1)
        ],
        "heads": [at for at, name in enumerate(layout.joints) if name in ("head", "nose")],
        "flat": layout.dimensions == 2,
    }


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
