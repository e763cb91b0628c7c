"""Pieces that LAST-v2 and LAST-E share. Shapes: N clips (bodies folded in), T frames, V joints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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


def residual_path(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity where input and output agree in shape, else a projection."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        pointwise(in_channels, out_channels, stride=stride, bias=True),
        nn.BatchNorm2d(out_channels),
    )


class SpatioTemporalAttention(nn.Module):
    """Gates by frame and by joint: `x + alpha * (x * a_t * a_s - x)`, alpha from 0."""

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
