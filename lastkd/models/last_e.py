"""LAST-E, the students' family: three streams fused at the start, body 0 only."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.models.architecture import STAGE_STRIDES, STREAMS, LastEArchitecture
from lastkd.models.blocks import (
    SpatioTemporalAttention,
    depthwise,
    initialise,
    pointwise,
    residual_path,
)
from lastkd.models.graph import subset_adjacency


class StreamFusion(nn.Module):
    """One stem for three streams, blended per channel by a softmax over the streams.

    The streams pass stem and norm as one batch, for the reason given in `LastV2`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stream_bn = nn.ModuleList(nn.BatchNorm2d(3) for _ in STREAMS)
        self.stem = pointwise(3, channels)
        self.stem_bn = nn.BatchNorm2d(channels)
        self.stream_weights = nn.Parameter(torch.zeros(len(STREAMS), channels))

    def forward(self, streams: Mapping[str, Tensor]) -> Tensor:
        """Body 0 of `(B, 3, T, V, M)` (or `(B, 3, T, V)`) a stream, to `(B, C, T, V)`."""
        normed = []
        for norm, stream in zip(self.stream_bn, STREAMS, strict=True):
            x = streams[stream]
            normed.append(norm(x[..., 0] if x.dim() == 5 else x))
        features = F.relu(self.stem_bn(self.stem(torch.cat(normed))))
        weights = self.stream_weights.softmax(dim=0)
        return torch.einsum("sc,sbctv->bctv", weights, features.unflatten(0, (len(STREAMS), -1)))


class WeightedGraphConv(nn.Module):
    """Three fixed subsets, weighed per channel by a softmax, and one 1x1 convolution."""

    A_0: Tensor
    A_1: Tensor
    A_2: Tensor

    def __init__(self, in_channels: int, out_channels: int, A: Tensor) -> None:
        super().__init__()
        for subset in range(3):
            self.register_buffer(f"A_{subset}", A[subset].clone())
        self.alpha = nn.Parameter(torch.zeros(3, in_channels))
        self.conv = pointwise(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C_in, T, V)` to `(N, C_out, T, V)`."""
        # the weighted sum of the three messages is one product with a matrix a channel
        subsets = torch.stack((self.A_0, self.A_1, self.A_2))
        by_channel = torch.einsum("kc,kvw->cvw", self.alpha.softmax(dim=0), subsets)
        out: Tensor = self.conv(x @ by_channel)
        return out


class TwoBranchTemporalConv(nn.Module):
    """Half the channels see 9 frames, half 9 of 17 (dilation 2)."""

    def __init__(self, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        half = channels // 2
        self.branch1 = self._branch(half, stride, dilation=1)
        self.branch2 = self._branch(half, stride, dilation=2)
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def _branch(channels: int, stride: int, dilation: int) -> nn.Sequential:
        return nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            depthwise(channels, stride=stride, dilation=dilation),
            pointwise(channels, channels),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, V)` to `(N, C, T / stride, V)`."""
        near, far = x.chunk(2, dim=1)
        out: Tensor = self.dropout(torch.cat((self.branch1(near), self.branch2(far)), dim=1))
        return out


class LastEBlock(nn.Module):
    """Graph convolution, optional attention, two temporal branches, residual."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        attention: bool,
        A: Tensor,
        dropout: float,
    ) -> None:
        super().__init__()
        self.gcn = WeightedGraphConv(in_channels, channels, A)
        self.gcn_bn = nn.BatchNorm2d(channels)
        self.st_att = SpatioTemporalAttention(channels) if attention else nn.Identity()
        self.tcn = TwoBranchTemporalConv(channels, stride, dropout)
        self.residual_path = residual_path(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C_in, T, V)` to `(N, C, T / stride, V)`."""
        y = self.st_att(F.relu(self.gcn_bn(self.gcn(x))))
        return F.relu(self.tcn(y) + self.residual_path(x))


class LastE(nn.Module):
    """Logits from the MIB dict, from its first body."""

    def __init__(self, architecture: LastEArchitecture, num_classes: int, layout: Layout) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes = num_classes
        self.layout = layout
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
        self.dropout = nn.Dropout(architecture.head_dropout)
        self.fc = nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, streams: Mapping[str, Tensor], bodies: Tensor | None = None) -> Tensor:
        """Logits `(B, K)`.

        Args:
            streams: `joint`, `velocity` and `bone`, each `(B, 3, T, V, M)` or `(B, 3, T, V)`.
            bodies: taken so that both families are called alike; body 0 is the one that counts.
        """
        features = self.stage3(self.stage2(self.stage1(self.fusion(streams))))
        logits: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3))))
        return logits
