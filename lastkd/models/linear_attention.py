"""Linear attention of each joint over its frames, in the two orders that its products can take.

The result for a frame is the mean of all frames' values, weighted by the products of features,
`q k^T v / q k^T 1` with the feature map elu(x) + 1. From the right it costs T * D * D, linear in T;
from the left T * T * D, which is less, and moves less memory, for clips of up to some D frames.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lastkd.models.blocks import by_hand

HEADS = 4
SMALLEST_SUM = 1e-4
"""The public design's bound for the normaliser, a sum over frames and channels."""


def linear_attention(x: Tensor, weight: Tensor) -> Tensor:
    """Attention of features `(T, N, V, C)`, to the same shape.

    Args:
        weight: of queries, keys and values, `(3 * C, C)`, arranged by `by_head`.
    """
    T, D = len(x), x.shape[-1] // HEADS
    short = T <= 2 * D
    if short and by_hand(x, weight):
        out: Tensor = _FromTheLeft.apply(x, weight)
        return out
    if not torch.is_grad_enabled():
        return attended(x, weight)
    q, k, v = _heads(F.linear(x, weight))
    order = from_the_left if short else from_the_right
    return _joined(order(F.elu(q) + 1, F.elu(k) + 1, v), x)


def attended(x: Tensor, weight: Tensor, stride: int = 1, out: Tensor | None = None) -> Tensor:
    """`linear_attention` without gradients.

    Args:
        stride: above 1, neighbouring frames of the result are `averaged`: the average is taken of
            what is multiplied last, which is smaller.
        out: `(T / stride, N, V, C)`, where the result is written; it may be a part of wider
            features.
    """
    T, D = len(x), x.shape[-1] // HEADS
    qkv = F.linear(x, weight)
    F.elu_(_queries_and_keys(qkv)).add_(1)
    q, k, v = _heads(qkv)
    short = T <= D  # where the matrices of frames are smaller than the features
    if _recorded():
        assert stride == 1
        return _joined(from_the_left(q, k, v) if short else from_the_right(q, k, v), x)
    if short:
        shares = _shares(q, k)[0]
        return _product_by_head(averaged(shares, stride), v, x, out)
    numerator, normaliser = _from_the_right(q, k, v)
    if stride > 1:
        means = averaged(torch.eye(T, dtype=x.dtype, device=x.device).unsqueeze(0), stride)
        return _product_by_head(means / normaliser.transpose(1, 2), numerator, x, out)
    out = torch.empty_like(x) if out is None else out
    heads = _places(out).permute(1, 2, 0, 3)
    torch.div(numerator.view_as(heads), normaliser.view(*heads.shape[:3], 1), out=heads)
    return out


def averaged(x: Tensor, stride: int) -> Tensor:
    """The mean of each frame and its two neighbours, zeros beyond the ends, or `x` at stride 1.

    Args:
        x: `(G, T, S)`.

    Returns:
        `(G, T / stride, S)`, rounded up.
    """
    if stride == 1:
        return x
    if x.device.type != "cpu" or _recorded():
        return F.avg_pool2d(x, (3, 1), (stride, 1), (1, 0))
    out = x[:, ::stride].clone()  # torch's pooling takes several times as long on a CPU
    after, before = x[:, 1::stride], x[:, stride - 1 :: stride]
    out[:, : after.shape[1]] += after
    out[:, 1:] += before[:, : out.shape[1] - 1]
    return out.div_(3)


def _recorded() -> bool:
    """Whether the operations are recorded, to be compiled or exported."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]
    return tracing or torch.compiler.is_compiling()


def _product_by_head(left: Tensor, right: Tensor, like: Tensor, out: Tensor | None) -> Tensor:
    """`left @ right` of `(G, T', S)` and `(G, S, D)` as `(T', N, V, C)`, without a copy."""
    out = like.new_empty(left.shape[1], *like.shape[1:]) if out is None else out
    places = _places(out)
    if out.is_contiguous():
        _batched_product(left, right, places.flatten(1, 2).transpose(0, 1))
        return out
    for head in range(HEADS):  # a product has one stride for its matrices
        heads = places[:, :, head].transpose(0, 1)
        _batched_product(left[head::HEADS], right[head::HEADS], heads)
    return out


def _batched_product(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """`left @ right`, or `bias + left @ right`, written to `out`, a view whose rows lie apart.

    A GPU writes there at once. A CPU would take such matrices one by one, several times as slowly
    as all of them and a copy.
    """
    if out.device.type == "cpu":
        out.copy_(left @ right if bias is None else torch.baddbmm(bias, left, right))
    elif bias is None:
        torch.bmm(left, right, out=out)
    else:
        torch.baddbmm(bias, left, right, out=out)


def _places(out: Tensor) -> Tensor:
    """`(T, N, V, C)` as `(T, N * V, HEADS, D)`."""
    heads: Tensor = out.unflatten(-1, (HEADS, -1))
    return heads.flatten(1, 2)


def by_head(weight: Tensor) -> Tensor:
    """The rows of a `qkv` weight `(3 * C, C)` in the order head, (q, k, v), channel.

    In this order each head's q, k and v of a frame are `(G, T, D)` views that a batched product
    reads as they are, with G heads of all joints and sequences.
    """
    return weight.view(3, HEADS, -1, weight.shape[1]).transpose(0, 1).reshape(weight.shape)


def from_the_right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`q (k^T v) / q (k^T 1)`.

    Numerator and normaliser are sums over frames and channels that pass the largest float16 at
    features of about 10; divided by both counts before they are rounded, they stay in range.

    Args:
        q, k: features, `(G, T, D)` each.
        v: `(G, T, D)`.

    Returns:
        `(G, T, D)`.
    """
    numerator, normaliser = _from_the_right(q, k, v)
    return numerator / normaliser


def _from_the_right(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Numerator `(G, T, D)` and normaliser `(G, T, 1)`."""
    T, D = q.shape[1:]
    # beta=0: the empty tensor is never read
    context = torch.baddbmm(q.new_empty(()), k.transpose(1, 2), v, beta=0, alpha=1 / (T * D))
    normaliser = q @ (k.mean(dim=1) / D).unsqueeze(-1)
    return q @ context, normaliser.clamp(min=_smallest(q, T * D))


def from_the_left(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`(q k^T / q k^T 1) v`; arguments and result as in `from_the_right`.

    The products of features are means over channels, and shares of one after that, so none of them
    can pass the largest float16.
    """
    return _shares(q, k)[0] @ v


def _shares(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Each frame's weights `(G, T, T)`, which sum to one, and what they were divided by."""
    T, D = q.shape[1:]
    products = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=1 / D)
    normaliser = products.mean(dim=2, keepdim=True).clamp(min=_smallest(q, T * D)) * T
    return products / normaliser, normaliser


def _smallest(like: Tensor, terms: int) -> float:
    """The bound for a mean of so many terms, as far as the dtype holds it."""
    return max(SMALLEST_SUM / terms, torch.finfo(like.dtype).smallest_normal)


def _heads(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v of `(T, N, V, 3 * C)` as views `(G, T, D)`."""
    T, N, V = qkv.shape[:3]
    split = qkv.view(T, N * V * HEADS, 3, -1).permute(2, 1, 0, 3)
    return split[0], split[1], split[2]


def _joined(heads: Tensor, like: Tensor) -> Tensor:
    """`(G, T, D)` as `(T, N, V, C)`, by a copy."""
    return heads.transpose(0, 1).reshape(like.shape)


def _queries_and_keys(qkv: Tensor) -> Tensor:
    """The view of `(T, N, V, 3 * C)` on q and k."""
    return qkv.view(*qkv.shape[:3], HEADS, 3, -1)[..., :2, :]


class _FromTheLeft(torch.autograd.Function):
    """`from_the_left` of a product's q, k and v, which are made and differentiated in place.

    Kept for the backward pass are elu(q), elu(k) and v, and the weights of the frames.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        T, N, V = x.shape[:3]
        qkv = F.linear(x, weight)
        features = F.elu_(_queries_and_keys(qkv)) + 1
        q, k = features.view(T, N * V * HEADS, 2, -1).permute(2, 1, 0, 3)
        shares, normaliser = _shares(q, k)
        out = torch.empty_like(x)
        _batched_product(shares, _heads(qkv)[2], out.view(T, len(shares), -1).transpose(0, 1))
        ctx.save_for_backward(x, weight, qkv, shares, normaliser)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight, qkv, shares, normaliser = ctx.saved_tensors
        T, N, V, C = x.shape
        q, k, v = _heads(qkv)  # q and k less one
        by_head = grad.reshape(T, N * V * HEADS, -1).transpose(0, 1)
        grad_qkv = torch.empty_like(qkv)
        grad_q, grad_k, grad_v = _heads(grad_qkv)
        _batched_product(shares.transpose(1, 2), by_head, grad_v)
        grads = by_head @ v.transpose(1, 2)
        scale = (normaliser * (C // HEADS)).reciprocal_()
        shift = (grads * shares).sum(dim=2, keepdim=True).mul_(scale).neg_()
        products = torch.addcmul(shift, grads, scale)
        # features are elu + 1, and the one is a sum over the products' rows or columns
        rows, columns = products.sum(dim=2, keepdim=True), products.sum(dim=1).unsqueeze(2)
        _batched_product(products, k, grad_q, rows)
        _batched_product(products.transpose(1, 2), q, grad_k, columns)
        slopes, values = _queries_and_keys(grad_qkv), _queries_and_keys(qkv)
        torch.ops.aten.elu_backward.grad_input(slopes, 1, 1, 1, True, values, grad_input=slopes)
        rows_of_x, flat = x.reshape(-1, C), grad_qkv.view(-1, 3 * C)
        return (flat @ weight).view(x.shape), flat.t() @ rows_of_x
