"""LAST-E written down plainly, layer by layer, on `(N, C, T, V)`: the oracle of the lean one.

The tensors carry the lean model's names, so one `state_dict` serves both.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models import LastE


def _branch(C: int, stride: int, dilation: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(C),
        nn.ReLU(),
        nn.Conv2d(
            C,
            C,
            (9, 1),
            stride=(stride, 1),
            padding=(4 * dilation, 0),
            dilation=(dilation, 1),
            groups=C,
            bias=False,
        ),
        nn.Conv2d(C, C, 1, bias=False),
        nn.BatchNorm2d(C),
    )


def _gate(C: int, pooled: tuple[int | None, int | None]) -> nn.Sequential:
    hidden = max(4, C // 4)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(pooled),
        nn.Conv2d(C, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, C, 1, bias=False),
        nn.Sigmoid(),
    )


class _Fusion(nn.Module):
    def __init__(self, C: int) -> None:
        super().__init__()
        self.stream_bn = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))
        self.stem = nn.Conv2d(3, C, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(C)
        self.stream_weights = nn.Parameter(torch.zeros(3, C))

    def forward(self, streams: list[Tensor]) -> Tensor:
        # one batch through the stem's norm, so that training sees the mixture of streams
        normed = [norm(x) for norm, x in zip(self.stream_bn, streams, strict=True)]
        features = F.relu(self.stem_bn(self.stem(torch.cat(normed)))).chunk(3)
        weights = self.stream_weights.softmax(dim=0)[:, None, :, None, None]
        return sum(w * x for w, x in zip(weights, features, strict=True))  # type: ignore[return-value]


class _Graph(nn.Module):
    def __init__(self, C_in: int, C: int, A: Tensor) -> None:
        super().__init__()
        for k in range(3):
            self.register_buffer(f"A_{k}", A[k].clone())
        self.alpha = nn.Parameter(torch.zeros(3, C_in))
        self.conv = nn.Conv2d(C_in, C, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.alpha.softmax(dim=0)[:, None, :, None, None]
        messages = [w * (x @ getattr(self, f"A_{k}")) for k, w in enumerate(weights)]
        return self.conv(messages[0] + messages[1] + messages[2])  # type: ignore[no-any-return]


class _Attention(nn.Module):
    def __init__(self, C: int) -> None:
        super().__init__()
        self.temporal_att = _gate(C, (None, 1))
        self.spatial_att = _gate(C, (1, None))
        self.alpha = nn.Parameter(torch.zeros(1, C, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gated = x * self.temporal_att(x) * self.spatial_att(x)
        return x + self.alpha * (gated - x)  # type: ignore[no-any-return]


class _Temporal(nn.Module):
    def __init__(self, C: int, stride: int) -> None:
        super().__init__()
        self.branch1 = _branch(C // 2, stride, 1)
        self.branch2 = _branch(C // 2, stride, 2)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        near, far = x.chunk(2, dim=1)
        return self.dropout(torch.cat((self.branch1(near), self.branch2(far)), dim=1))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, C_in: int, C: int, stride: int, attention: bool, A: Tensor) -> None:
        super().__init__()
        self.gcn = _Graph(C_in, C, A)
        self.gcn_bn = nn.BatchNorm2d(C)
        self.st_att = _Attention(C) if attention else nn.Identity()
        self.tcn = _Temporal(C, stride)
        self.residual_path = _residual_path(C_in, C, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tcn(self.st_att(F.relu(self.gcn_bn(self.gcn(x)))))
        return F.relu(y + self.residual_path(x))


def _residual_path(C_in: int, C: int, stride: int) -> nn.Module:
    if C_in == C and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(C_in, C, 1, stride=(stride, 1)), nn.BatchNorm2d(C))


class PlainLastE(nn.Module):
    """A LAST-E with the sizes and the tensors of `lean`."""

    def __init__(self, lean: LastE) -> None:
        super().__init__()
        about = lean.architecture
        self.register_buffer("A", lean.A.clone())
        self.fusion = _Fusion(about.channels[0])
        before = about.channels[0]
        stages = zip(about.channels, about.blocks, about.attention, (1, 2, 2), strict=True)
        for number, (C, count, attention, stride) in enumerate(stages, start=1):
            stage = nn.Sequential()
            for index in range(count):
                first = index == 0
                stage.append(
                    _Block(
                        before if first else C,
                        C,
                        stride if first else 1,
                        attention,
                        lean.A,
                    )
                )
            self.add_module(f"stage{number}", stage)
            before = C
        self.dropout = nn.Dropout(about.head_dropout)
        self.fc = nn.Linear(before, lean.num_classes)
        self.load_state_dict(lean.state_dict())

    def forward(self, streams: Mapping[str, Tensor]) -> Tensor:
        parts = [streams[name] for name in ("joint", "velocity", "bone")]
        x = self.fusion([x[..., 0] if x.dim() == 5 else x for x in parts])
        for stage in (self.stage1, self.stage2, self.stage3):
            x = stage(x)
        return self.fc(self.dropout(x.mean(dim=(2, 3))))  # type: ignore[no-any-return]
