"""LAST-v2 for inference: the logits of `LastV2`, at a fraction of the work.

Every shortcut is exact up to rounding:

- an absent body isn't computed: its logits are one constant vector, and where the model averages
  over the present bodies they aren't needed at all;
- features are `(T, N, V, C)`, as in `last_v2_layers`: one product computes all graph messages, one
  more applies all five convolutions, their norm and the ReLU;
- norms are folded into the products before them, a norm after the attention gate into the gate;
- a learned graph that is zero (as in every public checkpoint) and a gate whose alpha is zero are
  left out.

`tests/test_fused_last_v2.py` compares it with `LastV2`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models.blocks import SpatioTemporalAttention, affine, folded, symmetric_normalised
from lastkd.models.bodies import BodyCounts, BodyIndex
from lastkd.models.last_v2_layers import (
    AdaptiveGraphConv,
    LastV2Block,
    LinearAttention,
    along_frames,
    side_by_side,
)
from lastkd.models.linear_attention import attended, by_head
from lastkd.settings.architecture import STREAMS

CPU_ROWS = 3
"""Sequences that pass the network together on a CPU: few enough to stay in its caches. A body has
three, one for each stream, so its logits don't depend on what else is in the batch."""

FRAMES = 16
"""Frames that read the same copy of their clips' graphs. A batched product has one stride for all
of its matrices, so it can't come back to a clip's graphs for each frame; a copy for fewer frames
would take more launches for little memory."""


class _Frozen(nn.Module):
    """A module whose tensors are constants: they move and are cast with it, and get no gradient."""

    def hold(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            # a buffer, not a parameter: it never gets a gradient
            self.register_buffer(name, tensor.detach().float().contiguous(), persistent=False)


def product_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`relu(x @ weight.T + bias)` of `(T, N, V, C)`, in one launch on a GPU."""
    rows = x.view(-1, x.shape[-1])
    return torch._addmm_activation(bias, rows, weight.t()).view(*x.shape[:3], -1)


class _Branch(_Frozen):
    """One of a gate's two branches, its norm folded into the first product."""

    squeeze: Tensor
    squeeze_bias: Tensor
    expand: Tensor
    expand_bias: Tensor

    def __init__(self, gate: nn.Sequential) -> None:
        super().__init__()
        _, squeeze, norm, _, expand, _ = gate
        self.hold(**dict(zip(("squeeze", "squeeze_bias"), folded(squeeze, norm), strict=True)))
        self.hold(**dict(zip(("expand", "expand_bias"), folded(expand), strict=True)))

    def forward(self, mean: Tensor) -> Tensor:
        hidden = product_relu(mean, self.squeeze, self.squeeze_bias)
        return F.linear(hidden, self.expand, self.expand_bias).sigmoid_()


class _Graph(_Frozen):
    """All messages in one product, all their convolutions, the norm and the ReLU in another.

    The first graph is the identity, so that the first message of each joint is `x` itself.
    """

    fixed: Tensor
    node: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, gcn: AdaptiveGraphConv, norm: nn.Module) -> None:
        super().__init__()
        graphs = list(gcn.A_physical.double().unbind())
        weights = [conv.weight.flatten(1).double() for conv in gcn.subset_convs]  # type: ignore[operator]
        by_clip = weights.pop()
        if gcn.A_learned.any():
            graphs.append(symmetric_normalised(gcn.A_learned.double()))
        else:
            weights.pop()  # the message of a zero graph is zero
        scale, shift = affine(norm)
        identity = torch.eye(len(graphs[0])).to(graphs[0])
        if not torch.equal(graphs[0], identity):  # a checkpoint may bring other subsets
            graphs.insert(0, identity)
            weights.insert(0, torch.zeros_like(by_clip))
        weight = torch.cat([*weights, by_clip], dim=1) * scale[:, None]
        # out[w] = sum_v A[v, w] x[v]: the product's left matrix is A's transpose
        fixed = torch.stack([A.t() for A in graphs])
        self.hold(fixed=fixed, weight=weight, bias=shift, node=gcn.node_proj.weight.flatten(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The graph convolution of `(T, N, V, C_in)`, after the ReLU.

        Returns:
            `(T, N, V, C_out)`, and the messages `(T, N, V, K * C_in)`.
        """
        T, N, V, C = x.shape
        frames = min(T, FRAMES)
        nodes = F.normalize(F.linear(x.mean(dim=0), self.node).float(), dim=2)
        # softmax over the last axis of the adjacency, then its transpose as for the fixed graphs
        by_clip = (nodes @ nodes.transpose(1, 2)).softmax(dim=-1).transpose(1, 2).to(x.dtype)
        left = side_by_side(self.fixed, by_clip.unsqueeze(1), frames)  # (frames * N, V * K, V)
        messages = x.new_empty(T, N, V, self.weight.shape[1])
        for some, out in zip(x.split(frames), messages.split(frames), strict=True):
            matrices = some.view(-1, V, C)
            torch.bmm(left[: len(matrices)], matrices, out=out.view(len(matrices), -1, C))
        return product_relu(messages, self.weight, self.bias), messages


class _Gate(_Frozen):
    """The attention gate, with the norm that may follow it: `x * gate + shift`."""

    stay: Tensor
    strength: Tensor
    shift: Tensor

    def __init__(self, attention: SpatioTemporalAttention, norm: nn.Module | None) -> None:
        super().__init__()
        alpha = attention.alpha.double().flatten()
        scale, shift = torch.ones_like(alpha), torch.zeros_like(alpha)
        if norm is not None:
            scale, shift = affine(norm)
        self.hold(stay=(1 - alpha) * scale, strength=alpha * scale, shift=shift)
        self.open = not bool(alpha.any())
        self.normed = norm is not None
        self.by_frame = _Branch(attention.temporal_att)
        self.by_joint = _Branch(attention.spatial_att)

    def forward(self, x: Tensor) -> Tensor:
        """`(T, N, V, C)` to the same shape; `x` is overwritten."""
        if self.open:
            return torch.addcmul(self.shift, x, self.stay) if self.normed else x
        by_frame = self.by_frame(x.mean(dim=2, keepdim=True)) * self.strength
        by_joint = self.by_joint(x.mean(dim=0, keepdim=True))
        gate = torch.addcmul(self.stay, by_frame, by_joint)
        return torch.addcmul(self.shift, x, gate) if self.normed else x.mul_(gate)


class _Tcn(_Frozen):
    """The depthwise convolution over frames, without the pointwise one after it."""

    kernel: Tensor

    def __init__(self, tcn: nn.Sequential) -> None:
        super().__init__()
        separable = tcn[2]
        assert isinstance(separable, nn.Sequential)
        over_frames = separable[0]
        assert isinstance(over_frames, nn.Conv2d)
        self.hold(kernel=over_frames.weight)
        self.stride = over_frames.stride[0]

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`(T, N, V, C)`, overwritten, to `(T / stride, N, V, C)`, in `out` where that is given."""
        y = along_frames(x.relu_(), self.kernel, self.stride)
        return y if out is None else out.copy_(y)


class _Attention(_Frozen):
    """Linear attention of each joint over its frames, without the projection after it."""

    qkv: Tensor

    def __init__(self, attention: LinearAttention) -> None:
        super().__init__()
        self.hold(qkv=by_head(attention.qkv.weight))
        self.stride = attention.stride

    def forward(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`(T, N, V, C)` to `(T / stride, N, V, C)`, in `out` where that is given."""
        return attended(x, self.qkv, self.stride, out)


class _Block(_Frozen):
    """Graph, gate and temporal module, whose last product adds the residual path.

    A GPU adds that path, all biases and the ReLU within the product, of `(x, features)` with both
    weights side by side: three passes over the features where an addition and a ReLU after it make
    seven. A CPU, bound by arithmetic, adds the product to `x` in place where the path is the
    identity.
    """

    weight: Tensor
    bias: Tensor
    pooled_bias: Tensor

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        assert isinstance(block, LastV2Block)
        self.graph = _Graph(block.gcn, block.gcn_bn)
        self.temporal: _Tcn | _Attention
        if isinstance(block.tcn, LinearAttention):
            self.gate = _Gate(block.st_att, None)
            self.temporal = _Attention(block.tcn)
            weight, bias = folded(block.tcn.proj)
        else:
            assert isinstance(block.tcn, nn.Sequential)
            self.gate = _Gate(block.st_att, block.tcn[0])
            self.temporal = _Tcn(block.tcn)
            weight, bias = folded(block.tcn[2][1], block.tcn[3])  # type: ignore[index]
        self.hold(pooled_bias=bias)
        self.stride = 1
        self.projects = isinstance(block.residual_path, nn.Sequential)
        residual = torch.eye(len(weight)).to(weight)
        if isinstance(block.residual_path, nn.Sequential):
            projection, norm = block.residual_path
            assert isinstance(projection, nn.Conv2d)
            residual, residual_bias = folded(projection, norm)
            bias = bias + residual_bias
            self.stride = projection.stride[0]
        self.hold(weight=torch.cat((residual, weight), dim=1), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(T, N, V, C_in)`, which may be overwritten, to `(T / stride, N, V, C)`."""
        y, messages = self.graph(x)
        y = self.gate(y)
        before, C = x.shape[-1], y.shape[-1]
        if x.device.type == "cpu":
            weight = self.weight.split((before, C), dim=1)
            if self.projects:
                out = F.linear(x[:: self.stride], weight[0], self.bias)
            else:
                out = x.add_(self.bias)
            out.view(-1, C).addmm_(self.temporal(y).view(-1, C), weight[1].t())
            for end, lacking in self._ends(len(y)):
                out[end].sub_(self.pooled_bias, alpha=lacking)
            return out.relu_()
        if self.projects:
            pair = x.new_empty(-(-len(x) // self.stride), *x.shape[1:3], before + C)
            pair[..., :before] = x[:: self.stride]
        else:  # the first message is `x`, and those beside it are no longer needed
            pair = messages[..., : 2 * C]
        self.temporal(y, pair[..., before:])
        out = product_relu(pair, self.weight, self.bias)
        for end, lacking in self._ends(len(y)):
            bias = self.bias.sub(self.pooled_bias, alpha=lacking)
            out[end] = product_relu(pair[end, None], self.weight, bias)[0]
        return out

    def _ends(self, frames: int) -> list[tuple[int, float]]:
        """Frames of the result whose averages lack a bias that is added before the pooling.

        Returns:
            Each frame, and what share of the bias it lacks: a third for each of the three averaged
            frames that lies outside of the clip.
        """
        if self.stride == 1 or isinstance(self.temporal, _Tcn):
            return []
        if frames == 1:
            return [(0, 2 / 3)]
        return [(end, 1 / 3) for end in ((0, -1) if frames % 2 else (0,))]


class FusedLastV2(_Frozen):
    """A `LastV2` in evaluation, rebuilt for speed. It can't be trained.

    Args:
        data_bn, backbone, fc: the parts of the trained model, which stays as it is.
        average_present: whether logits are averaged over the present bodies, else over all.
    """

    scale: Tensor
    shift: Tensor
    head: Tensor
    head_bias: Tensor

    def __init__(
        self,
        data_bn: Iterable[nn.Module],
        backbone: Iterable[nn.Module],
        fc: nn.Linear,
        average_present: bool,
    ) -> None:
        super().__init__()
        self.average_present = average_present
        self.num_classes = fc.out_features
        norms = zip(*(affine(norm) for norm in data_bn), strict=True)
        scale, shift = (torch.stack(parts) for parts in norms)
        self.hold(scale=scale, shift=shift, head=fc.weight, head_bias=fc.bias)
        self.blocks = nn.Sequential(*(_Block(block) for block in backbone))
        self._absent: dict[tuple[int, int], Tensor] = {}
        self.eval()

    @torch.no_grad()
    def forward(self, streams: Mapping[str, Tensor], bodies: BodyCounts | None = None) -> Tensor:
        """Logits `(B, K)`.

        Args:
            streams: `joint`, `velocity` and `bone`, each `(B, 3, T, V, M)` or `(B, 3, T, V)`.
            bodies: each clip's number of bodies, `(B,)`; the others are all zeros.
        """
        parts = [streams[stream] for stream in STREAMS]
        parts = [x.unsqueeze(-1) if x.dim() == 4 else x for x in parts]
        M = parts[0].shape[-1]
        present = BodyIndex.of(parts[0], bodies, every=False)
        # (present bodies, S, T, V, 3): a body's streams side by side
        x = torch.stack(
            [part.permute(0, 4, 2, 3, 1)[present.clip, present.body] for part in parts], dim=1
        )
        logits = present.sum_by_clip(self._logits(x))
        if self.average_present:
            return logits / present.per_clip.clamp(min=1)
        return (logits + (M - present.per_clip) * self._absent_logits(x)) / M

    def _logits(self, x: Tensor) -> Tensor:
        """`(bodies, S, T, V, 3)` to logits summed over the streams, `(bodies, K)`."""
        if len(x) == 0:
            return x.new_zeros(0, self.num_classes)
        rows = (x * self.scale[:, None, None] + self.shift[:, None, None]).flatten(0, 1)
        size = CPU_ROWS if x.device.type == "cpu" else max(len(rows), 1)
        logits = []
        for batch in rows.split(size):
            features = self.blocks(batch.transpose(0, 1).contiguous()).mean(dim=(0, 2))
            by_body = features.unflatten(0, (-1, len(STREAMS))).sum(dim=1)
            logits.append(F.linear(by_body, self.head, len(STREAMS) * self.head_bias))
        return torch.cat(logits)

    def _absent_logits(self, x: Tensor) -> Tensor:
        """What a body of zeros gives, `(1, K)`; computed once for each length and layout."""
        T, V = x.shape[2:4]
        if (T, V) not in self._absent:
            self._absent[T, V] = self._logits(x.new_zeros(1, *x.shape[1:]))
        return self._absent[T, V]
