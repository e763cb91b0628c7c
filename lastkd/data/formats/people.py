"""The people of a clip, as an estimator found them, and who is who from frame to frame."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import USUAL_FPS, FloatArray
from lastkd.data.formats.clip_files import BadClipError
from lastkd.data.frames import Frame
from lastkd.data.layouts import Layout
from lastkd.data.tracking import REACH, Tracker
from lastkd.data.unseen import mark_unseen

MOST_FRAMES = 200_000
"""Between the first and the last frame of a clip: two hours at 30 frames/s."""
_LARGEST_NUMBER = 10**18
"""Of a frame; a recording may begin late, and a sum of two still fits 64 bits."""

BODY_OF = {133: 17, 136: 26, 137: 25}
"""Joints of a whole body (COCO-WholeBody, Halpe, OpenPose) -> the body's, which come first."""

Followed = dict[str, tuple[NDArray[np.intp], FloatArray]]
"""Body -> the frames in which it is seen `(N,)` and its joints `(N, V, 3)`, NaN where unseen."""


class People(NamedTuple):
    """All skeletons of a clip, N of them in F frames that show anybody.

    Attributes:
        numbers: of the frames in the recording, `(F,)`, ascending.
        counts: how many skeletons each frame shows, `(F,)`.
        joints: `(N, V, 2 or 3)`, one frame's after the other's; NaN where a value is missing.
        scores: `(N, V)`, where the estimator gives any.
        ids: `(N,)`, where it followed everybody.
        fps: frames per second of the recording, where its files say when each frame was.
    """

    numbers: NDArray[np.int64]
    counts: NDArray[np.int64]
    joints: NDArray[np.floating]
    scores: NDArray[np.floating] | None = None
    ids: NDArray[np.int64] | None = None
    fps: float | None = None

    @property
    def stride(self) -> int:
        """An estimator that looked at every second frame numbers them 0, 2, 4, ..."""
        return int(np.gcd.reduce(self.numbers - self.numbers[0])) or 1


NOBODY = People(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0, 2), np.float32))


def frame_number(value: Any, name: str) -> int:
    """A frame's number as a file has it.

    Args:
        name: what the file calls it.

    Raises:
        BadClipError: it is no whole number, or beyond all measure.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST_NUMBER:
        raise BadClipError(f"has {str(value)[:20]!r} for a {name}")
    return value


def people_of_frames(frames: Sequence[tuple[int, Frame]]) -> People:
    """The people of frames with their numbers, which ascend.

    Raises:
        BadClipError: skeletons or scores don't fit each other.
    """
    seen = [
        (number, frame.joints, frame)
        for number, frame in frames
        if frame.joints is not None and len(frame.joints)
    ]
    if not seen:
        return NOBODY
    check_alike([joints.shape[1:] for _, joints, _ in seen])
    joints = np.concatenate([joints for _, joints, _ in seen])
    scores = [frame.scores for _, _, frame in seen if frame.scores is not None]
    ids = [frame.ids for _, _, frame in seen if frame.ids is not None]
    if scores and len(scores) < len(seen):
        raise BadClipError("has skeletons with and without scores")
    for own, (_, places, _) in zip(scores, seen, strict=False):
        if own.shape != places.shape[:2]:
            raise BadClipError(f"has scores {own.shape} for joints {places.shape[:2]}")
    return People(
        np.array([number for number, _, _ in seen], np.int64),
        np.array([len(joints) for _, joints, _ in seen], np.int64),
        joints,
        np.concatenate(scores) if scores else None,
        np.concatenate(ids) if len(ids) == len(seen) else None,
        _fps_of_times([(number, frame.time) for number, _, frame in seen]),
    )


def check_alike(shapes: Sequence[tuple[int, ...]]) -> None:
    """
    Raises:
        BadClipError: skeletons of one clip have different shapes `(V, dimensions)`.
    """
    if len(set(shapes)) > 1:
        rarest, *_, usual = (_in_words(shape) for shape in sorted(set(shapes), key=shapes.count))
        raise BadClipError(f"has a skeleton of {rarest}, where the others have {usual}")


def _in_words(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} joints in {shape[1]} dimensions" if len(shape) == 2 else f"shape {shape}"


def _fps_of_times(times: Sequence[tuple[int, float | None]]) -> float | None:
    """Frames per second by the moments of numbered frames; None where they don't tell."""
    known = [(number, time) for number, time in times if time is not None]
    if len(known) < 2:
        return None
    (first, begin), *_, (last, end) = known
    frames, seconds = last - first, end - begin
    if not (math.isfinite(seconds) and seconds > 0 and frames > 0):
        return None
    fps = frames / seconds
    return round(fps, 3) if 0 < fps < 10_000 else None


def followed(
    people: People, layout: Layout, scale: tuple[float, float] = (1.0, 1.0), fps: float = USUAL_FPS
) -> Followed:
    """The bodies of a clip, by the estimator's ids or, where it has none, by where they are.

    Args:
        people: of a recording that may begin later than at frame 0.
        layout: its joints are the first ones of each skeleton.
        scale: of x and y.
        fps: frames per second of the recording, by which people are expected to move.

    Raises:
        BadClipError: skeletons don't fit the layout, or the frames are too far apart.
    """
    if not len(people.numbers):
        return {}
    first, last, stride = int(people.numbers[0]), int(people.numbers[-1]), people.stride
    if (last - first) // stride > MOST_FRAMES:
        raise BadClipError(f"has frames {first} to {last}, more than a clip can have")
    V, D = layout.num_joints, layout.dimensions
    shape = people.joints.shape
    if len(shape) != 3 or BODY_OF.get(shape[1], shape[1]) != V or shape[2] < D:
        raise BadClipError(
            f"has skeletons of {_in_words(shape[1:])}, where the others have {V} in {D}"
        )
    joints = people.joints[:, :V, :D].astype(np.float32)
    joints[..., :2] *= np.array(scale, np.float32)
    scores = np.ones(joints.shape[:2], np.float32)
    if people.scores is not None:
        scores = np.nan_to_num(people.scores[:, :V])
    marked = mark_unseen(joints[:, None], layout, scores[:, None])[:, 0]
    numbers = np.repeat((people.numbers - first) // stride, people.counts)
    names = _names(people, marked, numbers * stride / fps)
    seen = marked.any(axis=(1, 2))
    bodies: Followed = {}
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero((names == name) & seen)
        if len(rows):
            bodies[f"person {name}"] = (numbers[rows].astype(np.intp), marked[rows])
    return bodies


def _names(people: People, marked: FloatArray, times: NDArray[np.floating]) -> NDArray[np.int64]:
    """Who each skeleton is `(N,)`."""
    if people.ids is not None:
        frames = np.repeat(np.arange(len(people.counts)), people.counts)
        if len(np.unique(np.stack((frames, people.ids)), axis=1).T) == len(frames):
            return people.ids
    counts = people.counts.tolist()
    if max(counts) == 1:
        return np.zeros(len(marked), np.int64)
    tracker, names = Tracker(), np.zeros(len(marked), np.int64)
    starts = np.cumsum([0, *counts]).tolist()
    near = _near_the_one_before(marked).tolist()
    for at, count in enumerate(counts):
        start = starts[at]
        # somebody who is alone for a while needs no search, but at its ends
        alone = 0 < at < len(counts) - 1 and counts[at - 1] == count == counts[at + 1] == 1
        if alone and near[start]:
            names[start] = names[start - 1]
        else:
            rows = slice(start, starts[at + 1])
            names[rows] = tracker.assign(marked[rows], float(times[start]))
    return names


def _near_the_one_before(marked: FloatArray) -> NDArray[np.bool_]:
    """`(N,)`: whether a skeleton's middle lies within reach of the one's in the row before."""
    places = marked[..., :2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a skeleton of which nothing was seen
        whole = not np.isnan(places.sum())
        middles = (np.mean if whole else np.nanmean)(places, axis=1)
        y = places[..., 1]
        heights = np.ptp(y, axis=1) if whole else np.nanmax(y, axis=1) - np.nanmin(y, axis=1)
    moved = np.linalg.norm(np.diff(middles, axis=0), axis=1)
    near = np.zeros(len(marked), bool)
    near[1:] = moved < REACH * np.minimum(heights[1:], heights[:-1])
    return near
