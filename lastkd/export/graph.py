"""What is exported: raw joints of one clip in, logits out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.data.raw_clip import SingleClip
from lastkd.models import LastE, LastV2
from lastkd.models.deploy_last_e import DeployLastE
from lastkd.settings.architecture import STREAMS
from lastkd.settings.views import ViewSettings


class ClipClassifier(nn.Module):
    """A model with all that comes before it: centring, resampling and streams.

    Attributes:
        bodies: M that it takes, 1 for a LAST-E and 2 for the others.
    """

    def __init__(self, model: nn.Module, layout: Layout, views: ViewSettings) -> None:
        super().__init__()
        self.bodies = 1 if isinstance(model, LastE) else 2
        self.layout = layout
        self.clip = SingleClip(layout, views)
        self.model: nn.Module = model
        if isinstance(model, LastE):
            self.model = DeployLastE(model)
        elif isinstance(model, LastV2):
            self.model = AllBodies(model)
        else:
            self.model = Counted(model)
        self.requires_grad_(False).eval()

    def forward(self, joints: Tensor) -> Tensor:
        """Logits `(1, K)` of one clip's `(T, M, V, 3)`, any T from 2 on."""
        streams, there = self.clip(joints)
        logits: Tensor = self.model(streams, there)
        return logits

    def fitted(self, joints: Tensor) -> Tensor:
        """A clip `(T, m, V, 3)` with exactly the bodies that the model takes."""
        T, m, V, C = joints.shape
        if m >= self.bodies:
            return joints[:, : self.bodies].contiguous()
        return torch.cat((joints, joints.new_zeros(T, self.bodies - m, V, C)), dim=1)


class AllBodies(nn.Module):
    """A `LastV2` that computes absent bodies too and weighs them out.

    Its shapes don't depend on what the data hold, which is what an exporter asks for.
    """

    def __init__(self, model: LastV2) -> None:
        super().__init__()
        self.present_alone = model.architecture.body_average == "present"
        self.data_bn, self.backbone, self.fc = model.data_bn, model.backbone, model.fc

    def forward(self, streams: Mapping[str, Tensor], there: Tensor) -> Tensor:
        """Logits `(1, K)`; `there` `(1, M)` says which bodies are in the clip."""
        folded = []
        for norm, name in zip(self.data_bn, STREAMS, strict=True):
            folded.append(norm(streams[name].permute(0, 4, 1, 2, 3).flatten(0, 1)))
        features = self.backbone(torch.cat(folded)).mean(dim=(2, 3))
        by_body = self.fc(features).unflatten(0, (len(STREAMS), -1)).sum(dim=0)
        weight = there.t().to(by_body.dtype) if self.present_alone else torch.ones_like(by_body)
        mean: Tensor = (by_body * weight).sum(dim=0, keepdim=True)
        return mean / weight.sum(dim=0, keepdim=True).clamp(min=1)


class Counted(nn.Module):
    """A model of one's own, which is told the number of bodies."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, streams: Mapping[str, Tensor], there: Tensor) -> Tensor:
        logits: Tensor = self.model(streams, there.sum(dim=1))
        return logits
