"""From joints to places in a picture, the same for a file and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lastkd.data.layouts import Layout
from lastkd.show.figures import Figure

Places = NDArray[np.float64]

PITCH_DEGREES = 12
ARROW_FRAMES = 4
"""A velocity is drawn as the way of so many frames."""


@dataclass(frozen=True)
class Projected:
    """A figure in picture coordinates: x to the right, y up, one unit a torso.

    Attributes:
        points: `(T, M, V, 2)`.
        depth: `(T, M, V)`, larger is farther away.
        seen: `(T, M, V)`.
        tips: `(T, M, V, 2)` of the arrows, or None.
        shadow: `(T, M, V, 2)`, the joints let fall on the floor, or None in the image plane.
        floor: `(4, 2)` corners, or `(2, 2)` ends of a line.
        low, high: `(2,)` corners of all that is drawn.
    """

    points: Places
    depth: Places
    seen: NDArray[np.bool_]
    tips: Places | None
    shadow: Places | None
    floor: Places
    low: Places
    high: Places


def project(figure: Figure, layout: Layout, turn_degrees: float) -> Projected:
    """Parallel projection, seen from slightly above.

    A sensor's x grows to the right of the person who faces it, which is the left of the picture;
    its z grows away from it. In the image plane y grows downwards.
    """
    joints = figure.joints.astype(np.float64)
    seen = np.broadcast_to(figure.present[..., None], joints.shape[:3])
    if layout.dimensions == 2:
        seen = seen & (joints[..., 2] > 0)
        flip = np.array([1.0, -1.0])
        points = joints[..., :2] * flip
        tips = None if figure.arrows is None else points + _way(figure)[..., :2] * flip
        return _bounded(points, np.zeros(joints.shape[:3]), seen, tips, None, None)
    camera = _camera(turn_degrees)
    turned = joints @ camera.T
    points, depth = turned[..., :2], turned[..., 2]
    tips = None if figure.arrows is None else points + (_way(figure) @ camera.T)[..., :2]
    if not seen.any():
        return _bounded(points, depth, seen, tips, None, None)
    # a single noisy foot isn't where the floor is
    level = np.percentile(joints[..., 1].min(axis=2)[figure.present], 5)
    fallen = joints.copy()
    fallen[..., 1] = level
    x, z = joints[seen][:, 0], joints[seen][:, 2]
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
    return _bounded(points, depth, seen, tips, (fallen @ camera.T)[..., :2], floor)


def _way(figure: Figure) -> Places:
    assert figure.arrows is not None
    return ARROW_FRAMES * figure.arrows.astype(np.float64)


def _camera(turn_degrees: float) -> Places:
    """`(3, 3)`: rows give x in the picture, y in it, and depth."""
    turn, pitch = np.radians(turn_degrees), np.radians(PITCH_DEGREES)
    about_y = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    look = np.array(
        [[-1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]]
    )
    camera: Places = look @ about_y
    return camera


def _bounded(
    points: Places,
    depth: Places,
    seen: NDArray[np.bool_],
    tips: Places | None,
    shadow: Places | None,
    floor: Places | None,
) -> Projected:
    drawn = points[seen] if seen.any() else np.zeros((1, 2))
    if floor is None:
        bottom, (left, right) = drawn[:, 1].min(), (drawn[:, 0].min(), drawn[:, 0].max())
        floor = np.array([(left - 0.3, bottom), (right + 0.3, bottom)])
    drawn = np.concatenate([drawn, floor])
    return Projected(points, depth, seen, tips, shadow, floor, drawn.min(0), drawn.max(0))


def spread(frames: int, poses: int) -> list[int]:
    """Frames at equal distances, the first and the last among them."""
    places: list[int] = np.linspace(0, frames - 1, min(poses, frames)).round().astype(int).tolist()
    return places
