"""Views: what a model sees of a clip, vectorised over the batch on the store's device."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from lastkd import rng
from lastkd.data.augment import COLUMNS, Augmentation, sided_classes
from lastkd.data.store.clip_store import CLIPS_FILE, ClipStore
from lastkd.data.transfer import to_device
from lastkd.settings.views import ViewSettings

_CROPS = 4
"""Columns of draws for crop, turn and scale; those of the augmentation follow."""

Streams = dict[str, Tensor]
"""The MIB dict: `joint`, `velocity` and `bone`, each `(B, 3, T, V, M)`."""


class Views:
    """The views of one store.

    A training view is a pure function of (seed, epoch, clip); an evaluation view of the clip.
    """

    def __init__(self, store: ClipStore, settings: ViewSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.store = store
        self.max_bodies = store.max_bodies
        with safe_open(store.path / CLIPS_FILE, "pt") as file:
            joints: Tensor = file.get_tensor("joints").to(device)
            self._rows = joints.flatten(1)  # a body-frame's joints side by side
            self._present: Tensor = file.get_tensor("present").bool().to(device)
        self._offsets = torch.as_tensor(store.offsets, device=device)
        self._frames = torch.as_tensor(store.frames, device=device)
        self._bodies = torch.as_tensor(store.bodies, device=device)
        parents = [j if p < 0 else p for j, p in enumerate(store.layout.parents)]
        self._parents = torch.tensor(parents, device=device)
        self._planar = store.layout.dimensions == 2
        self.labels = torch.as_tensor(store.labels, device=device)
        self._augmentation = Augmentation(
            settings, store.layout, sided_classes(store.class_names), device
        )

    def index(self, clips: NDArray[np.int64] | Tensor) -> Tensor:
        """Clip numbers `(B,)` on the views' device; a batch needs to bring them there only once."""
        return to_device(torch.as_tensor(clips), self.device)

    def bodies(self, clips: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each clip's number of bodies, `(B,)`, in main memory."""
        return self.store.bodies[clips].astype(np.int64)

    def draw(self, seed: int, epoch: int) -> Tensor:
        """The epoch's draws for every clip of the store, float32 in [0, 1).

        `(clips, 4)` for crop, turn and scale; with further augmentation more columns follow, and
        the four stay what they are.
        """
        table = rng.uniform(seed, "view", epoch, shape=(len(self.store), _CROPS))
        if self.settings.augmented:
            further = rng.uniform(seed, "augmentation", epoch, shape=(len(self.store), COLUMNS))
            table = np.concatenate((table, further), axis=1)
        return to_device(torch.from_numpy(table.astype(np.float32)), self.device)

    def training(self, clips: NDArray[np.int64] | Tensor, draws: Tensor) -> Streams:
        """Augmented views of `clips` `(B,)`: cropped, turned about y, scaled, ... as drawn.

        Args:
            draws: of the epoch, as `draw` gives them; their first four columns alone ask for crop,
                turn and scale and nothing else.
        """
        index = self.index(clips)
        length, start, turn, size = draws[index, :_CROPS].unbind(dim=1)
        further = draws[index, _CROPS:] if draws.shape[1] > _CROPS else None
        share = self.settings.crop_min + (1 - self.settings.crop_min) * length
        rows, present = self._resample(index, share, start, further)
        scale = (1 + self.settings.scale * (2 * size - 1))[:, None, None, None]
        joint = torch.empty_like(rows.movedim(-1, 1), memory_format=torch.contiguous_format)
        x, y, z = rows.unbind(dim=-1)
        if self._planar:
            # a flat skeleton can't be turned about y; its third channel is a score, not a length
            torch.mul(x, scale, out=joint[:, 0])
            torch.mul(y, scale, out=joint[:, 1])
            joint[:, 2] = z
            return self._streams(self._augmented(joint, present, further, index), present)
        angle = (2 * turn - 1) * float(np.deg2rad(self.settings.turn_degrees))
        cos = angle.cos()[:, None, None, None] * scale
        sin = angle.sin()[:, None, None, None] * scale
        torch.mul(x, cos, out=joint[:, 0]).addcmul_(z, sin)
        torch.mul(y, scale, out=joint[:, 1])
        torch.mul(z, cos, out=joint[:, 2]).addcmul_(x, sin, value=-1)
        return self._streams(self._augmented(joint, present, further, index), present)

    def _augmented(
        self, joint: Tensor, present: Tensor, draws: Tensor | None, index: Tensor
    ) -> Tensor:
        if draws is None:
            return joint
        return self._augmentation.joints(joint, present, draws, self.labels[index])

    def evaluation(self, clips: NDArray[np.int64] | Tensor) -> Streams:
        """The centre crop of `clips` `(B,)`, unturned and unscaled."""
        index = self.index(clips)
        share = torch.full((len(clips),), self.settings.test_crop, device=self.device)
        rows, present = self._resample(index, share, torch.full_like(share, 0.5))
        return self._streams(rows.movedim(-1, 1).contiguous(), present)

    def _resample(
        self, index: Tensor, share: Tensor, start: Tensor, draws: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Linear resampling of a crop: joints `(B, T, M, V, 3)` and presence `(B, T, M)`.

        Args:
            index: clips `(B,)`.
            share: of the clip's frames that the crop spans.
            start: 0 puts the crop at the clip's beginning, 1 at its end.
            draws: those of the augmentation `(B, 10)`, for the time warp.
        """
        last = self._frames[index] - 1
        span = last * share
        steps = torch.linspace(0, 1, self.settings.frames, device=self.device)
        if draws is not None and self.settings.time_warp:
            steps = self._augmentation.warp(steps, draws)
        at = ((last - span) * start)[:, None] + span[:, None] * steps
        before = at.floor().long().minimum(last[:, None])
        after = (before + 1).minimum(last[:, None])
        body = torch.arange(self.max_bodies, device=self.device)
        exists = body < self._bodies[index][:, None]
        first_row = self._offsets[index][:, None] + body * self._frames[index][:, None]
        first_row = torch.where(exists, first_row, self._offsets[index][:, None])[:, None]
        here, there = before[..., None] + first_row, after[..., None] + first_row
        seen_here = self._present[here] & exists[:, None]
        seen_there = self._present[there] & exists[:, None]
        weight = (at - before)[..., None]
        # where a body comes or goes, the nearer frame counts: a mixture with zeros is no pose
        weight = torch.where(seen_here & seen_there, weight, weight.round())
        present = torch.where(weight < 0.5, seen_here, seen_there) | (seen_here & seen_there)
        # gather and interpolation in one pass: each row is a weighted sum of two of the store's
        x = F.embedding_bag(
            torch.stack((here, there), dim=-1).view(-1, 2),
            self._rows,
            mode="sum",
            per_sample_weights=torch.stack((1 - weight, weight), dim=-1)
            .mul_(present[..., None])
            .view(-1, 2),
        )
        return x.view(*present.shape, -1, 3), present

    def _streams(self, joint: Tensor, present: Tensor) -> Streams:
        """Velocity and bone from joints; a body that comes or goes has no velocity there.

        Args:
            joint: `(B, 3, T, M, V)`, in memory too: so that a body's joints lie side by side.
            present: `(B, T, M)`.
        """
        velocity = torch.empty_like(joint)
        velocity[:, :, -1] = 0
        both = (present[:, 1:] & present[:, :-1])[:, None, :, :, None]
        torch.sub(joint[:, :, 1:], joint[:, :, :-1], out=velocity[:, :, :-1]).mul_(both)
        parent = joint.gather(-1, self._parents.expand_as(joint))
        bone = joint - parent
        if self._planar:
            velocity[:, 2, :-1] = torch.minimum(joint[:, 2, 1:], joint[:, 2, :-1])
            bone[:, 2] = torch.minimum(joint[:, 2], parent[:, 2])
        streams = {"joint": joint, "velocity": velocity, "bone": bone}
        return {name: stream.transpose(3, 4) for name, stream in streams.items()}
