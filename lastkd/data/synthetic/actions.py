"""The actions of the synthetic set: which poses a movement passes through, and when.

A movement is a `Trajectory` (where a body goes: a few poses that are added up) under a clock (how
much of each pose there is at each moment). Actions that share a trajectory visit the same poses and
differ only in their clock, which makes them hard for a model that ignores timing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lastkd.data.synthetic.body import NUM_JOINTS, Array, pose

Side = Literal["left", "right"]
Clock = Callable[[Array, Array, int], Array]
"""`(t, draw, role)` -> weights `(T, K)` of a path's poses: `t` `(T,)` runs from 0 to 1 over the
clip, `draw` `(CLOCK_DRAWS,)` are the clip's deviations from the usual timing in standard
deviations, `role` is 0 for the body that leads and 1 for the one that answers."""

CLOCK_DRAWS = 4


@dataclass(frozen=True)
class Trajectory:
    """Poses that are added up, each with its weight.

    Attributes:
        poses: `(K, 25, 3)` degrees, made for the right side.
        forward: `(K,)` metres that each pose moves the whole body forward.
        one_armed: whether one arm leads, so that the other may go along a little.
    """

    poses: Array
    forward: Array
    one_armed: bool = False


def _path(*poses: Array, forward: tuple[float, ...] = (), one_armed: bool = False) -> Trajectory:
    metres = np.zeros(len(poses))
    metres[: len(forward)] = forward
    return Trajectory(np.stack(poses), metres, one_armed)


_REACH = pose(right_shoulder=(52, 4, 8), right_elbow=(38, 0, 0), spine=(6, 0, 0), chest=(0, 0, 6))
_GAIT = pose(
    left_hip=(24, 0, 0),
    right_hip=(-24, 0, 0),
    left_shoulder=(-22, 0, 0),
    right_shoulder=(22, 0, 0),
    chest=(0, 0, -5),
)

RAISE = _path(
    pose(right_shoulder=(140, 12, 0), right_elbow=(-8, 0, 0), spine=(-2, 0, 0)), one_armed=True
)
WAVE = _path(
    pose(right_shoulder=(78, 62, 0), right_elbow=(88, 0, 0)),
    pose(right_elbow=(-27, 0, 0), right_shoulder=(0, 5, 0), right_wrist=(-12, 0, 0)),
    one_armed=True,
)
NOD = _path(pose(neck=(40, 0, 0), chest=(9, 0, 0)))
SQUAT = _path(
    pose(
        left_hip=(84, 10, 0),
        right_hip=(84, 10, 0),
        left_knee=(96, 0, 0),
        right_knee=(96, 0, 0),
        left_ankle=(14, 0, 0),
        right_ankle=(14, 0, 0),
        spine=(26, 0, 0),
        left_shoulder=(38, 4, 0),
        right_shoulder=(38, 4, 0),
    ),
    forward=(-0.18,),
)
KICK = _path(
    pose(right_hip=(-22, 0, 0), right_knee=(58, 0, 0), spine=(5, 0, 0)),
    pose(
        right_hip=(66, 3, 0),
        right_knee=(8, 0, 0),
        spine=(-9, 0, 0),
        left_shoulder=(26, 12, 0),
        right_shoulder=(-18, 10, 0),
    ),
)
REACH = _path(
    _REACH,
    pose(right_shoulder=(14, 0, 0), right_elbow=(-20, 0, 0)),
    one_armed=True,
)
PUSH = _path(
    pose(
        left_shoulder=(28, 6, 10),
        right_shoulder=(28, 6, 10),
        left_elbow=(105, 0, 0),
        right_elbow=(105, 0, 0),
    ),
    pose(
        left_shoulder=(78, 2, 4),
        right_shoulder=(78, 2, 4),
        left_elbow=(18, 0, 0),
        right_elbow=(18, 0, 0),
        spine=(12, 0, 0),
    ),
    forward=(0.0, 0.10),
)
STAGGER = _path(
    pose(spine=(-17, 0, 0), left_shoulder=(18, 22, 0), right_shoulder=(18, 22, 0)),
    pose(right_hip=(-20, 0, 0), right_knee=(18, 0, 0)),
    forward=(-0.32,),
)
WALK = _path(
    np.zeros((NUM_JOINTS, 3)),
    _GAIT,
    pose(left_knee=(46, 0, 0)),
    pose(right_knee=(46, 0, 0)),
    forward=(0.75,),
)
RETREAT = Trajectory(WALK.poses * np.array([1, -1, 1, 1])[:, None, None], -WALK.forward)
"""The walk backwards in time: the swing of its gait is the other way round."""


def _rise(t: Array, start: float, length: float) -> Array:
    """0 before `start`, 1 from `start + length` on, smooth between."""
    x = np.clip((t - start) / max(length, 1e-3), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def _bump(t: Array, centre: float, half: float) -> Array:
    """0, up to 1 at `centre`, and back to 0 within `half` on either side."""
    x = np.clip(np.abs(t - centre) / max(half, 1e-3), 0.0, 1.0)
    return 0.5 + 0.5 * np.cos(np.pi * x)


def _lift_until(release: float) -> Clock:
    def clock(t: Array, draw: Array, role: int) -> Array:
        end = release + 0.07 * draw[1]
        return (_rise(t, 0.1 + 0.04 * draw[0], 0.24) - _rise(t, end, 0.24))[:, None]

    return clock


def _swing(cycles: float, deviation: float) -> Clock:
    def clock(t: Array, draw: Array, role: int) -> Array:
        late = 0.02 * draw[0]
        lift = _rise(t, 0.05 + late, 0.17) - _rise(t, 0.82 + late, 0.15)
        inside = np.clip((t - 0.24 - late) / 0.56, 0.0, 1.0)
        number = max(cycles + deviation * float(draw[1]), 1.0)
        edges = _rise(inside, 0.0, 0.1) - _rise(inside, 0.9, 0.1)
        return np.stack([lift, edges * np.sin(2.0 * np.pi * number * inside)], axis=1)

    return clock


def _nod(times: int) -> Clock:
    def clock(t: Array, draw: Array, role: int) -> Array:
        centre = 0.5 + 0.07 * draw[0]
        half = (0.24 if times == 1 else 0.15) * float(np.clip(1.0 + 0.2 * draw[1], 0.4, 1.8))
        if times == 1:
            return _bump(t, centre, half)[:, None]
        apart = 0.155 + 0.02 * draw[2]
        second = 1.0 + 0.1 * min(float(draw[3]), 0.0)
        bumps = _bump(t, centre - apart, half) + second * _bump(t, centre + apart, half)
        return np.minimum(bumps, 1.0)[:, None]

    return clock


def _down_and_up(bottom: float) -> Clock:
    def clock(t: Array, draw: Array, role: int) -> Array:
        start, end = 0.1 + 0.03 * draw[0], 0.9 + 0.03 * draw[1]
        turn = float(np.clip(bottom + 0.085 * draw[2], start + 0.1, end - 0.1))
        return (_rise(t, start, turn - start) - _rise(t, turn, end - turn))[:, None]

    return clock


def _strike(t: Array, draw: Array, role: int) -> Array:
    centre = 0.5 + 0.07 * draw[0]
    half = 0.2 * float(np.clip(1.0 + 0.2 * draw[1], 0.5, 1.6))
    return np.stack([_bump(t, centre - half, half), _bump(t, centre + 0.2 * half, half)], axis=1)


def _shake(t: Array, draw: Array, role: int) -> Array:
    late = 0.03 * role + 0.03 * draw[0]
    reach = _rise(t, 0.1 + late, 0.25) - _rise(t, 0.72 + late, 0.2)
    inside = np.clip((t - 0.36) / 0.38, 0.0, 1.0)
    number = max(2.5 + 0.5 * float(draw[1]), 1.0)
    return np.stack([reach, np.sin(np.pi * inside) * np.sin(2 * np.pi * number * inside)], axis=1)


def _give(t: Array, draw: Array, role: int) -> Array:
    late = (0.1 + 0.04 * draw[1]) * role + 0.03 * draw[0]
    reach = _rise(t, 0.1 + late, 0.25) - _rise(t, 0.62 + late, 0.22)
    return np.stack([reach, np.zeros_like(t)], axis=1)


def _shove(t: Array, draw: Array, role: int) -> Array:
    centre = 0.45 + 0.06 * draw[0]
    if role == 0:
        ready = _bump(t, centre - 0.14, 0.15)
        return np.stack([ready, _bump(t, centre, 0.17)], axis=1)
    back = _rise(t, centre - 0.03, 0.22)
    upright = _rise(t, centre + 0.3, 0.25)
    return np.stack([back - 0.25 * upright, _bump(t, centre + 0.08, 0.14)], axis=1)


def _stride(t: Array, draw: Array, role: int) -> Array:
    start = 0.06 + 0.03 * draw[role]
    travel = np.clip((t - start) / 0.85, 0.0, 1.0)
    phase = 2.0 * np.pi * (1.6 + 0.15 * draw[2 + role]) * travel
    moving = _rise(travel, 0.0, 0.1) - _rise(travel, 0.9, 0.1)
    swing, bend = np.sin(phase), np.cos(phase)
    return np.stack(
        [travel, moving * swing, moving * np.maximum(bend, 0), moving * np.maximum(-bend, 0)],
        axis=1,
    )


@dataclass(frozen=True)
class Action:
    """One class of the synthetic set.

    Attributes:
        name: as `class_names` has it.
        path, clock: of the leading body, and of the other one unless `answer` says otherwise.
        side: the side that the action is bound to; `None` leaves it to the subject's handedness.
        bodies: 1 or 2.
        answer: what the second body does.
        gap: metres between the two bodies at the start.
    """

    name: str
    path: Trajectory
    clock: Clock
    side: Side | None = None
    bodies: int = 1
    answer: Trajectory | None = None
    gap: float = 0.0


ACTIONS: tuple[Action, ...] = (
    Action("raise the left arm", RAISE, _lift_until(0.88), "left"),
    Action("raise the right arm", RAISE, _lift_until(0.88), "right"),
    Action("raise the right arm and drop it", RAISE, _lift_until(0.52), "right"),
    Action("wave slowly", WAVE, _swing(2.0, 0.3)),
    Action("wave fast", WAVE, _swing(3.6, 0.45)),
    Action("nod once", NOD, _nod(1)),
    Action("nod twice", NOD, _nod(2)),
    Action("squat fast, rise slowly", SQUAT, _down_and_up(0.34)),
    Action("squat slowly, rise fast", SQUAT, _down_and_up(0.66)),
    Action("kick with the left foot", KICK, _strike, "left"),
    Action("kick with the right foot", KICK, _strike, "right"),
    Action("shake hands", REACH, _shake, "right", 2, gap=0.95),
    Action("hand over an object", REACH, _give, "right", 2, gap=0.95),
    Action("push somebody", PUSH, _shove, "right", 2, answer=STAGGER, gap=0.75),
    Action("walk towards each other", WALK, _stride, "right", 2, gap=2.7),
    Action("back away from each other", RETREAT, _stride, "right", 2, gap=0.9),
)

TIMING_PAIRS: tuple[tuple[int, int], ...] = ((1, 2), (3, 4), (5, 6), (7, 8))
"""Labels of actions that visit the same poses and differ in their timing alone."""

DISTRACTIONS: Array = np.stack(
    [
        pose(right_shoulder=(60, 10, 20), right_elbow=(125, 0, 0)),  # scratches the head
        pose(neck=(0, 0, 32)),  # glances aside
        pose(pelvis=(0, 5, 0), right_hip=(6, 4, 0), right_knee=(14, 0, 0)),  # shifts the weight
        pose(neck=(22, 0, 0), chest=(4, 0, 0)),  # looks down
        pose(right_shoulder=(35, 8, 15), right_elbow=(70, 0, 0)),  # lifts a hand
    ]
)
"""`(5, 25, 3)` degrees: small movements that have nothing to do with the action."""
