"""The graph that is exported: raw joints of one clip in, logits out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lastkd.data.raw_clip import SingleClip
from lastkd.models.registry import SkeletonModel
from lastkd.settings.views import ViewSettings


class ClipClassifier(nn.Module):
    """A model with everything that comes before it: centring, resampling and streams.

    Args:
        model: the trained model, of any family.
        views: how many frames a view has, and what share of the clip it spans.

    Attributes:
        bodies: the number of bodies M that a clip must have.
    """

    def __init__(self, model: SkeletonModel, views: ViewSettings) -> None:
        super().__init__()
        self.bodies = model.max_bodies
        self.clip = SingleClip(model.layout, views)
        self.model = model.for_export()
        self.requires_grad_(False).eval()

    def forward(self, joints: Tensor) -> Tensor:
        """Logits `(1, K)` of one clip's `(T, M, V, 3)`, any T from 2 on."""
        logits: Tensor = self.model(*self.clip(joints))
        return logits

    def fitted(self, joints: Tensor) -> Tensor:
        """A clip `(T, m, V, 3)` with exactly the number of bodies that the model takes."""
        T, m, V, C = joints.shape
        if m >= self.bodies:
            return joints[:, : self.bodies].contiguous()
        return torch.cat((joints, joints.new_zeros(T, self.bodies - m, V, C)), dim=1)
