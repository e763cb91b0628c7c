"""LAST-v2, the teacher's family: one shared backbone over three streams and all bodies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.models.blocks import (
    BatchNorm,
    Weights,
    compute_dtype,
    count_batches,
    initialise,
    subset_adjacency,
)
from lastkd.models.bodies import BodyCounts, BodyIndex
from lastkd.models.deploy_last_v2 import DeployLastV2
from lastkd.models.fused_last_v2 import FusedLastV2
from lastkd.models.last_v2_layers import LastV2Block, classified
from lastkd.models.registry import SkeletonModel
from lastkd.settings.architecture import STAGE_STRIDES, STREAMS, LastV2Architecture


class LastV2(SkeletonModel):
    """Logits from the MIB dict: mean over bodies, sum over the three streams.

    The public design averages over both bodies, present or not. A model trained with lastkd
    averages over the present bodies and computes no others (`body_average`).

    The streams pass the backbone as one batch, so that its norms see in training the mixture of
    streams that their running statistics describe in evaluation.
    """

    inference_in_half = True

    architecture: LastV2Architecture

    def __init__(self, architecture: LastV2Architecture, num_classes: int, layout: Layout) -> None:
        super().__init__(architecture, num_classes, layout)
        A = subset_adjacency(layout)
        self.register_buffer("A", A)
        self.data_bn = nn.ModuleList(BatchNorm(3) for _ in STREAMS)
        widths = [3]
        blocks: list[nn.Module] = []
        for channels, count, temporal, stage_stride in zip(
            architecture.channels,
            architecture.blocks,
            architecture.temporal,
            STAGE_STRIDES,
            strict=True,
        ):
            strides = [stage_stride] + [1] * (count - 1)
            stage = [widths[-1]] + [channels] * count
            for (before, after), stride in zip(pairwise(stage), strides, strict=True):
                blocks.append(LastV2Block(before, after, stride, temporal, A, architecture.dropout))
            widths.append(channels)
        self.backbone = nn.Sequential(*blocks)
        self.fc = nn.Linear(widths[-1], num_classes)
        initialise(self)

    def forward(self, streams: Mapping[str, Tensor], bodies: BodyCounts | None = None) -> Tensor:
        """Logits `(B, K)`.

        Args:
            streams: `joint`, `velocity` and `bone`, each `(B, 3, T, V, M)` or `(B, 3, T, V)`.
            bodies: each clip's number of bodies, `(B,)`; the first ones are present. Only used
                where the model averages over present bodies; without it, a body that is all zeros
                in `joint` counts as absent.
        """
        count_batches(self)
        parts = [streams[stream] for stream in STREAMS]
        parts = [x.unsqueeze(-1) if x.dim() == 4 else x for x in parts]
        every = self.architecture.body_average == "all"
        computed = BodyIndex.of(parts[0], bodies, every=every)
        if len(computed) == 0:  # no clip of the batch has a body
            return parts[0].new_zeros(len(parts[0]), self.num_classes)
        folded = [
            norm(x.permute(0, 4, 1, 2, 3)[computed.clip, computed.body])
            for norm, x in zip(self.data_bn, parts, strict=True)
        ]
        x = torch.cat(folded)
        weights = Weights(self, compute_dtype(x))
        with torch.autocast(x.device.type, enabled=False):  # `weights` does its work
            logits = classified(x, self.backbone, self.fc, weights)
        by_body = logits.unflatten(0, (len(STREAMS), -1)).sum(dim=0)
        return computed.sum_by_clip(by_body) / computed.per_clip.clamp(min=1)

    def for_inference(self) -> FusedLastV2:
        """The same logits at a fraction of the work; `bodies` must be given."""
        return FusedLastV2(
            self.data_bn, self.backbone, self.fc, self.architecture.body_average == "present"
        )

    def for_export(self) -> DeployLastV2:
        """The same logits with shapes that don't depend on which bodies are present."""
        return DeployLastV2(
            self.data_bn, self.backbone, self.fc, self.architecture.body_average == "present"
        )
