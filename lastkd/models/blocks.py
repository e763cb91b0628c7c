"""Pieces that LAST-v2 and LAST-E share. Shapes: N clips (bodies folded in), T frames, V joints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.data.layouts import Layout

TEMPORAL_KERNEL = 9


def pointwise(
    in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A 1x1 convolution; a stride applies to frames alone."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1), bias=bias)


def depthwise(channels: int, *, stride: int, dilation: int = 1) -> nn.Conv2d:
    """A 9x1 convolution over frames, each channel by itself, that keeps T at stride 1."""
    return nn.Conv2d(
        channels,
        channels,
        (TEMPORAL_KERNEL, 1),
        stride=(stride, 1),
        padding=(TEMPORAL_KERNEL // 2 * dilation, 0),
        dilation=(dilation, 1),
        groups=channels,
        bias=False,
    )


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as scale and shift, `(C,)` float64 each."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def folded(conv: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution and the norm after it as weight `(C_out, C_in)` and bias, in float64."""
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight.flatten(1).double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if norm is None:
        return weight, bias
    scale, shift = affine(norm)
    return weight * scale[:, None], bias * scale + shift


def residual_path(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity where input and output agree in shape, else a projection."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        pointwise(in_channels, out_channels, stride=stride, bias=True),
        nn.BatchNorm2d(out_channels),
    )


class SpatioTemporalAttention(nn.Module):
    """Gates by frame and by joint: `x + alpha * (x * a_t * a_s - x)`, alpha starting at 0."""

    undecayed = ("alpha",)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temporal_att = self._gate(channels, (None, 1))
        self.spatial_att = self._gate(channels, (1, None))
        self.alpha = nn.Parameter(torch.zeros(1, channels, 1, 1))

    @staticmethod
    def _gate(channels: int, pooled: tuple[int | None, int | None]) -> nn.Sequential:
        hidden = max(4, channels // 4)
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(pooled),
            pointwise(channels, hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            pointwise(hidden, channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, V)` to the same shape."""
        gate = self.temporal_att(x) * self.spatial_att(x)
        out: Tensor = x * (1 + self.alpha * (gate - 1))
        return out


def initialise(model: nn.Module) -> None:
    """Kaiming normal (fan out) for convolutions, normal(0, 0.01) for Linear, norms 1 and 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def subset_adjacency(layout: Layout) -> Tensor:
    """The three fixed subsets of a layout's graph, `(3, V, V)` float32.

    Subset 0 is the identity, 1 passes messages inward (`A[1, child, parent]`), 2 outward. Used as
    `out[w] = sum_v x[v] A[v, w]`, so each column is normalised to sum to one (or is all zero: the
    outermost joints receive nothing from further out), as in 2s-AGCN and CTR-GCN.
    """
    V = layout.num_joints
    A = torch.zeros(3, V, V)
    A[0] = torch.eye(V)
    for child, parent in layout.bones:
        A[1, child, parent] = 1
        A[2, parent, child] = 1
    return A / A.sum(dim=1, keepdim=True).clamp(min=1)


def symmetric_normalised(weights: Tensor) -> Tensor:
    """`D^-1/2 |W| D^-1/2` of a `(V, V)` matrix, D the row sums of |W| (at least 1e-6)."""
    A = weights.abs()
    scale = A.sum(dim=1).clamp(min=1e-6).rsqrt()
    return scale[:, None] * A * scale[None, :]


LEVELS = 1 << 16
"""A rate is kept to 1/65536 on a CPU: 0.1 becomes 0.100006."""


class Dropout(nn.Dropout):
    """`nn.Dropout`, with four mask elements to each 64-bit draw on a CPU.

    torch draws a CPU mask element by element, which is a tenth of a small model's training step.
    The masks are a function of torch's seed here too, but not those of `nn.Dropout`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu" or self.p == 1:
            return F.dropout(x, self.p, self.training)
        dropped = round(self.p * LEVELS)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        # for autograd `kept` is a constant, and its product in x's own type is the fastest
        return x * kept * (LEVELS / (LEVELS - dropped))
