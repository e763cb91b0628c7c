"""Readings packed as the store takes them: made in any process, written by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import Clip, FloatArray
from lastkd.data.formats.base import BAD, Reading
from lastkd.data.layouts import Layout
from lastkd.data.normalise import centre_and_scale
from lastkd.data.store.clip_store import CHANNELS
from lastkd.errors import UserError


class ClipRow(NamedTuple):
    """What the store knows of a clip beside its joints; `fps` is 0 where it isn't known."""

    name: str
    frames: int
    bodies: int
    label: int
    performer: int
    camera: int
    setup: int
    fps: float = 0.0

    @property
    def hashed(self) -> tuple[str | float, ...]:
        """What the content's hash takes in: all but the frame rate, which no model sees."""
        return self[:-1]


@dataclass
class Packed:
    """The readings of one range of samples.

    Attributes:
        samples: how many were read, including those left out.
        rows: `(R, V, 3)` float32, the body-frames of all clips, body 0's frames first.
        present: `(R,)` uint8, whether the body is there.
        counts: what was left out -> how often.
        bodies: what the kept bodies became -> how often.
        details: what `lastkd info --details` lists.
        faults: what is wrong with the bad samples.
    """

    samples: int
    clips: list[ClipRow]
    rows: FloatArray
    present: NDArray[np.uint8]
    counts: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    details: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def pack_clips(clips: Iterable[Clip], layout: Layout) -> Packed:
    """Packs clips as they are; bodies that are absent throughout take no room.

    Raises:
        UserError: a clip's coordinates aren't finite, or its shape doesn't fit.
    """
    about: list[ClipRow] = []
    rows: list[FloatArray] = [np.zeros((0, layout.num_joints, CHANNELS), "<f4")]
    for clip in clips:
        T, M, V, C = clip.joints.shape
        if layout.num_joints != V or C != CHANNELS or T == 0 or M == 0:
            raise UserError(
                f"clip {clip.name}: shape {clip.joints.shape} doesn't fit layout "
                f"{layout.name} of {layout.num_joints} joints"
            )
        if not np.isfinite(clip.joints).all():
            raise UserError(f"clip {clip.name}: holds a coordinate that isn't a finite number")
        kept = [m for m in range(M) if m == 0 or clip.joints[:, m].any()]
        joints = clip.joints[:, kept].swapaxes(0, 1)
        rows.append(joints.reshape(-1, V, CHANNELS).astype("<f4", copy=False))
        who = (clip.label, clip.performer, clip.camera, clip.setup)
        about.append(ClipRow(clip.name, T, len(kept), *who, clip.fps))
    joined = np.concatenate(rows)
    return Packed(len(about), about, joined, presence(joined))


def keep_clips(
    packed: Packed, kept: Sequence[int], *, counts: Counter[str], details: list[dict[str, Any]]
) -> Packed:
    """What was packed with some of its clips alone, and another account of what was left out."""
    ends = np.cumsum([clip.frames * clip.bodies for clip in packed.clips])
    starts = ends - [clip.frames * clip.bodies for clip in packed.clips]
    rows = [packed.rows[:0], *(packed.rows[starts[at] : ends[at]] for at in kept)]
    joined = np.concatenate(rows)
    clips = [packed.clips[at] for at in kept]
    return replace(
        packed,
        clips=clips,
        rows=joined,
        present=presence(joined),
        counts=counts,
        details=details,
    )


def presence(rows: FloatArray) -> NDArray[np.uint8]:
    """`(R,)` for rows `(R, V, 3)`: 1 where there is anything but zeros."""
    here: NDArray[np.bool_] = np.any(rows, axis=(1, 2))
    return here.astype(np.uint8)


def pack_readings(readings: Iterable[Reading], layout: Layout) -> Packed:
    """Centres and scales what was read and packs it, with the account of what was left out."""
    counts: Counter[str] = Counter()
    bodies: Counter[str] = Counter()
    details: list[dict[str, Any]] = []
    faults: list[str] = []
    clips: list[Clip] = []
    samples = 0
    for reading in readings:
        samples += 1
        fault, clip = reading.fault, reading.clip
        if clip is not None:
            with np.errstate(all="ignore"):  # overflow is reported below
                joints = centre_and_scale(clip.joints, layout)
            if np.isfinite(joints).all():
                clips.append(replace(clip, joints=joints))
            else:
                fault = f"clip {clip.name}: its coordinates are too large for a float32; mend it"
        if fault is not None:
            faults.append(fault)
            details.append({"clip": reading.name, "bad": fault})
            counts[BAD] += 1
            continue
        counts.update(reading.counts)
        if clip is None:
            details.append({"clip": reading.name, "left_out": list(reading.counts)})
            continue
        fates = list(reading.fates)
        bodies.update(fate.fate for fate in fates if fate.fate not in reading.counts)
        if len(fates) > 1:
            details.append({"clip": reading.name, "bodies": fates})
    packed = pack_clips(clips, layout)
    return replace(
        packed, samples=samples, counts=counts, bodies=bodies, details=details, faults=faults
    )
