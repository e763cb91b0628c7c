"""What wasn't seen: one notion of unseen joints, bodies and frames for all formats.

Recordings spell it in many ways: a joint at (0, 0) or (-1, -1), NaN, a score of 0; a body of zeros
or None; a frame without anybody. Readers hand all of these to `mark_unseen`, after which a joint
that wasn't seen is NaN and a body that is absent is all zeros. Once the bodies are chosen,
`settle_unseen` gives flat clips the score 0 and fills short gaps of 3-D clips, so that no such
spelling is ever taken for a place.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray

LONGEST_GAP = 10
"""Frames; a third of a second at 30 frames/s. Longer gaps of a 3-D joint can't be guessed."""
UNSCORED = "joints not seen, which have the score 0"
FILLED = "joints not seen for a moment, interpolated"
GAPS = f"clips with a joint unseen for more than {LONGEST_GAP} frames left out"

_STRAY = 0.3
"""Share of its length by which a bone may change before its end at (0, 0, 0) counts as unseen."""

Mask = NDArray[np.bool_]


class Skeleton(Protocol):
    """What is asked of a `Layout`, apart from which live predictions have no use for one."""

    @property
    def dimensions(self) -> int: ...

    @property
    def bones(self) -> tuple[tuple[int, int], ...]: ...


class Settled(NamedTuple):
    """A clip without marks of what wasn't seen.

    Attributes:
        joints: `(T, M, V, 3)`; None where a joint is unseen for too long.
        counts: joints that weren't seen -> how many.
    """

    joints: FloatArray | None
    counts: dict[str, int]


def mark_unseen(
    joints: FloatArray, layout: Skeleton, scores: NDArray[np.floating] | None = None
) -> FloatArray:
    """Joints `(T, M, V, 3)` with NaN where a joint wasn't seen and zeros where a body is absent.

    Args:
        joints: `(T, M, V, C)`: x, y for a flat layout, with or without a score; x, y, z for a 3-D
            one. Infinities are left as they are.
        layout: of these joints; `dimensions` and the bones count here.
        scores: `(T, M, V)`, where the format has them apart.
    """
    flat = layout.dimensions == 2
    if flat and scores is None and joints.shape[-1] == 3:
        scores = joints[..., 2]
    coordinates = joints[..., : layout.dimensions]
    unseen = _anywhere(coordinates, 0) | _anywhere(coordinates, -1)
    if np.isnan(coordinates.sum()):
        unseen |= np.isnan(coordinates).any(axis=-1)
    if scores is not None:
        unseen |= ~(scores > 0)
    if flat:
        seen_score = np.ones(joints.shape[:3], np.float32) if scores is None else scores
        joints = np.concatenate([coordinates, seen_score[..., None]], -1, dtype=np.float32)
    if not unseen.any():
        return joints
    absent: Mask = np.all(unseen, axis=-1)
    partly = unseen & ~absent[..., None]
    if partly.any():
        if not flat:
            partly = _not_places(joints, partly, layout)
        joints = np.where(partly[..., None], np.float32(np.nan), joints)
    elif absent.any():
        joints = joints.copy()
    joints[absent] = 0
    return joints


def settle_unseen(joints: FloatArray, layout: Skeleton) -> Settled:
    """A clip whose bodies are chosen, each NaN made the score 0 (flat) or interpolated (3-D).

    Args:
        joints: `(T, M, V, 3)`, NaN where a joint of a body that is there wasn't seen.
        layout: its `dimensions` decide.
    """
    # a sum is NaN where any summand is, at a third of the cost of looking at each
    if not np.isnan(joints.sum()):
        return Settled(joints, {})
    unseen: Mask = np.any(np.isnan(joints), axis=-1)
    count = int(unseen.sum())
    if layout.dimensions == 2:
        return Settled(np.where(unseen[..., None], np.float32(0), joints), {UNSCORED: count})
    filled = joints.copy()
    present: Mask = np.any(joints, axis=(2, 3))
    for body, joint in np.argwhere(unseen.any(axis=0)):
        frames = np.flatnonzero(present[:, body])
        hidden = unseen[frames, body, joint]
        if _longest_run(hidden) > LONGEST_GAP or hidden.all():
            return Settled(None, {GAPS: 1})
        gaps, known = frames[hidden], frames[~hidden]
        for axis in range(3):
            column = filled[:, body, joint, axis]
            column[gaps] = np.interp(gaps, known, column[known])
    return Settled(filled, {FILLED: count})


def _anywhere(coordinates: FloatArray, value: float) -> Mask:
    """`(T, M, V)`: where all coordinates have a value that stands for "not seen"."""
    found: Mask = coordinates[..., 0] == value
    if found.any():  # seldom
        for axis in range(1, coordinates.shape[-1]):
            found &= coordinates[..., axis] == value
    return found


def _not_places(joints: FloatArray, unseen: Mask, layout: Skeleton) -> Mask:
    """`unseen` without the joints at (0, 0, 0) that really are there.

    Sets are often moved so that one joint lies at the origin. A joint there is a place if the bone
    to it is as long as in the clip's other frames, or, where it never is elsewhere, no longer than
    the body's longest bone. Of several joints there, only the one that is there most often can be.
    """
    zero = unseen & _anywhere(joints, 0)
    often = zero.sum(axis=0)
    centre = often.argmax(axis=1)
    for body, joint in np.argwhere(often):
        neighbour = next((p for c, p in layout.bones if c == joint), None)
        if neighbour is None:
            neighbour = next(c for c, p in layout.bones if p == joint)
        at_zero = zero[:, body, joint].copy()
        if joint != centre[body]:
            at_zero &= ~zero[:, body, centre[body]]
        known = ~unseen[:, body, neighbour]
        line = joints[:, body, joint] - joints[:, body, neighbour]
        length = np.sqrt(np.square(line, dtype=np.float64).sum(axis=-1))
        elsewhere = known & ~unseen[:, body, joint] & joints[:, body].any(axis=(1, 2))
        if elsewhere.any():
            usual = float(np.median(length[elsewhere]))
            fits = np.abs(length - usual) <= _STRAY * usual
        else:
            fits = length <= (1 + _STRAY) * _longest_bone(joints[:, body], unseen[:, body], layout)
        unseen[:, body, joint] &= ~(at_zero & known & fits)
    return unseen


def _longest_bone(joints: FloatArray, unseen: Mask, layout: Skeleton) -> float:
    """The mean length of a body's longest bone, of joints `(T, V, 3)` that were seen."""
    child, parent = np.array(layout.bones).T
    lines = joints[:, child] - joints[:, parent]
    lengths = np.sqrt(np.square(lines, dtype=np.float64).sum(axis=-1))
    seen = ~unseen[:, child] & ~unseen[:, parent] & (lengths > 0)
    means = np.where(seen, lengths, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    return float(means.max())


def _longest_run(hidden: Mask) -> int:
    """The number of frames in the longest run of hidden ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hidden.view(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
