"""Which of the bodies of a clip are its actors: one set of rules for every format.

A Kinect loses people and finds chairs, and a pose estimator finds a person in a poster: a clip may
hold more bodies than persons. The rules are those that the field's results rest on, from CTR-GCN's
preparation of NTU RGB+D (Chen et al., ICCV 2021). Where a format's bodies aren't a Kinect's, they
also hold for short clips and use the estimator's scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray

LONGEST_NOISE = 11
"""Frames; a body seen no longer than this is noise."""
NOISE_SHARE = 0.25
"""Bodies of other sensors are noise only if they are also seen in at most this share of a clip."""
NOISY_SPREAD = 0.8
"""A frame is noisy where the x extent of the joints exceeds this share of their y extent."""
NOISY_SHARE = 0.69754
"""An id with at least this share of noisy frames is not a person."""
MUCH_OF_THE_CLIP = 0.5
"""Bodies seen in at least this share of a clip rank before all others."""
UNSURE = 0.5
"""Bodies whose mean score is below this share of the best one's rank after all others."""

SHORT = "bodies seen in 11 frames or fewer left out"
BRIEF = "bodies seen in a quarter of the clip or less left out"
SPREAD = "bodies wider than tall left out"
OVERLAP = "bodies beside two actors left out"
EMPTY = "frames without a body left out"

ACTORS = ("actor 1", "actor 2")
CONTINUED = ("actor 1, going on from another id", "actor 2, going on from another id")
KEPT = ("body 0", "body 1")


class BodyRules(NamedTuple):
    """How the rules apply to a format.

    Attributes:
        kinect: bodies are the ids of a Kinect, and the rules are CTR-GCN's to the letter.
        by_motion: the body that moves most comes first; otherwise the format's order holds among
            bodies that are seen in much of the clip.
    """

    kinect: bool = False
    by_motion: bool = True


KINECT = BodyRules(kinect=True)
"""Raw recordings of NTU RGB+D."""
ANY_ORDER = BodyRules()
"""Bodies in the order in which an estimator found them."""
IN_ORDER = BodyRules(by_motion=False)
"""Bodies that whoever published them has chosen and ordered by the Kinect's rules."""


@dataclass(frozen=True)
class BodyTrack:
    """One body id over the frames in which it appears.

    Attributes:
        frames: `(N,)` ints from 0, ascending; where one comes twice, its last row holds.
        joints: `(N, V, C)`: x, y and z (metres, y up) or x, y and a score; NaN where a joint wasn't
            seen.
        body_id: as the recording names it.
        score: mean score of its joints, 1 where there is none.
    """

    frames: NDArray[np.intp]
    joints: NDArray[np.floating]
    body_id: str = ""
    score: float = 1.0


class BodyFate(NamedTuple):
    """What became of one body id.

    Attributes:
        frames: in which it was seen.
        fate: one of `ACTORS`, `CONTINUED` or `KEPT` where it was kept; else the reason, one of
            `SHORT`, `BRIEF`, `SPREAD` and `OVERLAP`.
    """

    body_id: str
    frames: int
    fate: str


@dataclass(frozen=True)
class ChosenBodies:
    """The actors of one clip.

    Attributes:
        joints: `(T, M, V, C)` float32, actor 1 first, M 1 where there is no actor 2; zeros where an
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
        points: `(..., C)`; the variance runs over all joints of all frames, in float64; NaN where a
            joint wasn't seen.
    """
    # a coordinate's values side by side: several times as fast as three strided sums
    flat = points.reshape(-1, points.shape[-1]).T.astype(np.float64, order="C")
    if not flat.size:
        return 0.0
    amount = float(flat.var(axis=1).sum())
    if np.isnan(amount):
        seen = flat[:, ~np.isnan(flat).any(axis=0)]
        return float(seen.var(axis=1).sum()) if seen.size else 0.0
    return amount


def clean_frames(joints: NDArray[np.floating]) -> NDArray[np.bool_]:
    """`(N,)` for joints `(N, V, 3)`: where the body is not noisily wider than tall."""
    places = np.ascontiguousarray(joints[..., :2].transpose(2, 0, 1))
    x, y = places.max(axis=2) - places.min(axis=2)
    clean: NDArray[np.bool_] = x <= NOISY_SPREAD * y
    return clean


def choose_bodies(
    tracks: Sequence[BodyTrack],
    total_frames: int,
    num_joints: int,
    *,
    dimensions: int = 3,
    rules: BodyRules = KINECT,
) -> ChosenBodies:
    """Actor 1 and, where there is one, actor 2.

    1. Bodies seen in 11 frames or fewer go, unless it is the only one. Where all are that short,
       the one seen longest stays. (Other sensors than the Kinect: in 11 frames or fewer that are
       also at most a quarter of the clip.)
    2. Kinect only: while more than one is left, an id that is noisy in a share of at least 0.69754
       of its frames goes; another's motion is taken over its clean frames where that is smaller.
    3. Bodies rank by motion, largest first. (Other sensors: first those seen in at least half of
       the clip, then those whose mean score is at least half of the best one's.) The first is
       actor 1. Each further one fills actor 1 where they have no frame in common, else actor 2
       where these have none, else it goes.
    4. Frames in which both actors are empty go.

    Args:
        tracks: one for each body, in the order of their first appearance (which decides between
            equals).
        total_frames: T of the recording; `tracks` count within it.
        num_joints: V.
        dimensions: the leading channels that are coordinates.
        rules: how the format's bodies came about.
    """
    kept, short = _long_enough(tracks, rules)
    fates = [short] * len(tracks)
    for index in kept:
        fates[index] = SPREAD
    ranked = _by_motion(tracks, kept) if rules.kinect else _ranked(tracks, kept, dimensions, rules)

    joints = np.zeros((total_frames, 2, num_joints, 3), np.float32)
    taken = np.zeros((2, total_frames), bool)
    for index in ranked:
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
    left_out = {reason: fates.count(reason) for reason in (SHORT, BRIEF, SPREAD, OVERLAP)}
    left_out[EMPTY] = empty
    return ChosenBodies(
        np.ascontiguousarray(joints[:, :actors]),
        {reason: count for reason, count in left_out.items() if count},
        tuple(
            BodyFate(track.body_id, len(track.frames), fate)
            for track, fate in zip(tracks, fates, strict=True)
        ),
    )


def _long_enough(tracks: Sequence[BodyTrack], rules: BodyRules) -> tuple[list[int], str]:
    """Indices of the tracks that aren't too short to be a person, and why the others are."""
    reason = SHORT if rules.kinect else BRIEF
    if len(tracks) <= 1:
        return list(range(len(tracks))), reason
    seen = [len(track.frames) for track in tracks]
    limit: float = LONGEST_NOISE
    if not rules.kinect:
        limit = min(limit, NOISE_SHARE * _frames_with_anybody(tracks))
    kept = [i for i, frames in enumerate(seen) if frames > limit] or [seen.index(max(seen))]
    return kept, reason


def _frames_with_anybody(tracks: Sequence[BodyTrack]) -> int:
    return len(np.unique(np.concatenate([track.frames for track in tracks])))


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


def _ranked(
    tracks: Sequence[BodyTrack], among: list[int], dimensions: int, rules: BodyRules
) -> list[int]:
    """The indices `among`: seen in much of the clip first, then surely found, then moving most."""
    if len(among) <= 1:
        return among
    much = MUCH_OF_THE_CLIP * _frames_with_anybody(tracks)
    sure = UNSURE * max(tracks[index].score for index in among)
    by_motion = rules.by_motion or len(among) > 2

    def rank(index: int) -> tuple[bool, bool, float]:
        track = tracks[index]
        moved = motion(track.joints[..., :dimensions]) if by_motion else 0.0
        return len(track.frames) < much, track.score < sure, -moved

    return sorted(among, key=rank)
