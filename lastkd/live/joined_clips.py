"""Long streams joined from a store's clips, with pauses between them and at changing pace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lastkd import rng
from lastkd.data.performers import performers_in_names
from lastkd.data.store.clip_store import ClipStore
from lastkd.evaluation.stream import Action

CLIPS_PER_STREAM = 20
PAUSE_S = (1.0, 3.0)
"""Shortest and longest pause before an action."""
PACE = (0.8, 1.25)
"""Slowest and fastest pace, as a factor."""
SWAY = 0.01
"""Standard deviation of the noise on a pose that is held, in the store's unit, a torso."""


@dataclass(frozen=True)
class JoinedClips:
    """One stream.

    Attributes:
        joints: `(T, M, V, 3)`; absent bodies are zeros.
        actions: what goes on when.
    """

    joints: NDArray[np.float32]
    actions: list[Action]


def join_clips(
    store: ClipStore,
    clips: NDArray[np.int64],
    *,
    rate: float,
    seed: int,
    rates: NDArray[np.float64] | None = None,
) -> Iterator[JoinedClips]:
    """Streams of up to `CLIPS_PER_STREAM` clips of one performer each, in a drawn order.

    A person begins with a pause: the last pose is held and then passes over into the next clip's
    first. Every clip comes at a pace of its own.

    Args:
        clips: indices of the store.
        rate: frames per second of the stream.
        seed: of order, pauses, pace and noise.
        rates: frames per second of each clip; by default the store's, or else the stream's.
    """
    if rates is None:
        rates = store.frames_per_second(clips, otherwise=rate)
    performers = _performers(store, clips)
    for performer in np.unique(performers).tolist():
        own = np.flatnonzero(performers == performer)
        order = own[rng.permutation(seed, "stream order", performer, count=len(own))]
        for start in range(0, len(order), CLIPS_PER_STREAM):
            some = order[start : start + CLIPS_PER_STREAM]
            yield _joined(store, clips[some], rates[some] / rate, rate, seed)


def _performers(store: ClipStore, clips: NDArray[np.int64]) -> NDArray[np.int64]:
    """Who performs each clip: as the store says, else as the clips' names do; else all are one."""
    known = store.performers[clips]
    if (known < 0).any():
        named = performers_in_names([store.names[clip] for clip in clips.tolist()])
        if named is not None:
            known = np.unique(named, return_inverse=True)[1].reshape(-1)
    return known


def _joined(
    store: ClipStore,
    clips: NDArray[np.int64],
    frames_each: NDArray[np.float64],
    rate: float,
    seed: int,
) -> JoinedClips:
    """
    Args:
        frames_each: of a clip, for each frame of the stream.
    """
    M = max(int(store.bodies[clip]) for clip in clips)
    parts: list[NDArray[np.float32]] = []
    actions, at = [], 0
    for clip, factor in zip(clips.tolist(), frames_each.tolist(), strict=True):
        pause, pace = rng.uniform(seed, "stream", clip, shape=(2,))
        joints = store.clip(clip)
        if joints.shape[1] < M:
            absent = np.zeros((len(joints), M - joints.shape[1], *joints.shape[2:]), np.float32)
            joints = np.concatenate((joints, absent), axis=1)
        joints = _at_pace(joints, factor * PACE[0] * (PACE[1] / PACE[0]) ** pace)
        seconds = PAUSE_S[0] + (PAUSE_S[1] - PAUSE_S[0]) * pause
        before = parts[-1][-1] if parts else joints[0]
        held = _held(before, joints[0], round(seconds * rate), seed, clip)
        parts += [held, joints]
        at += len(held)
        actions.append(Action(int(store.labels[clip]), at, at + len(joints)))
        at += len(joints)
    return JoinedClips(np.concatenate(parts), actions)


def _at_pace(joints: NDArray[np.float32], pace: float) -> NDArray[np.float32]:
    """A clip resampled to be `pace` times as fast."""
    count = max(round(len(joints) / pace), 2)
    at = np.linspace(0, len(joints) - 1, count)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, len(joints) - 1)
    weight = at - before
    present = np.any(joints, axis=(2, 3))
    both = present[before] & present[after]
    share = np.where(both, weight[:, None], weight.round()[:, None])[..., None, None]
    moved: NDArray[np.float32] = (joints[before] * (1 - share) + joints[after] * share).astype(
        np.float32
    )
    return moved


def _held(
    last: NDArray[np.float32], first: NDArray[np.float32], frames: int, seed: int, clip: int
) -> NDArray[np.float32]:
    """A pause: `last` with a little sway, passing over into `first` in its second half."""
    way = np.clip(np.linspace(-1, 1, frames), 0, 1)
    way = (3 * way**2 - 2 * way**3)[:, None, None, None]
    u, v = rng.uniform(seed, "stream sway", clip, shape=(2, frames, *last.shape))
    sway = np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * np.pi * v) * SWAY
    there = (np.any(last, axis=(1, 2)) & np.any(first, axis=(1, 2)))[:, None, None]
    held: NDArray[np.float32] = ((last * (1 - way) + first * way + sway) * there).astype(np.float32)
    return held
