"""From the bodies that a format holds to a reading: the same steps for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import (
    ACTORS,
    ANY_ORDER,
    EMPTY,
    KEPT,
    BodyFate,
    BodyRules,
    BodyTrack,
    choose_bodies,
)
from lastkd.data.clip import Clip, FloatArray
from lastkd.data.formats.base import BAD, BODILESS, Reading
from lastkd.data.layouts import Layout
from lastkd.data.unseen import mark_unseen, settle_unseen


class Sample(NamedTuple):
    """What is known of a clip beside its joints.

    Attributes:
        where: the file and the clip's place in it, as a fault names them.
        performer, camera, setup: -1 where unknown.
        fps: frames per second, 0 where unknown.
    """

    name: str
    label: int
    where: str
    performer: int = -1
    camera: int = -1
    setup: int = -1
    fps: float = 0.0


def reading_of_slots(
    sample: Sample,
    joints: NDArray[np.floating],
    layout: Layout,
    *,
    scores: NDArray[np.floating] | None = None,
    rules: BodyRules = ANY_ORDER,
    keep_bodies: bool = False,
    padded: bool = True,
) -> Reading:
    """A reading of bodies that lie in the slots of an array.

    Args:
        joints: `(T, M, V, C)`; in whatever spelling of what wasn't seen (see `lastkd.data.unseen`).
        layout: of the joints.
        scores: `(T, M, V)`, where they aren't the third channel of a flat layout.
        rules: how the bodies are ordered.
        keep_bodies: the slots mean something, and bodies stay in them.
        padded: frames without a body at the end are padding, and aren't counted as left out.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 can't hold becomes infinite
        marked = mark_unseen(joints.astype(np.float32, copy=False), layout, scores)
        if np.isinf(marked.sum()) or np.isinf(marked).any():
            return fault(sample, "has a position that is not a finite number")
    present: NDArray[np.bool_] = np.any(marked, axis=(2, 3))
    filled = np.flatnonzero(present.any(axis=1))
    if not len(filled):
        return Reading(sample.name, counts={BODILESS: 1})
    total = int(filled[-1]) + 1 if padded else len(present)
    marked, present = marked[:total], present[:total]
    bodies = np.flatnonzero(present.any(axis=0)).tolist()
    counts: Counter[str] = Counter()
    if keep_bodies and bodies[-1] >= len(KEPT):
        return fault(sample, f"has {bodies[-1] + 1} bodies, of which --keep-bodies takes two")
    if keep_bodies or (len(bodies) == 1 and len(filled) == total):
        chosen = np.ascontiguousarray(
            marked[:, : bodies[-1] + 1] if keep_bodies else marked[:, bodies]
        )
        names = KEPT if keep_bodies else ACTORS
        fates = tuple(
            BodyFate(f"body {body}", int(present[:, body].sum()), names[body * keep_bodies])
            for body in bodies
        )
        if len(filled) < total:
            chosen = chosen[filled]
            counts[EMPTY] = total - len(filled)
        return settled(sample, chosen, layout, counts, fates)
    tracks = []
    for body in bodies:
        frames = np.flatnonzero(present[:, body])
        tracks.append(body_track(frames, marked[frames, body], f"body {body}", layout))
    return reading_of_tracks(sample, tracks, total, layout, rules=rules)


def reading_of_tracks(
    sample: Sample,
    tracks: Sequence[BodyTrack],
    total_frames: int,
    layout: Layout,
    *,
    rules: BodyRules = ANY_ORDER,
) -> Reading:
    """A reading of bodies that come with the frames in which they were seen.

    Args:
        tracks: with NaN where a joint wasn't seen.
        total_frames: T of the recording.
        layout: of the joints.
        rules: how the bodies are ordered.
    """
    chosen = choose_bodies(
        tracks, total_frames, layout.num_joints, dimensions=layout.dimensions, rules=rules
    )
    if not len(chosen.joints):
        return Reading(sample.name, counts={BODILESS: 1}, fates=chosen.fates)
    return settled(sample, chosen.joints, layout, Counter(chosen.left_out), chosen.fates)


def body_track(
    frames: NDArray[np.intp], joints: FloatArray, body_id: str, layout: Layout
) -> BodyTrack:
    """A track `(N, V, 3)` whose score is the mean of its seen joints', in a flat layout."""
    score = 1.0
    if layout.dimensions == 2:
        mean = np.nanmean(joints[..., 2]) if len(joints) else 0.0
        score = float(mean)
    return BodyTrack(frames, joints, body_id, score)


def settled(
    sample: Sample,
    joints: FloatArray,
    layout: Layout,
    counts: Counter[str],
    fates: Sequence[BodyFate],
) -> Reading:
    """A reading of chosen bodies `(T, M, V, 3)`, NaN where a joint wasn't seen."""
    done = settle_unseen(joints, layout)
    counts.update(done.counts)
    if done.joints is None:
        return Reading(sample.name, counts=done.counts, fates=fates)
    about = (sample.performer, sample.camera, sample.setup, sample.fps)
    return Reading(sample.name, Clip(sample.name, sample.label, done.joints, *about), counts, fates)


def fault(sample: Sample, what: str) -> Reading:
    """A bad sample, in a sentence that names it and, where `what` has no way out, one."""
    way_out = "" if "; " in what else "; mend it"
    return Reading(sample.name, counts={BAD: 1}, fault=f"{sample.where} {what}{way_out}")
