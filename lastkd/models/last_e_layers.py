"""The layers of LAST-E, on features that are kept as `(C, T, N, V)`: N clips, T frames, V joints.

With the channels first a 1x1 convolution is one matrix product, a graph or depthwise convolution
one product for each channel, a norm reads whole rows, and each half of the channels is contiguous.
Nothing is copied or permuted between the layers. The plain formulation is in
`tests/plain_last_e.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models.blocks import (
    BatchNorm,
    Dropout,
    FrameConv,
    SpatioTemporalAttention,
    Weights,
    pointwise,
    residual_path,
)
from lastkd.settings.architecture import STREAMS


def mixed(weight: Tensor, x: Tensor, bias: Tensor | None = None, *, stride: int = 1) -> Tensor:
    """A 1x1 convolution of `(C_in, T, N, V)` as one matrix product; its stride applies to T."""
    if stride > 1:
        x = x[:, ::stride]
    weight = weight.flatten(1)
    flat = x.reshape(len(x), -1)
    y = weight @ flat if bias is None else torch.addmm(bias[:, None], weight, flat)
    return y.view(-1, *x.shape[1:])


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    """A batch norm of `(C, T, N, V)`, which the norm sees as one clip of `T * N` frames."""
    out: Tensor = norm(x.flatten(1, 2).unsqueeze(0))
    return out.view(x.shape)


class StreamFusion(nn.Module):
    """One stem for three streams, blended per channel by a softmax over the streams.

    The streams pass stem and norm as one batch, for the reason given in `LastV2`.
    """

    undecayed = ("stream_weights",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stream_bn = nn.ModuleList(BatchNorm(3) for _ in STREAMS)
        self.stem = pointwise(3, channels)
        self.stem_bn = BatchNorm(channels)
        self.stream_weights = nn.Parameter(torch.zeros(len(STREAMS), channels))

    def forward(self, streams: Mapping[str, Tensor], weights: Weights) -> Tensor:
        """Body 0 of `(N, 3, T, V, M)` (or `(N, 3, T, V)`) a stream, to `(C, T, N, V)`."""
        parts = []
        for norm, stream in zip(self.stream_bn, STREAMS, strict=True):
            x = streams[stream]
            x = x[..., 0] if x.dim() == 5 else x
            parts.append(normed(norm, x.permute(1, 2, 0, 3).contiguous()))
        together = torch.stack(parts, dim=1).flatten(1, 2)  # (3, S * T, N, V)
        stem = weights(self.stem.weight)
        features = F.relu(normed(self.stem_bn, mixed(stem, together.to(stem.dtype))))
        blend = weights(self.stream_weights).softmax(dim=0).t().unsqueeze(1)
        blended = blend @ features.reshape(len(features), len(STREAMS), -1)
        return blended.view(len(features), -1, *features.shape[2:])


class WeightedGraphConv(nn.Module):
    """Three fixed subsets, weighted per channel by a softmax, and one 1x1 convolution."""

    undecayed = ("alpha",)

    A_0: Tensor
    A_1: Tensor
    A_2: Tensor

    def __init__(self, in_channels: int, out_channels: int, A: Tensor) -> None:
        super().__init__()
        for subset in range(3):
            self.register_buffer(f"A_{subset}", A[subset].clone())
        self.alpha = nn.Parameter(torch.zeros(3, in_channels))
        self.conv = pointwise(in_channels, out_channels)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(C_in, T, N, V)` to `(C_out, T, N, V)`."""
        # the weighted sum of the three messages is one product with a matrix a channel
        subsets = torch.stack([weights(A) for A in (self.A_0, self.A_1, self.A_2)])
        by_channel = torch.einsum("kc,kvw->cvw", weights(self.alpha).softmax(dim=0), subsets)
        message = x.flatten(1, 2) @ by_channel
        return mixed(weights(self.conv.weight), message.view(x.shape))


class TwoBranchTemporalConv(nn.Module):
    """Temporal convolutions of half the channels each, with dilations 1 and 2: 9 and 17 frames."""

    def __init__(self, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        half = channels // 2
        self.branch1 = self._branch(half, stride, dilation=1)
        self.branch2 = self._branch(half, stride, dilation=2)
        self.dropout = Dropout(dropout)

    @staticmethod
    def _branch(channels: int, stride: int, dilation: int) -> nn.Sequential:
        return nn.Sequential(
            BatchNorm(channels),
            nn.ReLU(),
            FrameConv(channels, stride=stride, dilation=dilation),
            pointwise(channels, channels),
            BatchNorm(channels),
        )

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(C, T, N, V)` to `(C, T / stride, N, V)`."""
        halves = []
        for branch, half in zip((self.branch1, self.branch2), x.chunk(2), strict=True):
            before, _, over_frames, over_channels, after = branch
            assert isinstance(over_frames, FrameConv) and isinstance(over_channels, nn.Conv2d)
            y = F.relu(normed(before, half)).flatten(2)
            y = over_frames.banded(weights(over_frames.weight), y.shape[1]) @ y
            y = y.unflatten(2, half.shape[2:])
            halves.append(normed(after, mixed(weights(over_channels.weight), y)))
        out: Tensor = self.dropout(torch.cat(halves))
        return out


class LastEAttention(SpatioTemporalAttention):
    """The gates of `SpatioTemporalAttention`, on `(C, T, N, V)`."""

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(C, T, N, V)` to the same shape."""

        def gate(layers: nn.Sequential, mean: Tensor) -> Tensor:
            _, squeeze, norm, _, expand, _ = layers
            assert isinstance(squeeze, nn.Conv2d) and isinstance(expand, nn.Conv2d)
            y = F.relu(normed(norm, mixed(weights(squeeze.weight), mean)))
            return mixed(weights(expand.weight), y).sigmoid()

        def gates(over_joints: Tensor, over_frames: Tensor) -> tuple[Tensor, Tensor]:
            return gate(self.temporal_att, over_joints), gate(self.spatial_att, over_frames)

        return self.applied(x, weights(self.alpha).view(-1, 1, 1, 1), 1, 3, gates)


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
        self.gcn_bn = BatchNorm(channels)
        self.st_att = LastEAttention(channels) if attention else nn.Identity()
        self.tcn = TwoBranchTemporalConv(channels, stride, dropout)
        self.residual_path = residual_path(in_channels, channels, stride)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(C_in, T, N, V)` to `(C, T / stride, N, V)`."""
        y = F.relu(normed(self.gcn_bn, self.gcn(x, weights)))
        if isinstance(self.st_att, LastEAttention):
            y = self.st_att(y, weights)
        residual = x
        if isinstance(self.residual_path, nn.Sequential):
            conv, norm = self.residual_path
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            weight, bias = weights(conv.weight), weights(conv.bias)
            residual = normed(norm, mixed(weight, x, bias, stride=conv.stride[0]))
        return F.relu(self.tcn(y, weights) + residual)
