"""LAST-E for inference: the same logits as `LastE`, as plain convolutions with every norm folded.

`LastE` lies in memory as training likes it. Runtimes for phones and boards, and their quantisers,
know `(N, C, T, V)` and convolutions; so this is what is exported. `LastE.forward` is the oracle
(`tests/test_export.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models.last_e import LastE, LastEBlock, WeightedGraphConv
from lastkd.settings.architecture import STREAMS


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A norm in evaluation as scale and shift, `(C,)` each, in float64."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _folded(conv: nn.Module, norm: nn.Module | None) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution and the norm behind it as weight `(C_out, C_in)` and bias, in float64."""
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight.flatten(1).double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if norm is None:
        return weight, bias
    scale, shift = _affine(norm)
    return weight * scale[:, None], bias * scale + shift


def _pointwise(weight: Tensor, bias: Tensor, *, groups: int = 1, stride: int = 1) -> nn.Conv2d:
    out, into = weight.shape
    conv = nn.Conv2d(into * groups, out, 1, stride=(stride, 1), groups=groups)
    conv.load_state_dict({"weight": weight[..., None, None].float(), "bias": bias.float()})
    return conv


class _Gates(nn.Module):
    """`SpatioTemporalAttention` with its norms folded and the means spelled out."""

    alpha: Tensor

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        branches = []
        for gate in (attention.temporal_att, attention.spatial_att):
            assert isinstance(gate, nn.Sequential)
            _, squeeze, norm, _, expand, _ = gate
            branches.append(
                nn.Sequential(
                    _pointwise(*_folded(squeeze, norm)),
                    nn.ReLU(),
                    _pointwise(*_folded(expand, None)),
                    nn.Sigmoid(),
                )
            )
        self.by_frame, self.by_joint = branches
        assert isinstance(attention.alpha, Tensor)
        self.register_buffer("alpha", attention.alpha.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        gate = self.by_frame(x.mean(dim=3, keepdim=True)) * self.by_joint(
            x.mean(dim=2, keepdim=True)
        )
        out: Tensor = x * (1 - self.alpha + self.alpha * gate)
        return out


class _Messages(nn.Module):
    """The three subsets' messages, weighed by channel."""

    graphs: Tensor
    weights: Tensor

    def __init__(self, gcn: WeightedGraphConv) -> None:
        super().__init__()
        graphs = torch.stack((gcn.A_0, gcn.A_1, gcn.A_2))
        self.register_buffer("graphs", graphs.clone())
        weights = gcn.alpha.double().softmax(dim=0).float()
        self.register_buffer("weights", weights[:, None, :, None, None])
        self.plain = [torch.equal(A, torch.eye(len(A))) for A in graphs]

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, V)` to the same shape."""
        # one small matrix for all channels; a matrix a channel would be most of the exported file
        messages = [
            (x if plain else x @ A) * weight
            for A, weight, plain in zip(self.graphs, self.weights, self.plain, strict=True)
        ]
        out: Tensor = messages[0] + messages[1] + messages[2]
        return out


class _Block(nn.Module):
    scale: Tensor
    shift: Tensor

    def __init__(self, block: LastEBlock) -> None:
        super().__init__()
        gcn, tcn = block.gcn, block.tcn
        self.messages = _Messages(gcn)
        self.mix = _pointwise(*_folded(gcn.conv, block.gcn_bn))
        plain = isinstance(block.st_att, nn.Identity)
        self.gates: nn.Module = nn.Identity() if plain else _Gates(block.st_att)
        branches = (tcn.branch1, tcn.branch2)
        scale, shift = (torch.cat(p) for p in zip(*(_affine(b[0]) for b in branches), strict=True))
        self.register_buffer("scale", scale.float().view(1, -1, 1, 1))
        self.register_buffer("shift", shift.float().view(1, -1, 1, 1))
        self.over_frames = nn.ModuleList(b[2] for b in branches)
        folded = zip(*(_folded(b[3], b[4]) for b in branches), strict=True)
        self.over_channels = _pointwise(*(torch.cat(p) for p in folded), groups=2)
        self.residual: nn.Module = nn.Identity()
        if isinstance(block.residual_path, nn.Sequential):
            projection, norm = block.residual_path
            assert isinstance(projection, nn.Conv2d)
            stride = projection.stride[0]
            self.residual = _pointwise(*_folded(projection, norm), stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C_in, T, V)` to `(N, C, T / stride, V)`."""
        y = self.gates(F.relu(self.mix(self.messages(x))))
        y = F.relu(y * self.scale + self.shift)
        halves = zip(self.over_frames, y.chunk(2, dim=1), strict=True)
        y = self.over_channels(torch.cat([conv(half) for conv, half in halves], dim=1))
        return F.relu(y + self.residual(x))


class DeployLastE(nn.Module):
    """A `LastE` in evaluation, rebuilt for runtimes. It can't be trained.

    Args:
        model: the trained module, left as it is.
    """

    @torch.no_grad()
    def __init__(self, model: LastE) -> None:
        super().__init__()
        fusion = model.fusion
        stem, bias = _folded(fusion.stem, fusion.stem_bn)
        blend = fusion.stream_weights.double().softmax(dim=0)
        weights, biases = [], []
        for norm, share in zip(fusion.stream_bn, blend, strict=True):
            scale, shift = _affine(norm)
            # a share is positive, so it may pass the ReLU
            weights.append(stem * scale * share[:, None])
            biases.append((bias + stem @ shift) * share)
        self.stem = _pointwise(torch.cat(weights), torch.cat(biases), groups=len(STREAMS))
        stages = (*model.stage1, *model.stage2, *model.stage3)
        self.blocks = nn.Sequential(*(_Block(block) for block in stages))
        self.fc = nn.Linear(model.fc.in_features, model.fc.out_features)
        self.fc.load_state_dict(model.fc.state_dict())
        self.requires_grad_(False).eval()

    def forward(self, streams: Mapping[str, Tensor], there: Tensor | None = None) -> Tensor:
        """Logits `(N, K)` from body 0 of each stream's `(N, 3, T, V, M)`."""
        x = torch.cat([streams[name][..., 0] for name in STREAMS], dim=1)
        first, *others = F.relu(self.stem(x)).chunk(len(STREAMS), dim=1)
        for other in others:
            first = first + other
        logits: Tensor = self.fc(self.blocks(first).mean(dim=(2, 3)))
        return logits
