"""LAST-E, the students' family: three streams fused at the start, body 0 only."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.models.blocks import (
    Dropout,
    Weights,
    compute_dtype,
    count_batches,
    initialise,
    subset_adjacency,
)
from lastkd.models.bodies import BodyCounts
from lastkd.models.deploy_last_e import DeployLastE
from lastkd.models.last_e_layers import LastEBlock, StreamFusion
from lastkd.models.registry import SkeletonModel
from lastkd.settings.architecture import STAGE_STRIDES, LastEArchitecture


class LastE(SkeletonModel):
    """Logits from the first body of the MIB dict."""

    max_bodies = 1

    architecture: LastEArchitecture

    def __init__(self, architecture: LastEArchitecture, num_classes: int, layout: Layout) -> None:
        super().__init__(architecture, num_classes, layout)
        A = subset_adjacency(layout)
        self.register_buffer("A", A)
        before = architecture.channels[0]
        self.fusion = StreamFusion(before)
        stages: list[nn.Sequential] = []
        for channels, count, attention, stage_stride in zip(
            architecture.channels,
            architecture.blocks,
            architecture.attention,
            STAGE_STRIDES,
            strict=True,
        ):
            strides = [stage_stride] + [1] * (count - 1)
            widths = pairwise([before] + [channels] * count)
            stages.append(
                nn.Sequential(
                    *(
                        LastEBlock(into, out, stride, attention, A, architecture.dropout)
                        for (into, out), stride in zip(widths, strides, strict=True)
                    )
                )
            )
            before = channels
        self.stage1, self.stage2, self.stage3 = stages
        self.dropout = Dropout(architecture.head_dropout)
        self.fc = nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, streams: Mapping[str, Tensor], bodies: BodyCounts | None = None) -> Tensor:
        """Logits `(B, K)`.

        Args:
            streams: `joint`, `velocity` and `bone`, each `(B, 3, T, V, M)` or `(B, 3, T, V)`.
            bodies: not used, as only body 0 is looked at.
        """
        count_batches(self)
        joint = streams["joint"]
        weights = Weights(self, compute_dtype(joint))
        with torch.autocast(joint.device.type, enabled=False):  # `weights` does its work
            x = self.fusion(streams, weights)
            for stage in (self.stage1, self.stage2, self.stage3):
                for block in stage:
                    x = block(x, weights)
            features = self.dropout(x.mean(dim=(1, 3)).t())
            return F.linear(features, weights(self.fc.weight), weights(self.fc.bias))

    def for_export(self) -> DeployLastE:
        """The same logits as plain convolutions with every norm folded."""
        return DeployLastE(self.fusion, (*self.stage1, *self.stage2, *self.stage3), self.fc)
