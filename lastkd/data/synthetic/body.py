"""The synthetic set's articulated body: 25 Kinect joints posed by forward kinematics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NUM_JOINTS = 25
SPINE_BASE, SPINE_MID, NECK, SPINE_SHOULDER = 0, 1, 2, 20
MIDLINE = (SPINE_BASE, SPINE_MID, NECK, 3, SPINE_SHOULDER)
ARMS = (4, 5, 6, 8, 9, 10)
LEGS = (12, 13, 14, 16, 17, 18)
_LIMB = {"shoulder": 4, "elbow": 5, "wrist": 6, "hip": 12, "knee": 13, "ankle": 14}
_CENTRAL = {
    "pelvis": SPINE_BASE,
    "spine": SPINE_MID,
    "chest": SPINE_SHOULDER,
    "neck": NECK,
}
MIRRORED = np.array(
    [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]
)

Turn = tuple[float, float, float]
"""Degrees of (flexion, away from the body, inward twist); in the midline (bend forward, lean to the
left, turn to the left)."""


def pose(**turns: Turn) -> Array:
    """`(25, 3)` degrees from `right_shoulder=(flexion, away, twist)` and so on."""
    angles = np.zeros((NUM_JOINTS, 3))
    for name, turn in turns.items():
        if name in _CENTRAL:
            angles[_CENTRAL[name]] = turn
        else:
            side, _, part = name.partition("_")
            angles[_LIMB[part] + (4 if side == "right" else 0)] = turn
    return angles


def mirror(poses: Array) -> Array:
    """The same poses `(..., 25, 3)` with left and right exchanged."""
    mirrored: Array = poses[..., MIRRORED, :]
    mirrored[..., list(MIDLINE), 1:] *= -1.0
    return mirrored


# metres from the parent at 1.70 m: x to the body's left, y up, z forward
OFFSETS = np.zeros((NUM_JOINTS, 3))
OFFSETS[[1, 20, 2, 3]] = (0, 0.30, 0.01), (0, 0.22, -0.02), (0, 0.07, 0), (0, 0.14, 0.02)
OFFSETS[[4, 5, 6, 7]] = (0.17, -0.05, 0), (0, -0.28, 0), (0, -0.25, 0), (0, -0.07, 0)
OFFSETS[[22, 21]] = (-0.01, -0.025, 0.045), (0.005, -0.05, -0.04)
OFFSETS[[12, 13, 14, 15]] = (0.08, -0.05, 0), (0, -0.41, 0), (0, -0.39, 0), (0, -0.06, 0.12)
OFFSETS[[8, 9, 10, 11, 24, 23]] = OFFSETS[[4, 5, 6, 7, 22, 21]] * (-1, 1, 1)
OFFSETS[[16, 17, 18, 19]] = OFFSETS[[12, 13, 14, 15]] * (-1, 1, 1)
BONE_GROUPS = (
    (1, 20),
    (2, 3),
    (4, 8),
    (5, 9),
    (6, 10),
    (7, 11, 21, 22, 23, 24),
    (12, 16),
    (13, 17),
    (14, 18),
    (15, 19),
)
# one level of the tree after the other, from the spine base: (parents, children)
_LEVELS = (
    ([0, 0, 0], [1, 12, 16]),
    ([1, 12, 16], [20, 13, 17]),
    ([20, 20, 20, 13, 17], [2, 4, 8, 14, 18]),
    ([2, 4, 8, 14, 18], [3, 5, 9, 15, 19]),
    ([5, 9], [6, 10]),
    ([6, 10], [7, 11]),
    ([7, 11], [22, 24]),
    ([22, 24], [21, 23]),
)
FEET = [14, 15, 18, 19]
ROTATING = [0, 1, 2, 20, *ARMS, *LEGS]
# from (flexion, away, twist) to right-handed turns about x, z and y
_SIGNS = np.zeros((NUM_JOINTS, 3))
_SIGNS[list(MIDLINE)] = 1, -1, 1
_SIGNS[[4, 5, 6, 12, 14]] = -1, 1, -1
_SIGNS[[8, 9, 10, 16, 18]] = -1, -1, 1
_SIGNS[[13, 17]] = 1, 0, 0

REST = pose(
    left_shoulder=(3, 8, 10),
    right_shoulder=(3, 8, 10),
    left_elbow=(14, 0, 0),
    right_elbow=(14, 0, 0),
    left_hip=(0, 3, 0),
    right_hip=(0, 3, 0),
    left_knee=(3, 0, 0),
    right_knee=(3, 0, 0),
)


def posed(offsets: Array, angles: Array) -> Array:
    """Joints `(T, 25, 3)` in metres around the spine base from `angles` `(T, 25, 3)` in degrees.

    `offsets` `(25, 3)` lead from each joint's parent to it, in metres, in a body that stands
    straight.
    """
    # joints first and frames last: numpy is slow at many small products, fast along a last axis
    sine, cosine = np.zeros((2, NUM_JOINTS, 3, len(angles)))
    cosine += 1.0
    radians = np.ascontiguousarray((angles * np.deg2rad(_SIGNS)).transpose(1, 2, 0)[ROTATING])
    sine[ROTATING], cosine[ROTATING] = np.sin(radians), np.cos(radians)
    (sx, sz, sy), (cx, cz, cy) = sine.swapaxes(0, 1), cosine.swapaxes(0, 1)
    turns = np.empty((NUM_JOINTS, 3, 3, len(angles)))
    turns[:, 0, 0], turns[:, 0, 1], turns[:, 0, 2] = cz * cy, -sz, cz * sy
    across, along = sz * cy, sz * sy
    turns[:, 1, 0], turns[:, 1, 1], turns[:, 1, 2] = (
        cx * across + sx * sy,
        cx * cz,
        cx * along - sx * cy,
    )
    turns[:, 2, 0], turns[:, 2, 1], turns[:, 2, 2] = (
        sx * across - cx * sy,
        sx * cz,
        sx * along + cx * cy,
    )
    joints = np.zeros((NUM_JOINTS, 3, len(angles)))
    for parents, children in _LEVELS:
        frame, local = turns[parents], turns[children]
        x, y, z = offsets[children].T[:, :, None, None]
        fx, fy, fz = frame[:, :, 0], frame[:, :, 1], frame[:, :, 2]
        joints[children] = joints[parents] + fx * x + fy * y + fz * z
        turns[children] = (
            fx[:, :, None] * local[:, 0, None]
            + fy[:, :, None] * local[:, 1, None]
            + fz[:, :, None] * local[:, 2, None]
        )
    frames_first: Array = np.ascontiguousarray(joints.transpose(2, 0, 1))
    return frames_first


def turned(points: Array, degrees: float) -> Array:
    """Points turned about y; 0 looks along the camera's z, 180 into the camera."""
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    moved: Array = points @ turn.T
    return moved
