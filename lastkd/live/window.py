"""The frames of a window as one clip: unseen joints filled, actors chosen, frames evenly spaced."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import ANY_ORDER, KINECT, BodyTrack, choose_bodies
from lastkd.data.unseen import mark_unseen
from lastkd.live.buffer import ABSENT, MOST_FRAMES
from lastkd.live.classifier import ModelFacts

Bodies = Literal["tracked", "kinect", "given"]
"""How the actors come about; see `StreamPredictor`."""

EVEN = 0.02
"""Largest part of a frame's time by which frames may be off an even grid and count as even."""


def window_clip(
    times: NDArray[np.float64],
    joints: NDArray[np.float32],
    ids: NDArray[np.int64],
    facts: ModelFacts,
    bodies: Bodies,
) -> NDArray[np.float32] | None:
    """A clip as `lastkd predict` would read it, or None where nobody is in two frames of it.

    Args:
        times: `(T,)` seconds, ascending.
        joints: `(T, P, V, 3)`, NaN where a joint wasn't seen; P bodies at most.
        ids: `(T, P)`, `ABSENT` where there is no body.
        facts: of the model; its number of bodies is that of the clip.
        bodies: `given`, ids 0 and 1 are actor 1 and actor 2. Otherwise the actors are chosen among
            all ids by the rules of `lastkd prepare`; `kinect` by those for a Kinect.

    Returns:
        `(T', M, V, 3)`, zeros where a body is absent; T' is T where the frames come evenly and
        somebody is in each.
    """
    grid = even_times(times)
    tracks = [
        _track(body, times, grid, joints, ids, facts)
        for body in np.unique(ids[ids != ABSENT]).tolist()
    ]
    tracks = [track for track in tracks if len(track.frames)]
    frames = len(times) if grid is None else len(grid)
    M, V = facts.bodies, len(facts.joints)
    if bodies == "given":
        chosen = np.zeros((frames, 2, V, 3), np.float32)
        for track in tracks:
            chosen[track.frames, int(track.body_id)] = track.joints
        chosen = chosen[chosen.any(axis=(1, 2, 3))]
    elif len(tracks) == 1 and len(tracks[0].frames) == frames:
        chosen = tracks[0].joints[:, None]  # nobody to choose from
    else:
        rules = KINECT if bodies == "kinect" else ANY_ORDER
        chosen = choose_bodies(tracks, frames, V, dimensions=facts.dimensions, rules=rules).joints
    if len(chosen) < 2:
        return None
    if chosen.shape[1] == M:
        return chosen.astype(np.float32, copy=False)
    clip = np.zeros((len(chosen), M, V, 3), np.float32)
    clip[:, : min(M, chosen.shape[1])] = chosen[:, :M]
    return clip


def even_times(times: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Evenly spaced times for frames that come unevenly; None where they are even already."""
    if len(times) < 3:
        return None
    first, last = float(times[0]), float(times[-1])
    even = first + np.arange(len(times)) * ((last - first) / (len(times) - 1))
    if np.abs(even - times).max() <= EVEN * (last - first) / (len(times) - 1):
        return None
    frame = float(np.median(np.diff(times)))
    count = min(round((last - first) / frame) + 1, MOST_FRAMES)
    return np.linspace(first, last, max(count, 2))


def _track(
    body: int,
    times: NDArray[np.float64],
    grid: NDArray[np.float64] | None,
    joints: NDArray[np.float32],
    ids: NDArray[np.int64],
    facts: ModelFacts,
) -> BodyTrack:
    """One body over the frames, or over the grid's."""
    frames, places = np.nonzero(ids == body)
    points = mark_unseen(joints[frames, places][:, None], facts)[:, 0]
    # NaN counts: that body is there
    there: NDArray[np.bool_] = np.any(points.reshape(len(points), 3 * points.shape[1]), axis=1)
    if not there.all():
        frames, points = frames[there], points[there]
    points = fill_unseen(points, times[frames], facts)
    score = float(points[..., 2].mean()) if facts.dimensions == 2 and len(points) else 1.0
    if grid is None or not len(frames):
        return BodyTrack(frames, points, str(body), score)
    seen = times[frames]
    # between two frames of it that are next to each other it is interpolated; where it comes or
    # goes, the nearer frame counts, as in a training view
    after = np.searchsorted(seen, grid).clip(1, max(len(seen) - 1, 1))
    if len(seen) == 1:
        near = np.abs(grid - seen[0]).argmin()
        return BodyTrack(np.array([near]), points, str(body), score)
    before = after - 1
    adjacent = frames[after] - frames[before] == 1
    weight = ((grid - seen[before]) / (seen[after] - seen[before])).clip(0, 1)
    weight = np.where(adjacent, weight, weight.round())
    nearest = np.where(weight < 0.5, before, after)
    reach = 0.75 * float(np.median(np.diff(times)))
    kept = np.flatnonzero(
        (adjacent & (grid >= seen[before]) & (grid <= seen[after]))
        | (np.abs(grid - seen[nearest]) <= reach)
    )
    share = weight[kept, None, None].astype(np.float32)
    moved = points[before[kept]] * (1 - share) + points[after[kept]] * share
    return BodyTrack(kept, moved, str(body), score)


def fill_unseen(
    points: NDArray[np.float32], times: NDArray[np.float64], facts: ModelFacts
) -> NDArray[np.float32]:
    """One body's `(T, V, 3)` without NaN.

    In space, a joint is interpolated between the frames in which it was seen, and held before the
    first and after the last; one that was never seen lies at its parent. In the image plane,
    unseen joints are zeros with score 0, as in a store.
    """
    # a sum is NaN where any summand is, at a tenth of the cost of looking at each
    if not np.isnan(points.sum()):
        return points
    unseen: NDArray[np.bool_] = np.any(np.isnan(points), axis=2)
    filled: NDArray[np.float32] = points.copy()
    if facts.dimensions == 2:
        filled[unseen] = 0
        return filled
    never: NDArray[np.bool_] = np.all(unseen, axis=0)
    for joint in np.flatnonzero(unseen.any(axis=0) & ~never):
        seen = ~unseen[:, joint]
        for axis in range(3):
            filled[:, joint, axis] = np.interp(times, times[seen], points[seen, joint, axis])
    if never.all():
        filled[:] = 0
        return filled
    for joint in np.flatnonzero(never):
        filled[:, joint] = filled[:, _nearest_seen(int(joint), never, facts.parents)]
    return filled


def _nearest_seen(joint: int, never: NDArray[np.bool_], parents: tuple[int, ...]) -> int:
    """The first joint on the way to the root that was seen, else any that was."""
    while joint >= 0:
        if not never[joint]:
            return joint
        joint = parents[joint]
    return int((~never).argmax())
