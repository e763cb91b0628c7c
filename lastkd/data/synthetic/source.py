"""A procedural set of skeleton clips: everything works, and can be judged, without a download.

An articulated body of the NTU layout moves by forward kinematics. Subjects differ in proportions,
pace and habits, so that a cross-subject split asks for generalisation. Every clip is a pure
function of (seed, subject, action, repetition): neither the set's order nor its size changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.base import Reading, Source, SourceOptions
from lastkd.data.layouts import get_layout
from lastkd.data.ntu import KINECT_FPS
from lastkd.data.synthetic.actions import ACTIONS, CLOCK_DRAWS, DISTRACTIONS, Action
from lastkd.data.synthetic.body import (
    ARMS,
    BONE_GROUPS,
    FEET,
    LEGS,
    NUM_JOINTS,
    OFFSETS,
    REST,
    ROTATING,
    Array,
    mirror,
    posed,
    turned,
)
from lastkd.data.synthetic.sensor import add_noise, by_motion, lose_joints
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.errors import UserError


def _name(subject: int, label: int, repetition: int) -> str:
    return f"S001C001P{subject + 1:03d}R{repetition + 1:03d}A{label + 1:03d}"


def _generator(*key: object) -> np.random.Generator:
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


@dataclass(frozen=True)
class _Subject:
    offsets: Array
    posture: Array
    timing: Array
    pace: float
    amplitude: float
    plane: float
    sway: float
    echo: float
    lag: float
    left_handed: bool

    @staticmethod
    def drawn(settings: SyntheticSettings, rng: np.random.Generator) -> _Subject:
        spread = settings.proportion_spread
        offsets = OFFSETS * (1.0 + spread * float(np.clip(rng.standard_normal(), -2.5, 2.5)))
        for group in BONE_GROUPS:
            scale = 1.0 + spread * float(np.clip(rng.standard_normal(), -2.5, 2.5))
            offsets[list(group)] *= scale
        posture = np.zeros((NUM_JOINTS, 3))
        posture[ROTATING] = rng.standard_normal((len(ROTATING), 3)) * settings.posture_degrees
        posture[list(LEGS)] *= 0.5
        return _Subject(
            offsets=offsets,
            posture=posture,
            timing=rng.standard_normal(CLOCK_DRAWS),
            pace=float(rng.random()),
            amplitude=float(rng.standard_normal()),
            plane=float(np.clip(rng.standard_normal(), -2, 2)) * settings.style_degrees,
            sway=_between(rng, 0.4, 1.6) * settings.sway_degrees,
            echo=float(rng.random()) * settings.echo,
            lag=_between(rng, 0.0, 0.1),
            left_handed=bool(rng.random() < settings.left_handed_share),
        )


class SyntheticSource(Source):
    """Sixteen actions by procedural subjects, eleven with one body and five with two.

    Joints are metres in the camera's frame (y up, x to the sensor's left, z away from it), as the
    Kinect gives them: `(T, 1, 25, 3)`, or `(T, 2, 25, 3)` where two people act. The body that moves
    most is body 0, the field's rule for actor 1.

    Args:
        settings: size and difficulty; the defaults if left out.
    """

    knows_up = True
    help = "the word synthetic, for a procedural set that needs no download"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return str(path) == "synthetic"

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> SyntheticSource:
        if options.dataset is not None:
            raise UserError("the synthetic set has its own classes and splits; leave out --dataset")
        return cls(options.synthetic)

    def __init__(self, settings: SyntheticSettings | None = None) -> None:
        self.settings = settings or SyntheticSettings()
        self.kind = "synthetic (procedural)"
        self.fps = KINECT_FPS
        self.layout = get_layout("ntu25")
        self.class_names = tuple(action.name for action in ACTIONS)
        self.counts: dict[str, int] = {}
        self._subjects: dict[int, _Subject] = {}

    def __len__(self) -> int:
        settings = self.settings
        return settings.subjects * len(ACTIONS) * settings.clips_per_subject_and_action

    def names(self) -> Sequence[str]:
        return [_name(*self._place(index)) for index in range(len(self))]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for index in range(start, stop):
            clip = self.clip(*self._place(index))
            yield Reading(clip.name, clip)

    def _place(self, index: int) -> tuple[int, int, int]:
        """Subject, label and repetition of a sample."""
        rest, repetition = divmod(index, self.settings.clips_per_subject_and_action)
        return *divmod(rest, len(ACTIONS)), repetition

    def identity(self) -> str:
        return self.settings.model_dump_json()

    def splits(self, clips: Sequence[Clip]) -> Splits:
        """`xsub`: odd performers train, even ones test."""
        train = [clip.name for clip in clips if clip.performer % 2 == 1]
        test = [clip.name for clip in clips if clip.performer % 2 == 0]
        return {"xsub": {"train": train, "test": test}}

    def clip(self, subject: int, label: int, repetition: int) -> Clip:
        """One clip; all three count from 0, and performer is `subject + 1`."""
        settings, action = self.settings, ACTIONS[label]
        key = (settings.seed, subject, label, repetition)
        rng = _generator("clip", *key)
        leader = self._subject(subject)
        pace = float(np.clip(0.5 * leader.pace + 0.5 * rng.random(), 0.0, 1.0))
        frames = settings.min_frames + round(pace * (settings.max_frames - settings.min_frames))
        cast = [leader]
        if action.bodies == 2:
            cast.append(_Subject.drawn(settings, _generator("partner", *key)))
        joints = _scene(settings, rng, action, cast, frames)
        lose_joints(rng, joints, settings.dropped_joint_share)
        add_noise(rng, joints, settings.noise_m)
        return Clip(
            name=_name(subject, label, repetition),
            label=self._given_label(subject, label, repetition),
            joints=by_motion(joints).astype(np.float32),
            performer=subject + 1,
            camera=1,
            setup=1,
        )

    def _given_label(self, subject: int, label: int, repetition: int) -> int:
        """The label that an annotator gave: wrong for some clips of training performers."""
        share = self.settings.wrong_label_share
        if not share or subject % 2:
            return label
        wrong, other = _generator("label", self.settings.seed, subject, label, repetition).random(2)
        if wrong >= share:
            return label
        return (label + 1 + int(other * (len(ACTIONS) - 1))) % len(ACTIONS)

    def _subject(self, subject: int) -> _Subject:
        if subject not in self._subjects:
            rng = _generator("subject", self.settings.seed, subject)
            self._subjects[subject] = _Subject.drawn(self.settings, rng)
        return self._subjects[subject]


@dataclass(frozen=True)
class _Take:
    """What the bodies of one clip share: the clock's time `(T,)` and its deviations."""

    settings: SyntheticSettings
    rng: np.random.Generator
    time: Array
    draw: Array


def _scene(
    settings: SyntheticSettings,
    rng: np.random.Generator,
    action: Action,
    cast: Sequence[_Subject],
    frames: int,
) -> Array:
    """The bodies of a clip where they stand, before the sensor: `(T, M, 25, 3)`."""
    low = _between(rng, -settings.framing_spread, settings.framing_spread)
    high = 1.0 + _between(rng, -settings.framing_spread, settings.framing_spread)
    time = np.linspace(low, high, frames)
    warp = _between(rng, -settings.tempo_warp, settings.tempo_warp)
    time = time + warp * np.sin(2.0 * np.pi * time) / (2.0 * np.pi)
    draw = settings.timing_spread * (
        0.6 * cast[0].timing + 0.8 * np.clip(rng.standard_normal(CLOCK_DRAWS), -2.5, 2.5)
    )
    turn = _between(rng, -settings.turn_degrees, settings.turn_degrees)
    place = np.array([_between(rng, -0.25, 0.25), -_between(rng, 0.8, 1.1), settings.distance_m])
    place[2] += _between(rng, -0.3, 0.3)
    gap = action.gap * _between(rng, 0.9, 1.1)
    flip = 90.0 if rng.random() < 0.5 else -90.0
    take = _Take(settings, rng, time, draw)
    bodies = []
    for role, subject in enumerate(cast):
        angles, forward = _movement(take, subject, action, role)
        joints = posed(subject.offsets, angles)
        joints[..., 1] -= joints[:, FEET, 1].min(axis=1)[:, None]
        joints[..., 2] += forward[:, None]
        heading, start = 180.0 + turn, np.zeros(3)
        if len(cast) == 2:
            along = turn + flip + 180.0 * role
            start = turned(np.array([0.0, 0.0, -gap / 2.0]), along)
            heading = along + _between(rng, -0.3, 0.3) * settings.turn_degrees
        bodies.append(turned(joints, heading) + start + place)
    return np.stack(bodies, axis=1)


def _blend(weights: Array, poses: Array) -> Array:
    """Weights `(T, K)` of poses `(K, V, 3)` as angles `(T, V, 3)`."""
    blended: Array = weights @ poses.reshape(len(poses), -1)
    return blended.reshape(len(weights), *poses.shape[1:])


def _movement(take: _Take, subject: _Subject, action: Action, role: int) -> tuple[Array, Array]:
    """Joint angles `(T, 25, 3)` in degrees and metres forward `(T,)` of one body."""
    settings, rng, time = take.settings, take.rng, take.time
    path = action.answer if role == 1 and action.answer else action.path
    left = (rng.random() < settings.other_hand_share) != subject.left_handed
    if action.side:
        left = action.side == "left"
    deviation = 0.6 * subject.amplitude + 0.8 * float(rng.standard_normal())
    size = float(np.clip(1.0 + settings.amplitude_spread * deviation, 0.4, 1.6))
    weights = size * action.clock(time, take.draw, role)
    poses = mirror(path.poses) if left else path.poses
    angles = _blend(weights, poses)
    if path.one_armed and subject.echo > 0:
        late = size * action.clock(time - subject.lag, take.draw, role)
        echoed = mirror(poses)[:, list(ARMS)]
        angles[:, list(ARMS)] += subject.echo * _blend(late, echoed)
    plane = np.deg2rad(subject.plane)
    flexion = angles[:, [4, 8], 0].copy()
    angles[:, [4, 8], 0] = np.cos(plane) * flexion
    angles[:, [4, 8], 1] += np.sin(plane) * flexion
    # drawn whether or not it is used, so that the share changes which bodies do it and no more
    when, width, chance = rng.random(), _between(rng, 0.1, 0.25), rng.random()
    which, on_right = int(rng.random() * len(DISTRACTIONS)), rng.random() < 0.5
    strength = _between(rng, 0.3, 1.0)
    if chance < settings.distractor_share:
        extra = DISTRACTIONS[which] if on_right else mirror(DISTRACTIONS[which])
        near = np.clip(np.abs(time - when) / width, 0.0, 1.0)
        angles += (strength * (0.5 + 0.5 * np.cos(np.pi * near)))[:, None, None] * extra
    seconds = 2.0 * np.pi * np.arange(len(time)) / 30.0
    rates = [_between(rng, 0.15, 0.4), _between(rng, 0.4, 0.9)]
    waves = np.stack([f(rate * seconds) for rate in rates for f in (np.sin, np.cos)], axis=1)
    sway = rng.standard_normal((4, len(ROTATING), 3)) * (0.5 * subject.sway)
    angles[:, ROTATING] += _blend(waves, sway)
    return angles + REST + subject.posture, weights @ path.forward
