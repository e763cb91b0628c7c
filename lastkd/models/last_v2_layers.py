"""The layers of LAST-v2, on features that are kept as `(T, N, V, C)`.

N counts the sequences, one for each stream of each body; T frames, V joints. With the channels last
a 1x1 convolution is one matrix product, and all graph messages of a frame are one product more;
with the frames first, attention over them reads its heads in place. Nothing is copied between the
layers. The plain formulation stands in `tests/plain_last_v2.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models.blocks import (
    BatchNorm,
    Dropout,
    FrameConv,
    SpatioTemporalAttention,
    Weights,
    by_hand,
    pointwise,
    residual_path,
    symmetric_normalised,
    with_mean,
)
from lastkd.models.linear_attention import averaged, by_head, linear_attention


def normed(norm: nn.Module, x: Tensor, *, relu: bool = False) -> Tensor:
    """A batch norm of `(T, N, V, C)`, which the norm sees as one image with its channels last."""
    image: Tensor = norm(_as_image(x))
    if relu:
        image = image.relu_()  # before it becomes a view, which would cost copies
    return _from_image(image, x)


def _as_image(x: Tensor) -> Tensor:
    """`(T, N, V, C)` as `(1, C, T, N * V)`, channels last in memory, without a copy."""
    # in this order the first stride is that of a whole image, by which torch tells memory formats
    return x.flatten(1, 2).unsqueeze(0).permute(0, 3, 1, 2)


def _from_image(image: Tensor, like: Tensor) -> Tensor:
    """`(1, C, T', N * V)` as `(T', N, V, C)`, with N and V as in `like`."""
    N, V = like.shape[1:3]
    return image.squeeze(0).permute(1, 2, 0).view(-1, N, V, image.shape[1])


def mixed(conv: nn.Module, x: Tensor, weights: Weights) -> Tensor:
    """A 1x1 convolution of `(T, N, V, C_in)`; its stride applies to T."""
    assert isinstance(conv, nn.Conv2d)
    bias = None if conv.bias is None else weights(conv.bias)
    if conv.stride[0] > 1:  # a slice of everything would cost a copy in the backward pass
        x = x[:: conv.stride[0]]
    return F.linear(x, weights(conv.weight).flatten(1), bias)


class _GraphProduct(torch.autograd.Function):
    """`AdaptiveGraphConv`'s two products, convolutions first.

    Only `x` is kept for the backward pass, and the convolutions that the gradient of an adjacency
    needs are made again: those of the two graphs that learn.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, fixed: Tensor, adaptive: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        T, N, V, _ = x.shape
        graphs = side_by_side(fixed, adaptive, T)
        ctx.save_for_backward(x, graphs, weight)
        ctx.fixed = len(fixed)
        y = F.linear(x, weight).view(T * N, graphs.shape[1], -1)
        out = torch.bmm(graphs.transpose(1, 2), y)
        return out.view(T, N, V, -1), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, passed_on: Tensor) -> tuple[Tensor | None, ...]:
        x, graphs, weight = ctx.saved_tensors
        T, N, V, C = x.shape
        by_frame = grad.reshape(T * N, V, -1)
        grad_y = torch.bmm(graphs, by_frame).view(T * N * V, -1)
        rows = x.reshape(-1, C)
        grad_x = torch.addmm(passed_on.reshape(-1, C), grad_y, weight).view(x.shape)
        grad_weight = grad_y.t() @ rows
        learning = weight[ctx.fixed * by_frame.shape[-1] :]
        y = (rows @ learning.t()).view(T * N, -1, by_frame.shape[-1])
        by_joints = torch.bmm(y, by_frame.transpose(1, 2)).view(T, N, V, -1, V)
        return grad_x, None, by_joints.sum(dim=0).transpose(1, 2), grad_weight


def side_by_side(fixed: Tensor, adaptive: Tensor, frames: int) -> Tensor:
    """All graphs as one matrix for each frame, `(T * N, V * K, V)`: row `(v, k)` is `A_k[v]`.

    Args:
        fixed: `(K_1, V, V)`.
        adaptive: `(N, K_2, V, V)`.
    """
    N, V = len(adaptive), fixed.shape[-1]
    graphs = torch.cat((fixed.expand(N, *fixed.shape), adaptive), dim=1)
    by_joint = graphs.transpose(1, 2).reshape(N, V * graphs.shape[1], V)
    return by_joint.expand(frames, *by_joint.shape).flatten(0, 1)


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

    def clip_adjacency(self, mean: Tensor, weights: Weights) -> Tensor:
        """Softmax of the joints' cosine similarity, `(N, V, V)`.

        Args:
            mean: of the features over T, `(1, N, V, C)`.
        """
        nodes = mixed(self.node_proj, mean, weights).squeeze(0)
        # in half precision the norm's epsilon is zero, and an all-zero joint would become NaN
        nodes = F.normalize(nodes.to(torch.promote_types(nodes.dtype, torch.float32)), dim=2)
        return (nodes @ nodes.transpose(1, 2)).softmax(dim=-1)

    def forward(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """`(T, N, V, C_in)` to `(T, N, V, C_out)`, and `x` again for the residual path.

        With the second result in place of `x`, its gradient is added within a product.
        """
        T, N, V, C = x.shape
        x, mean = with_mean(x, 0)
        by_clip = self.clip_adjacency(mean, weights)
        learned = symmetric_normalised(self.A_learned).expand_as(by_clip)
        adaptive = torch.stack((learned, by_clip), dim=1).to(x.dtype)
        fixed = weights(self.A_physical)
        convs: list[Any] = list(self.subset_convs)
        # out[w] is the sum of A_k[v, w] W_k x[v]: the product on fewer channels comes first
        if len(convs[0].weight) > C or not by_hand(x):
            left = side_by_side(fixed.transpose(1, 2), adaptive.transpose(2, 3), T)
            # in the order (w, k), so that the messages of a joint lie side by side
            messages = torch.bmm(left, x.reshape(T * N, V, C)).view(T, N, V, len(convs) * C)
            weight = torch.cat([weights(conv.weight).flatten(1) for conv in convs], dim=1)
            return F.linear(messages, weight), x
        weight = torch.cat([weights(conv.weight).flatten(1) for conv in convs])
        out: tuple[Tensor, Tensor] = _GraphProduct.apply(x, fixed, adaptive, weight)
        return out


class LastV2Attention(SpatioTemporalAttention):
    """The gates of `SpatioTemporalAttention`, on `(T, N, V, C)`."""

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(T, N, V, C)` to the same shape."""

        def gate(layers: nn.Sequential, mean: Tensor) -> Tensor:
            _, squeeze, norm, _, expand, _ = layers
            y = normed(norm, mixed(squeeze, mean, weights), relu=True)
            return mixed(expand, y, weights).sigmoid()

        def gates(over_joints: Tensor, over_frames: Tensor) -> tuple[Tensor, Tensor]:
            return gate(self.temporal_att, over_joints), gate(self.spatial_att, over_frames)

        return self.applied(x, weights(self.alpha).flatten(), 0, 2, gates)


class TemporalConv(nn.Sequential):
    """Separable convolution over frames between two norms."""

    def __init__(self, channels: int, stride: int, dropout: float) -> None:
        separable = nn.Sequential()
        separable.add_module("depthwise", FrameConv(channels, stride=stride))
        separable.add_module("pointwise", pointwise(channels, channels))
        super().__init__(
            BatchNorm(channels),
            nn.ReLU(inplace=True),
            separable,
            BatchNorm(channels),
            Dropout(dropout),
        )

    def forward(self, x: Tensor, weights: Weights) -> Tensor:  # type: ignore[override]
        """`(T, N, V, C)` to `(T / stride, N, V, C)`."""
        before, _, separable, after, dropout = self
        assert isinstance(separable, nn.Sequential)
        over_frames, over_channels = separable
        assert isinstance(over_frames, FrameConv)
        y = normed(before, x, relu=True)
        y = along_frames(y, weights(over_frames.weight), over_frames.stride[0])
        out: Tensor = dropout(normed(after, mixed(over_channels, y, weights)))
        return out


def along_frames(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A `FrameConv` of `(T, N, V, C)`.

    Args:
        weight: `(C, 1, 9, 1)`.
    """
    padding = (weight.shape[2] // 2, 0)
    y = F.conv2d(_as_image(x), weight, stride=(stride, 1), padding=padding, groups=len(weight))
    return _from_image(y, x)


class LinearAttention(nn.Module):
    """Linear attention of each joint over its frames (`linear_attention`), and a projection."""

    def __init__(self, channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)
        self.dropout = Dropout(dropout)
        self.stride = stride

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(T, N, V, C)` to `(T / stride, N, V, C)`."""
        mixed = linear_attention(x, by_head(weights(self.qkv.weight)))
        out = self.dropout(F.linear(mixed, weights(self.proj.weight), weights(self.proj.bias)))
        return averaged(out.flatten(1).unsqueeze(0), self.stride).view(-1, *out.shape[1:])


class LastV2Block(nn.Module):
    """Graph convolution, attention, temporal module, residual."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, temporal: str, A: Tensor, dropout: float
    ) -> None:
        super().__init__()
        self.gcn = AdaptiveGraphConv(in_channels, channels, A)
        self.gcn_bn = BatchNorm(channels)
        self.st_att = LastV2Attention(channels)
        self.tcn = (
            TemporalConv(channels, stride, dropout)
            if temporal == "tcn"
            else LinearAttention(channels, stride, dropout)
        )
        self.residual_path = residual_path(in_channels, channels, stride)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """`(T, N, V, C_in)` to `(T / stride, N, V, C)`."""
        y, x = self.gcn(x, weights)
        y = self.st_att(normed(self.gcn_bn, y, relu=True), weights)
        residual = x
        if isinstance(self.residual_path, nn.Sequential):
            projection, norm = self.residual_path
            residual = normed(norm, mixed(projection, x, weights))
        return F.relu(self.tcn(y, weights) + residual, inplace=True)


def classified(x: Tensor, backbone: nn.Sequential, fc: nn.Module, weights: Weights) -> Tensor:
    """Sequences of one stream and body each, `(N, 3, T, V)` and normed, to logits `(N, K)`."""
    assert isinstance(fc, nn.Linear)
    features = x.to(weights.dtype).permute(2, 0, 3, 1).contiguous()
    for block in backbone:
        features = block(features, weights)
    return F.linear(features.mean(dim=(0, 2)), weights(fc.weight), weights(fc.bias))
