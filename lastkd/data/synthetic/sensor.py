"""What the sensor makes of the synthetic bodies: noise, lost joints, the order of bodies."""

from __future__ import annotations

import numpy as np

from lastkd.data.synthetic.body import NUM_JOINTS, Array

# how much of the noise and of the losses each joint gets: limbs' ends are tracked worst
_UNSTEADY = np.full(NUM_JOINTS, 0.7)
_UNSTEADY[[5, 6, 9, 10, 13, 14, 17, 18]] = 1.0
_UNSTEADY[[7, 11, 15, 19, 21, 22, 23, 24]] = 1.6
_LOST_FRAMES = 8


def lose_joints(rng: np.random.Generator, joints: Array, share: float) -> None:
    """Hold joints `(T, M, 25, 3)` at their last place, or put them off it, for some frames each.

    Works in place; `share` of the joints and frames is lost.
    """
    T, M, V, _ = joints.shape
    if share == 0:
        return
    number = int(share * T * M * V / _LOST_FRAMES + rng.random())
    odds = np.cumsum(_UNSTEADY) / _UNSTEADY.sum()
    draws = rng.random((number, 5))
    errors = rng.standard_normal((number, 3)) * 0.15
    for (frame, body, joint, length, kind), error in zip(draws, errors, strict=True):
        m, v = int(body * M), min(int(np.searchsorted(odds, joint)), V - 1)
        first = 1 + int(frame * (T - 1))
        last = min(first + 2 + int(length * (2 * _LOST_FRAMES - 4)), T)
        place = joints[first - 1, m, v] + (error if kind < 0.4 else 0.0)
        joints[first:last, m, v] = place


def add_noise(rng: np.random.Generator, joints: Array, metres: float) -> None:
    """Add noise to joints `(T, M, 25, 3)` in place; `metres` is a limb's standard deviation."""
    joints += metres * (rng.standard_normal(joints.shape) * _UNSTEADY[:, None])


def by_motion(joints: Array) -> Array:
    """The bodies `(T, M, 25, 3)` with the one that moves most first, the raw reader's order."""
    if joints.shape[1] == 1:
        return joints
    wide = np.ptp(joints[..., 0], axis=2) > 0.8 * np.ptp(joints[..., 1], axis=2)
    motion = []
    for body in range(joints.shape[1]):
        clean = joints[~wide[:, body], body].reshape(-1, 3)
        moved = joints[:, body].reshape(-1, 3).var(axis=0).sum()
        motion.append(min(moved, clean.var(axis=0).sum()) if len(clean) else moved)
    return joints[:, np.argsort([-m for m in motion], kind="stable")]
