"""Augmentation for small sets: time warp, mirror, shear, joint noise and dropped joints.

Each is a pure function of the row of draws that an epoch has for a clip, as crop, turn and scale
are. The rows have ten columns; noise and dropped joints need more numbers than that, and get them
from an integer hash of the last column and the number's place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from lastkd.data.layouts import Layout
from lastkd.settings.views import ViewSettings

COLUMNS = 10
_MIRROR, _WARP, _SHEAR, _KEY = 0, slice(1, 3), slice(3, 9), 9
_SIDED = re.compile(r"\b(left|right|(counter|anti)?[ -]?clockwise)\b", re.IGNORECASE)
_NOISE, _DROP = 1, 2


def sided_classes(class_names: Sequence[str]) -> list[bool]:
    """Whether each class names a side or a sense of rotation, so that its mirror image is none of
    its clips: "swipe left", "draw circle clockwise"."""
    return [_SIDED.search(name) is not None for name in class_names]


class Augmentation:
    """What `ViewSettings` ask for beyond crop, turn and scale, for one skeleton.

    Args:
        sided: by class, as `sided_classes` has it; their clips are never mirrored.
    """

    def __init__(
        self, settings: ViewSettings, layout: Layout, sided: Sequence[bool], device: torch.device
    ) -> None:
        self.settings = settings
        self.planar = layout.dimensions == 2
        swapped = list(range(layout.num_joints))
        for left, right in layout.mirror:
            swapped[left], swapped[right] = right, left
        self._swapped = torch.tensor(swapped, device=device)
        self._own = torch.arange(layout.num_joints, device=device)
        self._parents = torch.tensor(
            [joint if parent < 0 else parent for joint, parent in enumerate(layout.parents)],
            device=device,
        )
        self._mirrors = torch.tensor(
            [bool(layout.mirror) and not side for side in sided], device=device
        )

    def warp(self, steps: Tensor, draws: Tensor) -> Tensor:
        """Frames' places in the crop, `(T,)` in [0, 1], bent for each clip: `(B, T)`.

        `s + a sin(pi s) / pi + b sin(2 pi s) / (2 pi)` keeps both ends and runs forward, as
        `|a| + |b| < 1`.
        """
        a, b = ((2 * draws[:, _WARP] - 1) * self.settings.time_warp)[..., None].unbind(dim=1)
        angle = math.pi * steps
        return steps + a * angle.sin() / math.pi + b * (2 * angle).sin() / (2 * math.pi)

    def joints(self, joint: Tensor, present: Tensor, draws: Tensor, labels: Tensor) -> Tensor:
        """
        Args:
            joint: `(B, 3, T, M, V)`.
            present: `(B, T, M)`; absent bodies stay zeros.
            draws: `(B, COLUMNS)`.
            labels: `(B,)`.
        """
        settings = self.settings
        if settings.mirror:
            chosen = (draws[:, _MIRROR] < settings.mirror) & self._mirrors[labels]
            mirrored = joint[..., self._swapped]
            mirrored[:, 0] = -mirrored[:, 0]
            joint = torch.where(chosen[:, None, None, None, None], mirrored, joint)
        if settings.shear:
            joint = self._shear(joint, draws[:, _SHEAR])
        key = (draws[:, _KEY].double() * 2**24).long()
        if settings.joint_noise:
            noise = _normal(key, _NOISE, joint[0].numel()).view_as(joint) * settings.joint_noise
            if self.planar:
                noise[:, 2] = 0  # a score
            joint = joint + noise * present[:, None, :, :, None]
        if settings.dropped_joints:
            joint = self._drop(joint, key)
        return joint.contiguous()

    def _drop(self, joint: Tensor, key: Tensor) -> Tensor:
        """Dropped joints take the place of the nearest joint towards the centre that isn't."""
        dropped = _uniform(key, _DROP, joint.shape[-1]) < self.settings.dropped_joints
        source = torch.where(dropped, self._parents, self._own)
        for _ in range(len(self._own).bit_length()):  # each round doubles the distance walked
            source = source.gather(1, source)
        return joint.gather(-1, source[:, None, None, None].expand_as(joint))

    def _shear(self, joint: Tensor, draws: Tensor) -> Tensor:
        """Each axis gets a share of each other one; a flat skeleton's third channel is a score."""
        amount = (2 * draws - 1) * self.settings.shear
        axes = 2 if self.planar else 3
        matrix = torch.eye(3, device=joint.device, dtype=joint.dtype).repeat(len(joint), 1, 1)
        pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
        for column, (i, j) in enumerate(pairs):
            if i < axes and j < axes:
                matrix[:, i, j] = amount[:, column]
        return torch.einsum("bij,bjtmv->bitmv", matrix, joint)


def _bits(key: Tensor, purpose: int, count: int) -> Tensor:
    """24 hashed bits for each key `(B,)` and place, `(B, count)`: a counter-based generator.

    The mixer is that of SplitMix64 in 32 bits (Mueller's `lowbias32` constants); all in int64, so
    that every device computes the same.
    """
    place = torch.arange(count, device=key.device)
    x = (key[:, None] * 0x9E3779B1 + place * 0x85EBCA77 + purpose * 0xC2B2AE3D) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return (x ^ (x >> 16)) >> 8


def _uniform(key: Tensor, purpose: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), `(B, count)` float32."""
    return _bits(key, purpose, count).float() / 2**24


def _normal(key: Tensor, purpose: int, count: int) -> Tensor:
    """Standard normal numbers `(B, count)` float32, by Box and Muller."""
    half = (count + 1) // 2
    both = _bits(key, purpose, 2 * half).float()
    radius = (-2 * ((both[:, :half] + 1) / 2**24).log()).sqrt()
    angle = both[:, half:] * (2 * math.pi / 2**24)
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=1)[:, :count]
