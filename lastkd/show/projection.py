"""From joints to picture coordinates, for image files, the terminal and the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lastkd.data.layouts import Layout
from lastkd.show.poses import PoseSequence

Vectors = NDArray[np.float64]

PITCH_DEGREES = 12
ARROW_FRAMES = 4
"""A velocity is drawn as the distance covered in this many frames."""


@dataclass(frozen=True)
class Projected:
    """Poses in picture coordinates: x to the right, y up, in torso lengths.

    Attributes:
        points: `(T, M, V, 2)`, the joints.
        depth: `(T, M, V)`, larger is farther away.
        visible: `(T, M, V)`, whether there is such a joint.
        tips: `(T, M, V, 2)`, the ends of the arrows, or None.
        shadow: `(T, M, V, 2)`, the joints projected onto the floor; None for 2D layouts.
        floor: `(4, 2)` corners, or `(2, 2)` ends of a line.
        low, high: `(2,)`, the corners of everything drawn.
    """

    points: Vectors
    depth: Vectors
    visible: NDArray[np.bool_]
    tips: Vectors | None
    shadow: Vectors | None
    floor: Vectors
    low: Vectors
    high: Vectors


def project(poses: PoseSequence, layout: Layout, turn_degrees: float) -> Projected:
    """Projects poses in parallel, seen from slightly above.

    In a sensor's coordinates x grows to the right of a person facing it, which is the left of the
    picture, and z grows away from the sensor. In 2D layouts y grows downwards.

    Args:
        turn_degrees: about the vertical axis to look from.
    """
    joints = poses.joints.astype(np.float64)
    visible = np.broadcast_to(poses.present[..., None], joints.shape[:3])
    if layout.dimensions == 2:
        visible = visible & (joints[..., 2] > 0)
        flip = np.array([1.0, -1.0])
        points = joints[..., :2] * flip
        tips = None if poses.arrows is None else points + _arrows(poses)[..., :2] * flip
        return _bounded(points, np.zeros(joints.shape[:3]), visible, tips, None, None)
    camera = camera_matrix(turn_degrees)
    turned = joints @ camera.T
    points, depth = turned[..., :2], turned[..., 2]
    tips = None if poses.arrows is None else points + (_arrows(poses) @ camera.T)[..., :2]
    if not visible.any():
        return _bounded(points, depth, visible, tips, None, None)
    # a low percentile: a single noisy foot must not lower the floor
    level = np.percentile(joints[..., 1].min(axis=2)[poses.present], 5)
    fallen = joints.copy()
    fallen[..., 1] = level
    x, z = joints[visible][:, 0], joints[visible][:, 2]
    (left, right), (near, far) = (np.percentile(of, (1, 99)) for of in (x, z))
    margin = 0.4
    corners = np.array(
        [
            (left - margin, level, near - margin),
            (right + margin, level, near - margin),
            (right + margin, level, far + margin),
            (left - margin, level, far + margin),
        ]
    )
    floor = (corners @ camera.T)[:, :2]
    return _bounded(points, depth, visible, tips, (fallen @ camera.T)[..., :2], floor)


def _arrows(poses: PoseSequence) -> Vectors:
    assert poses.arrows is not None
    return ARROW_FRAMES * poses.arrows.astype(np.float64)


def camera_matrix(turn_degrees: float) -> Vectors:
    """`(3, 3)`, whose rows give x and y in the picture and depth."""
    turn, pitch = np.radians(turn_degrees), np.radians(PITCH_DEGREES)
    about_y = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    look = np.array(
        [[-1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    camera: Vectors = look @ about_y
    return camera


def _bounded(
    points: Vectors,
    depth: Vectors,
    visible: NDArray[np.bool_],
    tips: Vectors | None,
    shadow: Vectors | None,
    floor: Vectors | None,
) -> Projected:
    drawn = points[visible] if visible.any() else np.zeros((1, 2))
    if floor is None:
        bottom, (left, right) = drawn[:, 1].min(), (drawn[:, 0].min(), drawn[:, 0].max())
        floor = np.array([(left - 0.3, bottom), (right + 0.3, bottom)])
    drawn = np.concatenate([drawn, floor])
    return Projected(points, depth, visible, tips, shadow, floor, drawn.min(0), drawn.max(0))


def evenly_spaced(frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers at equal distances, including the first and the last."""
    numbers: list[int] = np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist()
    return numbers
