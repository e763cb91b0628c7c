"""LAST-E for export: the logits of `LastE`, as plain convolutions with every norm folded.

`LastE` keeps its features in the layout that is fastest in training. Runtimes for phones and
boards, and their quantisers, know `(N, C, T, V)` and convolutions; so this form is exported.
`tests/test_export.py` compares it with `LastE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models.blocks import affine, folded
from lastkd.models.bodies import BodyCounts
from lastkd.models.last_e_layers import LastEBlock, StreamFusion, WeightedGraphConv
from lastkd.settings.architecture import STREAMS


def _pointwise(weight: Tensor, bias: Tensor, *, groups: int = 1, stride: int = 1) -> nn.Conv2d:
    out, into = weight.shape
    conv = nn.Conv2d(into * groups, out, 1, stride=(stride, 1), groups=groups)
    conv.load_state_dict({"weight": weight[..., None, None].float(), "bias": bias.float()})
    return conv


class _Gates(nn.Module):
    """The two gates of a `SpatioTemporalAttention`, with their norms folded."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        branches = []
        for gate in (attention.temporal_att, attention.spatial_att):
            assert isinstance(gate, nn.Sequential)
            _, squeeze, norm, _, expand, _ = gate
            branches.append(
                nn.Sequential(
                    _pointwise(*folded(squeeze, norm)),
                    nn.ReLU(),
                    _pointwise(*folded(expand)),
                    nn.Sigmoid(),
                )
            )
        self.by_frame, self.by_joint = branches

    def forward(self, x: Tensor) -> Tensor:
        """`x` times both gates, `(N, C, T, V)`."""
        T, V = x.shape[2:]
        by_frame = self.by_frame(F.avg_pool2d(x, (1, V)))
        by_joint = self.by_joint(F.avg_pool2d(x, (T, 1)))
        # spread as images are: runtimes do that in their own layout, and nothing else of this
        return x * F.interpolate(by_frame, size=(T, V)) * F.interpolate(by_joint, size=(T, V))


class _Messages(nn.Module):
    """The three subsets' messages, weighted by channel: one product with a matrix a channel."""

    graphs: Tensor
    weights: Tensor

    def __init__(self, gcn: WeightedGraphConv) -> None:
        super().__init__()
        self.register_buffer("graphs", torch.stack((gcn.A_0, gcn.A_1, gcn.A_2))[:, None])
        weights = gcn.alpha.double().softmax(dim=0).float()
        self.register_buffer("weights", weights[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, V)` to the same shape."""
        # weighed here, so that a file holds three small matrices and not one a channel, which would
        # be most of it; a runtime weighs them once, when it opens the file
        out: Tensor = x @ (self.graphs * self.weights).sum(dim=0)
        return out


class _Block(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, LastEBlock)
        gcn, tcn = block.gcn, block.tcn
        self.messages = _Messages(gcn)
        self.mix = _pointwise(*folded(gcn.conv, block.gcn_bn))
        branches = (tcn.branch1, tcn.branch2)
        # a norm with a ReLU before and behind it: as a convolution it stays in the runtime's layout
        scale, shift = (torch.cat(p) for p in zip(*(affine(b[0]) for b in branches), strict=True))
        self.gates: nn.Module | None = None
        if not isinstance(block.st_att, nn.Identity):
            self.gates = _Gates(block.st_att)
            alpha = block.st_att.alpha.flatten()
            self.gated_norm = _pointwise(
                (scale * alpha)[:, None], torch.zeros_like(shift), groups=len(scale)
            )
            scale = scale * (1 - alpha)
        self.norm = _pointwise(scale[:, None], shift, groups=len(scale))
        self.over_frames = _side_by_side(*(branch[2] for branch in branches))
        halves = zip(*(folded(b[3], b[4]) for b in branches), strict=True)
        self.over_channels = _pointwise(*(torch.cat(p) for p in halves), groups=2)
        self.residual: nn.Module = nn.Identity()
        if isinstance(block.residual_path, nn.Sequential):
            projection, norm = block.residual_path
            assert isinstance(projection, nn.Conv2d)
            stride = projection.stride[0]
            self.residual = _pointwise(*folded(projection, norm), stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C_in, T, V)` to `(N, C, T / stride, V)`."""
        y = F.relu(self.mix(self.messages(x)))
        normed = self.norm(y)
        if self.gates is not None:  # the norm of (1 - alpha) * y + alpha * gates * y, in two parts
            normed = normed + self.gated_norm(self.gates(y))
        y = self.over_channels(self.over_frames(F.relu(normed)))
        return F.relu(y + self.residual(x))


def _side_by_side(*convs: nn.Module) -> nn.Conv2d:
    """Depthwise convolutions over frames, each of its own channels, as one: dilation becomes zeros
    between the taps, which costs less than to part the channels and to join them again."""
    taps, weights = 0, []
    for conv in convs:
        assert isinstance(conv, nn.Conv2d)
        taps = max(taps, 2 * int(conv.padding[0]) + 1)
    for conv in convs:
        assert isinstance(conv, nn.Conv2d)
        pad, dilation = int(conv.padding[0]), conv.dilation[0]
        weight = conv.weight.new_zeros(len(conv.weight), 1, taps, 1)
        first = (taps - 1) // 2 - pad
        weight[:, :, first : first + 2 * pad + 1 : dilation] = conv.weight
        weights.append(weight)
    channels = sum(map(len, weights))
    stride = convs[0].stride
    assert isinstance(stride, tuple)
    joined = nn.Conv2d(
        channels, channels, (taps, 1), stride, ((taps - 1) // 2, 0), groups=channels, bias=False
    )
    joined.load_state_dict({"weight": torch.cat(weights)})
    return joined


class DeployLastE(nn.Module):
    """A `LastE` in evaluation, rebuilt for runtimes. It can't be trained.

    Args:
        fusion, blocks, fc: the parts of the trained model, which stays as it is.
    """

    @torch.no_grad()
    def __init__(self, fusion: StreamFusion, blocks: Iterable[nn.Module], fc: nn.Linear) -> None:
        super().__init__()
        stem, bias = folded(fusion.stem, fusion.stem_bn)
        blend = fusion.stream_weights.double().softmax(dim=0)
        self.stems = nn.ModuleList()
        for norm, share in zip(fusion.stream_bn, blend, strict=True):
            scale, shift = affine(norm)
            # a share is positive, so it may pass the ReLU
            self.stems.append(
                _pointwise(stem * scale * share[:, None], (bias + stem @ shift) * share)
            )
        self.blocks = nn.Sequential(*(_Block(block) for block in blocks))
        self.fc = nn.Linear(fc.in_features, fc.out_features)
        self.fc.load_state_dict(fc.state_dict())
        self.requires_grad_(False).eval()

    def forward(self, streams: Mapping[str, Tensor], bodies: BodyCounts | None = None) -> Tensor:
        """Logits `(N, K)` from body 0 of each stream's `(N, 3, T, V, M)`; `bodies` isn't used."""
        first, *others = (
            F.relu(stem(_first_body(streams[name])))
            for stem, name in zip(self.stems, STREAMS, strict=True)
        )
        for other in others:
            first = first + other
        logits: Tensor = self.fc(self.blocks(first).mean(dim=(2, 3)))
        return logits


def _first_body(stream: Tensor) -> Tensor:
    """`(N, 3, T, V)` of `(N, 3, T, V, M)`; of a single body without a copy."""
    return stream.squeeze(-1) if stream.shape[-1] == 1 else stream[..., 0]
