"""The layers of LAST-v2: graph convolution, temporal module, block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models.blocks import (
    Dropout,
    SpatioTemporalAttention,
    depthwise,
    pointwise,
    residual_path,
    symmetric_normalised,
)

HEADS = 4


class AdaptiveGraphConv(nn.Module):
    """Five messages over the joints: three fixed subsets, a learned graph, one graph a clip."""

    undecayed = ("A_learned",)

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
