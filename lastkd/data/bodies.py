"""Which of the tracked bodies are the actors of an NTU clip.

A Kinect loses people and finds chairs: a clip may hold more ids than persons. The rule is the one
that the field's results rest on, from CTR-GCN's preparation of NTU RGB+D (Chen et al., ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray

LONGEST_NOISE = 11
"""Frames; an id seen no longer than this is noise."""
NOISY_SPREAD = 0.8
"""A frame is noisy where the x extent of the joints exceeds this share of their y extent."""
NOISY_SHARE = 0.69754
"""An id with at least this share of noisy frames is not a person."""

SHORT = "bodies seen in 11 frames or fewer left out"
SPREAD = "bodies wider than tall left out"
OVERLAP = "bodies beside two actors left out"
EMPTY = "frames without a body left out"


@dataclass(frozen=True)
class BodyTrack:
    """One body id over the frames in which it appears.

    Attributes:
        frames: `(N,)` ints from 0, ascending; where one comes twice, its last row holds.
        joints: `(N, V, 3)` metres, y up.
    """

    frames: NDArray[np.intp]
    joints: NDArray[np.floating]


@dataclass(frozen=True)
class ChosenBodies:
    """The actors of one clip.

    Attributes:
        joints: `(T, M, V, 3)` float32, actor 1 first, M 1 where there is no actor 2; zeros where an
            actor is absent; T 0 where the clip holds no body at all.
        left_out: what was dropped -> how often.
    """

    joints: FloatArray
    left_out: dict[str, int] = field(default_factory=dict)


def motion(points: NDArray[np.floating]) -> float:
    """How much a body moves and fills: the sum over the coordinates of their variance.

    Args:
        points: `(..., C)`; the variance runs over all joints of all frames, in float64.
    """
    flat = points.reshape(-1, points.shape[-1]).astype(np.float64, copy=False)
    return float(flat.var(axis=0).sum()) if len(flat) else 0.0


def clean_frames(joints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """`(N,)` for joints `(N, V, 3)`: where the body is not noisily wider than tall."""
    extent = joints[..., :2].max(axis=1) - joints[..., :2].min(axis=1)
    clean: NDArray[np.bool_] = extent[:, 0] <= NOISY_SPREAD * extent[:, 1]
    return clean


def choose_bodies(tracks: Sequence[BodyTrack], total_frames: int, num_joints: int) -> ChosenBodies:
    """Actor 1 and, where there is one, actor 2.

    1. Ids seen in 11 frames or fewer go, unless it is the only one. Where all are that short, the
       one seen longest stays.
    2. While more than one is left, an id that is noisy in a share of at least 0.69754 of its frames
       goes; another's motion is taken over its clean frames where that is smaller.
    3. The id with the largest motion is actor 1. Each further one fills actor 1 where they have no
       frame in common, else actor 2 where these have none, else it goes.
    4. Frames in which both actors are empty go.

    Args:
        tracks: one for each body id, in the order of their first appearance (which decides between
            equal motions).
        total_frames: T of the recording; `tracks` count within it.
        num_joints: V.
    """
    left_out = dict.fromkeys((SHORT, SPREAD, OVERLAP, EMPTY), 0)
    kept = _long_enough(tracks)
    left_out[SHORT] = len(tracks) - len(kept)

    ordered = _by_motion(kept)
    left_out[SPREAD] = len(kept) - len(ordered)

    joints = np.zeros((total_frames, 2, num_joints, 3), np.float32)
    taken = np.zeros((2, total_frames), bool)
    for track in ordered:
        free = np.flatnonzero(~taken[:, track.frames].any(axis=1))
        if len(free):
            joints[track.frames, free[0]] = track.joints
            taken[free[0], track.frames] = True
        else:
            left_out[OVERLAP] += 1

    # a tracked body whose joints are all zero is as absent as one that wasn't tracked
    present: NDArray[np.bool_] = np.any(joints, axis=(2, 3))
    filled = present.any(axis=1)
    left_out[EMPTY] = int(total_frames - filled.sum())
    actors = 2 if present[:, 1].any() else 1
    if left_out[EMPTY]:
        joints = joints[filled]
    return ChosenBodies(
        np.ascontiguousarray(joints[:, :actors]),
        {reason: count for reason, count in left_out.items() if count},
    )


def _long_enough(tracks: Sequence[BodyTrack]) -> list[BodyTrack]:
    if len(tracks) <= 1:
        return list(tracks)
    kept = [track for track in tracks if len(track.frames) > LONGEST_NOISE]
    return kept or [max(tracks, key=lambda track: len(track.frames))]


def _by_motion(tracks: Sequence[BodyTrack]) -> list[BodyTrack]:
    """Tracks that aren't noise, the one that moves most first."""
    if len(tracks) <= 1:
        return list(tracks)
    moved: list[tuple[float, BodyTrack]] = []
    left = len(tracks)
    for track in tracks:
        amount = motion(track.joints)
        # the last one left is kept, however noisy: a clip needs somebody
        if left > 1:
            clean = clean_frames(track.joints)
            if (~clean).mean() >= NOISY_SHARE:
                left -= 1
                continue
            if not clean.all():
                amount = min(amount, motion(track.joints[clean]))
        moved.append((amount, track))
    return [track for _, track in sorted(moved, key=lambda pair: pair[0], reverse=True)]
