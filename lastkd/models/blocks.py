"""Layers that LAST-v2 and LAST-E share. Shapes: N sequences, T frames, V joints, C channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.data.layouts import Layout
from lastkd.data.transfer import to_device

TEMPORAL_KERNEL = 9


class BatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` without its count of batches, which `count_batches` keeps for all norms."""

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            0.1 if self.momentum is None else self.momentum,
            self.eps,
        )


def count_batches(model: nn.Module) -> None:
    """Counts a training batch in all norms of a model: one launch in place of one a norm."""
    if model.training:
        norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        counts = [
            norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None
        ]
        torch._foreach_add_(counts, 1)


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which products of `x` are computed: autocast's where it is on."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.dtypes = [x.dtype for x in tensors]
        casts = [torch.empty_like(x, dtype=dtype) for x in tensors]
        torch._foreach_copy_(casts, tensors)
        return tuple(casts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        casts = [torch.empty_like(x, dtype=d) for x, d in zip(grads, ctx.dtypes, strict=True)]
        torch._foreach_copy_(casts, grads)
        return (None, *casts)


def by_hand(*tensors: Tensor) -> bool:
    """Whether a backward pass may follow that is written by hand; a compiler makes its own."""
    needed = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return needed and not torch.compiler.is_compiling()


class Weights:
    """A model's parameters and constants in the dtype of one forward pass.

    Autocast casts each weight by itself, and each gradient back: half of a small model's launches.
    Here all of them take one launch, and so do their gradients. Norms stay in float32.

    Args:
        model: whose modules ask for their tensors in their forward pass.
        dtype: of the products.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._cast: dict[Tensor, Tensor] = {}
        if torch.compiler.is_compiling():  # which fuses casts with their use
            return
        modules = [module for module in model.modules() if not isinstance(module, BatchNorm)]
        parameters = [x for m in modules for x in m.parameters(recurse=False) if x.dtype != dtype]
        buffers = [x for m in modules for x in m.buffers(recurse=False) if x.dtype != dtype]
        for tensors in (parameters, buffers):
            if tensors:
                self._cast |= zip(tensors, _Cast.apply(dtype, *tensors), strict=True)

    def __call__(self, tensor: Tensor) -> Tensor:
        """A tensor of the model, in the dtype of the pass."""
        return self._cast.get(tensor, tensor).to(self.dtype)


class _WithMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        ctx.size = x.shape[axis]
        return x.view_as(x), x.mean(dim=axis, keepdim=True)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_mean: Tensor) -> tuple[Tensor, None]:
        return torch.add(grad, grad_mean, alpha=1 / ctx.size), None


def with_mean(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """`x` and its mean over an axis, which stays as an axis of size 1.

    With the first result in place of `x` the backward pass adds both gradients in one go, where
    that of a mean would write a whole tensor first.
    """
    if not by_hand(x):
        return x, x.mean(dim=axis, keepdim=True)
    parts: tuple[Tensor, Tensor] = _WithMean.apply(x, axis)
    return parts


def pointwise(
    in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    """A 1x1 convolution; its stride applies to frames only."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1), bias=bias)


class FrameConv(nn.Conv2d):
    """A 9x1 convolution over frames, each channel by itself, that keeps T at stride 1."""

    def __init__(self, channels: int, *, stride: int, dilation: int = 1) -> None:
        super().__init__(
            channels,
            channels,
            (TEMPORAL_KERNEL, 1),
            stride=(stride, 1),
            padding=(TEMPORAL_KERNEL // 2 * dilation, 0),
            dilation=(dilation, 1),
            groups=channels,
            bias=False,
        )
        self._places: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def banded(self, weight: Tensor, frames: int) -> Tensor:
        """The convolution over `frames` as a matrix for each channel, `(C, T_out, T)`.

        Args:
            weight: the layer's, in the dtype that the matrices should have.
        """
        places = self._places_for(frames, weight)
        bands = weight.flatten(1) @ places.flatten(1)
        return bands.view(-1, *places.shape[1:])

    def _places_for(self, frames: int, weight: Tensor) -> Tensor:
        """Where each of the 9 taps stands in the matrix, `(9, T_out, T)` of ones and zeros."""
        if torch.compiler.is_compiling():
            return self._make_places(frames, weight.device).to(weight.dtype)
        key = frames, weight.dtype, weight.device
        if key not in self._places:
            with torch.inference_mode(False):  # else no later training pass could use it
                places = self._make_places(frames, torch.device("cpu")).to(weight.dtype)
                self._places[key] = to_device(places, weight.device)
        return self._places[key]

    def _make_places(self, frames: int, device: torch.device) -> Tensor:
        taps, dilation = self.kernel_size[0], self.dilation[0]
        padding = int(self.padding[0])
        size = (frames + 2 * padding - dilation * (taps - 1) - 1) // self.stride[0] + 1
        reads = torch.arange(size, device=device)[:, None] * self.stride[0] - padding
        reads = reads + torch.arange(taps, device=device)[:, None, None] * dilation
        return reads == torch.arange(frames, device=device)


def affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as scale and shift, `(C,)` float64 each."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def folded(conv: nn.Module, norm: nn.Module | None = None) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution and the norm after it as weight `(C_out, C_in)` and bias, in float64."""
    assert isinstance(conv, nn.Conv2d | nn.Linear)
    weight = conv.weight.flatten(1).double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    if norm is None:
        return weight, bias
    scale, shift = affine(norm)
    return weight * scale[:, None], bias * scale + shift


def residual_path(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The identity where input and output have the same shape, otherwise a projection."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Sequential(
        pointwise(in_channels, out_channels, stride=stride, bias=True),
        BatchNorm(out_channels),
    )


class _Link:
    """Hands the gate of a `_Gated` to its `_GateInput` in the backward pass."""

    gate: Tensor


class _GateInput(torch.autograd.Function):
    """`x` and its means over two axes. The gradient of `x` comes unscaled from `_Gated`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, first: int, second: int, link: _Link
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.link = link
        ctx.sizes = x.shape[first], x.shape[second]
        return x.view_as(x), x.mean(dim=first, keepdim=True), x.mean(dim=second, keepdim=True)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, by_first: Tensor, by_second: Tensor
    ) -> tuple[Tensor, None, None, None]:
        first, second = ctx.sizes
        means = torch.add(by_first / first, by_second, alpha=1 / second)
        return torch.addcmul(means, grad, ctx.link.gate), None, None, None


class _Gated(torch.autograd.Function):
    """`x * (stay + a * b)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stay: Tensor, a: Tensor, b: Tensor, link: _Link) -> Tensor:
        gate = torch.addcmul(stay, a, b)
        ctx.link = link
        ctx.save_for_backward(x, stay, a, b, gate)
        return x * gate

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, stay, a, b, ctx.link.gate = ctx.saved_tensors
        product = grad * x
        by_a = (product * b).sum_to_size(a.shape)
        by_b = (product * a).sum_to_size(b.shape)
        return grad, product.sum_to_size(stay.shape), by_a, by_b, None


class SpatioTemporalAttention(nn.Module):
    """Gates by frame and by joint: `x + alpha * (x * a_t * a_s - x)`, alpha starting at 0.

    Each family says where its features have frames and joints, and how it computes the gates.
    """

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
            BatchNorm(hidden),
            nn.ReLU(inplace=True),
            pointwise(hidden, channels),
            nn.Sigmoid(),
        )

    @staticmethod
    def applied(
        x: Tensor,
        alpha: Tensor,
        frames: int,
        joints: int,
        gates: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        """The gated features, with products over whole tensors kept to two.

        Args:
            x: features with any order of axes.
            alpha: by channel, in a shape that fits `x`.
            frames, joints: the axes of `x`.
            gates: makes a_t and a_s from the means of `x` over the joints and over the frames.
        """
        if not by_hand(x):
            a_t, a_s = gates(x.mean(dim=joints, keepdim=True), x.mean(dim=frames, keepdim=True))
            return x * torch.addcmul(1 - alpha, alpha * a_t, a_s)
        link = _Link()
        x, over_joints, over_frames = _GateInput.apply(x, joints, frames, link)
        a_t, a_s = gates(over_joints, over_frames)
        out: Tensor = _Gated.apply(x, 1 - alpha, alpha * a_t, a_s, link)
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
"""A dropout rate is rounded to 1/65536 on a CPU: 0.1 becomes 0.100006."""


class Dropout(nn.Dropout):
    """`nn.Dropout`, with four mask elements to each 64-bit draw on a CPU.

    torch draws a CPU mask element by element, which takes a tenth of a small model's training step.
    The masks depend on torch's seed alone, but they aren't those of `nn.Dropout`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape."""
        if not self.training or self.p == 0 or x.device.type != "cpu" or self.p == 1:
            return F.dropout(x, self.p, self.training)
        dropped = round(self.p * LEVELS)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        # autograd treats `kept` as a constant, and a product in x's dtype is the fastest
        return x * kept * (LEVELS / (LEVELS - dropped))
