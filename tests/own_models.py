"""Models of a user's own, as `package.module:factory` names them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lastkd.data.layouts import Layout


class Pooled(nn.Module):
    """A small perceptron over each joint's mean and spread."""

    def __init__(self, num_classes: int, layout: Layout) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(9 * 2 * layout.num_joints, 32), nn.ReLU(), nn.Linear(32, num_classes)
        )

    def forward(self, streams: Mapping[str, Tensor], bodies: Tensor | None) -> Tensor:
        x = torch.cat([streams[name][..., 0] for name in ("joint", "velocity", "bone")], dim=1)
        return self.layers(torch.cat((x.mean(dim=2), x.std(dim=2)), dim=1).flatten(1))


def student(num_classes: int, layout: Layout) -> nn.Module:
    return Pooled(num_classes, layout)


def teacher(num_classes: int, layout: Layout) -> nn.Module:
    torch.manual_seed(5)
    return Pooled(num_classes, layout)


def too_narrow(num_classes: int, layout: Layout) -> nn.Module:
    return Pooled(num_classes - 1, layout)


def no_module(num_classes: int, layout: Layout) -> str:
    return "a model"


class Overflowing(Pooled):
    """A teacher whose logits aren't finite for clips with a second body."""

    def forward(self, streams: Mapping[str, Tensor], bodies: Tensor | None) -> Tensor:
        assert bodies is not None
        return super().forward(streams, bodies) / (bodies == 1)[:, None]


def overflowing(num_classes: int, layout: Layout) -> nn.Module:
    torch.manual_seed(5)
    return Overflowing(num_classes, layout)


class Scaled(Pooled):
    """Holds a constant that no cast of the module reaches."""

    def forward(self, streams: Mapping[str, Tensor], bodies: Tensor | None) -> Tensor:
        weights = torch.linspace(0.5, 1.5, 3, device=streams["joint"].device)
        x = {name: stream * weights[:, None, None, None] for name, stream in streams.items()}
        logits = super().forward(x, bodies)
        return logits @ torch.eye(logits.shape[1], device=logits.device)


def scaled(num_classes: int, layout: Layout) -> nn.Module:
    return Scaled(num_classes, layout)
