"""Which of the tracked bodies are the actors of an NTU clip.

A Kinect loses people and finds chairs: a clip may hold more ids than persons. The rule is the one
that the field's results rest on, from CTR-GCN's preparation of NTU RGB+D (Chen et al., ICCV 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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

ACTORS = ("actor 1", "actor 2")
CONTINUED = ("actor 1, going on from another id", "actor 2, going on from another id")


@dataclass(frozen=True)
class BodyTrack:
    """One body id over the frames in which it appears.

    Attributes:
        frames: `(N,)` ints from 0, ascending; where one comes twice, its last row holds.
        joints: `(N, V, 3)` metres, y up.
        body_id: as the recording names it.
    """

    frames: NDArray[np.intp]
    joints: NDArray[np.floating]
    body_id: str = ""


class BodyFate(NamedTuple):
    """What became of one body id.

    Attributes:
        frames: in which it was seen.
        fate: one of `ACTORS` or `CONTINUED` where it was kept; else the reason, one of `SHORT`,
            `SPREAD` and `OVERLAP`.
    """

    body_id: str
    frames: int
    fate: str


@dataclass(frozen=True)
class ChosenBodies:
    """The actors of one clip.

    Attributes:
        joints: `(T, M, V, 3)` float32, actor 1 first, M 1 where there is no actor 2; zeros where an
            actor is absent; T 0 where the clip holds no body at all.
        left_out: what was dropped -> how often.
        fates: of every id, in the order of the tracks.
    """

    joints: FloatArray
    left_out: dict[str, int] = field(default_factory=dict)
    fates: tuple[BodyFate, ...] = ()


def motion(points: NDArray[np.floating]) -> float:
    """How much a body moves and fills: the sum over the coordinates of their variance.

    Args:
        points: `(..., C)`; the variance runs over all joints of all frames, in float64.
    """
    # a coordinate's values side by side: several times as fast as three strided sums
    flat = points.reshape(-1, points.shape[-1]).T.astype(np.float64, order="C")
    return float(flat.var(axis=1).sum()) if flat.size else 0.0


def clean_frames(joints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """`(N,)` for joints `(N, V, 3)`: where the body is not noisily wider than tall."""
    places = np.ascontiguousarray(joints[..., :2].transpose(2, 0, 1))
    x, y = places.max(axis=2) - places.min(axis=2)
    clean: NDArray[np.bool_] = x <= NOISY_SPREAD * y
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
    fates = [SHORT] * len(tracks)
    kept = _long_enough(tracks)
    for index in kept:
        fates[index] = SPREAD

    joints = np.zeros((total_frames, 2, num_joints, 3), np.float32)
    taken = np.zeros((2, total_frames), bool)
    for index in _by_motion(tracks, kept):
        track = tracks[index]
        free = np.flatnonzero(~taken[:, track.frames].any(axis=1))
        if len(free):
            actor = int(free[0])
            fates[index] = (CONTINUED if taken[actor].any() else ACTORS)[actor]
            joints[track.frames, actor] = track.joints
            taken[actor, track.frames] = True
        else:
            fates[index] = OVERLAP

    # a tracked body whose joints are all zero is as absent as one that wasn't tracked
    present: NDArray[np.bool_] = np.any(joints, axis=(2, 3))
    filled = present.any(axis=1)
    empty = int(total_frames - filled.sum())
    actors = 2 if present[:, 1].any() else 1
    if empty:
        joints = joints[filled]
    left_out = {reason: fates.count(reason) for reason in (SHORT, SPREAD, OVERLAP)}
    left_out[EMPTY] = empty
    return ChosenBodies(
        np.ascontiguousarray(joints[:, :actors]),
        {reason: count for reason, count in left_out.items() if count},
        tuple(
            BodyFate(track.body_id, len(track.frames), fate)
            for track, fate in zip(tracks, fates, strict=True)
        ),
    )


def _long_enough(tracks: Sequence[BodyTrack]) -> list[int]:
    """Indices of the tracks that aren't too short to be a person."""
    if len(tracks) <= 1:
        return list(range(len(tracks)))
    seen = [len(track.frames) for track in tracks]
    return [i for i, frames in enumerate(seen) if frames > LONGEST_NOISE] or [seen.index(max(seen))]


def _by_motion(tracks: Sequence[BodyTrack], among: list[int]) -> list[int]:
    """Indices of the tracks `among` which aren't noise, the one that moves most first."""
    if len(among) <= 1:
        return among
    moved: list[tuple[float, int]] = []
    left = len(among)
    for index in among:
        joints = tracks[index].joints
        amount = motion(joints)
        # the last one left is kept, however noisy: a clip needs somebody
        if left > 1:
            clean = clean_frames(joints)
            if (~clean).mean() >= NOISY_SHARE:
                left -= 1
                continue
            if not clean.all():
                amount = min(amount, motion(joints[clean]))
        moved.append((amount, index))
    return [index for _, index in sorted(moved, key=lambda pair: pair[0], reverse=True)]
