"""LAST-v2, the teacher's family: one shared backbone over three streams and all bodies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.models.blocks import (
    Dropout,
    SpatioTemporalAttention,
    depthwise,
    initialise,
    pointwise,
    residual_path,
    subset_adjacency,
    symmetric_normalised,
)
from lastkd.settings.architecture import STAGE_STRIDES, STREAMS, LastV2Architecture

HEADS = 4


class AdaptiveGraphConv(nn.Module):
    """Five messages over the joints: three fixed subsets, a learned graph, one graph a clip."""

    def __init__(self, in_channels: int, out_channels: int, A: Tensor) -> None:
        super().__init__()
        V = A.shape[-1]
        # One graph for the whole model: as in the public design, every block holds the same tensor.
        self.register_buffer("A_physical", A)
        self.A_physical: Tensor
        # The public design starts at zero, where the gradient of |A| is zero too: it never moves.
        self.A_learned = nn.Parameter(torch.rand(V, V) * (2 / V))
        self.node_proj = pointwise(in_channels, max(4, in_channels // 8))
        self.subset_convs = nn.ModuleList(pointwise(in_channels, out_channels) for _ in range(5))

    def clip_adjacency(self, x: Tensor) -> Tensor:
        """Softmax of the joints' cosine similarity, `(N, V, V)`, from features averaged over T."""
        nodes = self.node_proj(x.mean(dim=2, keepdim=True)).squeeze(2)
        # in half precision the norm's epsilon is zero, and an all-zero joint would become NaN
        nodes = F.normalize(nodes.float(), dim=1)
        return (nodes.transpose(1, 2) @ nodes).softmax(dim=-1).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C_in, T, V)` to `(N, C_out, T, V)`."""
        graphs: list[Tensor] = [*self.A_physical.unbind(), symmetric_normalised(self.A_learned)]
        graphs.append(self.clip_adjacency(x).unsqueeze(1))
        # the sum of five convolutions is one convolution of the five messages side by side
        messages = torch.cat([x @ A for A in graphs], dim=1)
        weights: list[Tensor] = [conv.weight for conv in self.subset_convs]  # type: ignore[misc]
        weight = torch.cat(weights, dim=1)
        return F.conv2d(messages, weight)


class LinearAttention(nn.Module):
    """Attention of each joint over its frames at a cost linear in T (feature map elu(x) + 1)."""

    def __init__(self, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)
        self.dropout = Dropout(dropout)
        self.pool = (
            nn.AvgPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, V)` to `(N, C, T / stride, V)`."""
        N, C, T, V = x.shape
        qkv = self.qkv(x.permute(0, 3, 2, 1)).view(N, V, T, 3, HEADS, C // HEADS)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        numerator = q @ (k.transpose(-1, -2) @ v)
        normaliser = (q @ k.sum(dim=-2).unsqueeze(-1)).clamp(min=1e-4)
        mixed = (numerator / normaliser).transpose(2, 3).reshape(N, V, T, C)
        out: Tensor = self.pool(self.dropout(self.proj(mixed)).permute(0, 3, 2, 1))
        return out


def _tcn(channels: int, stride: int, dropout: float) -> nn.Sequential:
    separable = nn.Sequential()
    separable.add_module("depthwise", depthwise(channels, stride=stride))
    separable.add_module("pointwise", pointwise(channels, channels))
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        separable,
        nn.BatchNorm2d(channels),
        Dropout(dropout),
    )


class LastV2Block(nn.Module):
    """Graph convolution, attention, temporal module, residual."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, temporal: str, A: Tensor, dropout: float
    ) -> None:
        super().__init__()
        self.gcn = AdaptiveGraphConv(in_channels, channels, A)
        self.gcn_bn = nn.BatchNorm2d(channels)
        self.st_att = SpatioTemporalAttention(channels)
        self.tcn = (
            _tcn(channels, stride, dropout)
            if temporal == "tcn"
            else LinearAttention(channels, stride, dropout)
        )
        self.residual_path = residual_path(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C_in, T, V)` to `(N, C, T / stride, V)`."""
        y = self.st_att(F.relu(self.gcn_bn(self.gcn(x))))
        return F.relu(self.tcn(y) + self.residual_path(x))


class LastV2(nn.Module):
    """Logits from the MIB dict: mean over bodies, sum over the three streams.

    The public design averages over both bodies, present or not. A model that is trained here
    averages over the present ones and computes no others (`body_average`).

    The streams pass the backbone as one batch, so that its norms see in training the mixture of
    streams that their running statistics describe in evaluation.
    """

    def __init__(self, architecture: LastV2Architecture, num_classes: int, layout: Layout) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_classes = num_classes
        self.layout = layout
        A = subset_adjacency(layout)
        self.register_buffer("A", A)
        self.data_bn = nn.ModuleList(nn.BatchNorm2d(3) for _ in STREAMS)
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

    def forward(self, streams: Mapping[str, Tensor], bodies: Tensor | None = None) -> Tensor:
        """Logits `(B, K)`.

        Args:
            streams: `joint`, `velocity` and `bone`, each `(B, 3, T, V, M)` or `(B, 3, T, V)`.
            bodies: each clip's number of bodies, `(B,)`, the first ones being present. Counts where
                the model averages over present bodies; without it, a body that is all zeros in
                `joint` is taken to be absent.
        """
        parts = [streams[stream] for stream in STREAMS]
        parts = [x.unsqueeze(-1) if x.dim() == 4 else x for x in parts]
        B, M = parts[0].shape[0], parts[0].shape[-1]
        if self.architecture.body_average == "all":
            present = torch.ones(B, M, dtype=torch.bool, device=parts[0].device)
        elif bodies is not None:
            present = torch.arange(M, device=bodies.device) < bodies[:, None]
        else:
            present = parts[0].flatten(1, 3).any(dim=1)
        folded = [
            norm(x.permute(0, 4, 1, 2, 3)[present])
            for norm, x in zip(self.data_bn, parts, strict=True)
        ]
        features = self.backbone(torch.cat(folded)).mean(dim=(2, 3))
        by_body = self.fc(features).unflatten(0, (len(STREAMS), -1)).sum(dim=0)
        clip = present.nonzero()[:, 0]
        logits = by_body.new_zeros(B, self.num_classes).index_add(0, clip, by_body)
        mean: Tensor = logits / present.sum(dim=1, keepdim=True).clamp(min=1)
        return mean
