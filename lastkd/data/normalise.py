"""Every clip in the same place, facing the same way and of the same size.

As in LAST: the origin is the spine base of the first frame, the first frame's shoulders lie along
x, and the mean length of the torso is 1. Actor 1's frame of reference serves both bodies, so that
two people keep their places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray
from lastkd.data.layouts import MEAN_BONE, Layout

Points = NDArray[np.float64]
Seen = NDArray[np.bool_]

_NEGLIGIBLE = 1e-6  # in the data's own unit; a shorter line has no direction and measures nothing


def centre_and_scale(joints: FloatArray, layout: Layout) -> FloatArray:
    """A clip in actor 1's frame of reference: `(T, M, V, C)` float32, in torso lengths.

    The first frame in which actor 1 is present decides origin and turn; its mean torso length over
    all frames decides the scale (where the torso is never seen whole, what other parts of the body
    say of it; the mean bone length where the layout names no torso). Should actor 1 never appear,
    the next body stands in for it.

    3-D: the clip is turned about y so that the layout's `across` line, seen from above, points from
    left to right along +x. With NTU's axes (x to the right of the one who stands before the camera,
    y up, z away from the camera) the person then faces the camera. No turn without such a line.

    2-D: no turn, and y stays as it is in the image, downwards. The channels after x and y (a score)
    stay untouched. A joint that wasn't seen, all zeros, counts for nothing and stays zero.

    Absent bodies stay exactly zero.

    Args:
        joints: `(T, M, V, C)`, finite; zeros where a body is absent.
        layout: of these joints; `origin`, `across`, `torso` and `dimensions` count here.
    """
    D = layout.dimensions
    seen: Seen
    present: Seen
    if D == 3:  # a joint may well lie at the origin; only a whole body is absent
        present = np.any(joints, axis=(2, 3))
        seen = np.broadcast_to(present[..., None], joints.shape[:3])
    else:
        seen = np.any(joints, axis=-1)
        present = np.any(seen, axis=-1)
    if not present.any():
        return np.array(joints)

    points = joints[..., :D].astype(np.float64)
    actor = int(present.any(axis=0).argmax())
    first = int(present[:, actor].argmax())
    start, start_seen = points[first, actor], seen[first, actor]

    origin = list(layout.origin)
    if not start_seen[origin].any():
        origin = list(range(layout.num_joints))
    moved = points - start[origin][start_seen[origin]].mean(axis=0)
    if D == 3 and layout.across is not None:
        left, right = layout.across
        moved = moved @ _turn_about_y(start[right] - start[left]).T
    moved /= _unit_of_length(points[:, actor], seen[:, actor], layout)

    out: FloatArray = np.array(joints)
    out[..., :D] = moved if seen.all() else np.where(seen[..., None], moved, 0)
    return out


def _turn_about_y(line: Points) -> Points:
    """`(3, 3)` rotation about y that turns a line `(3,)`, seen from above, to +x."""
    x, _, z = line
    length = float(np.hypot(x, z))
    if length < _NEGLIGIBLE:
        return np.eye(3)
    cos, sin = x / length, z / length
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def _unit_of_length(points: Points, seen: Seen, layout: Layout) -> float:
    """The torso length of one body's points `(T, V, D)`, measured on what is seen of it.

    That is the mean length of the torso over the frames in which it is seen whole. Where it never
    is, the layout's `rulers` stand in for it: each part of the body that is seen says how long a
    torso would go with it, and the longest counts, since a part that points at the camera looks
    short. Where none of them is seen, or the layout names no torso, the mean bone is the measure.
    """
    if layout.torso is not None:
        upper, lower = (list(group) for group in layout.torso)
        whole: Seen = np.all(seen[:, upper + lower], axis=1)
        unit = _mean_length(points[:, upper].mean(axis=1) - points[:, lower].mean(axis=1), whole)
        if unit > _NEGLIGIBLE:
            return unit
        unit = max(
            (
                _mean_length(points[:, a] - points[:, b], seen[:, a] & seen[:, b]) / length
                for a, b, length in layout.rulers
            ),
            default=0.0,
        )
        if unit > _NEGLIGIBLE:
            return unit
    child, parent = np.array(layout.bones).T
    unit = _mean_length(points[:, child] - points[:, parent], seen[:, child] & seen[:, parent])
    if layout.torso is not None:
        unit /= MEAN_BONE
    return unit if unit > _NEGLIGIBLE else 1.0


def _mean_length(lines: Points, seen: Seen) -> float:
    """Mean length of the lines `(..., D)` that are seen, 0 where none is."""
    lengths = np.linalg.norm(lines[seen], axis=-1)
    return float(lengths.mean()) if lengths.size else 0.0
