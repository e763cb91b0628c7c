"""LAST-v2 in training: logits, gradients and running statistics are those of the plain one."""

from __future__ import annotations

import copy

import pretended_cuda
import pytest
import torch
from plain_last_v2 import plain_last_v2
from test_fused_last_v2 import BODIES, mib, trained
from torch import Tensor

from lastkd.models import LastV2, get_architecture
from lastkd.models.linear_attention import (
    averaged,
    by_head,
    from_the_left,
    from_the_right,
    linear_attention,
)
from lastkd.models.registry import build_model


def training(size: str, layout: str = "ntu25") -> LastV2:
    """A model in training mode, without dropout, whose every tensor matters."""
    architecture = get_architecture(f"last_v2_{size}").with_dropout(0.0).for_training()
    model = build_model(architecture, 9, layout)
    assert isinstance(model, LastV2)
    model.load_state_dict(trained(size, layout).state_dict())
    return model.train()


def apart(ours: Tensor, plain: Tensor) -> float:
    """The largest difference, relative to the largest element."""
    return float((ours - plain).detach().abs().max() / plain.detach().abs().max().clamp(min=1e-12))


@pytest.mark.parametrize(
    ("size", "frames"), [("tiny", 5), ("tiny", 16), ("tiny", 70), ("small", 5), ("small", 16)]
)
def test_a_training_pass_is_that_of_the_plain_model(size: str, frames: int) -> None:
    fast = training(size).double()
    plain = copy.deepcopy(fast)
    streams = {name: x.double() for name, x in mib(25, frames=frames).items()}
    labels = torch.tensor([1, 2, 3])
    logits = fast(streams, BODIES)
    expected = plain_last_v2(plain, streams, BODIES)
    assert apart(logits, expected) <= 1e-9
    for out in (logits, expected):
        torch.nn.functional.cross_entropy(out, labels).backward()
    largest = max(parameter.grad.abs().max() for parameter in plain.parameters())
    for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None, name
        assert (ours.grad - theirs.grad).abs().max() <= 1e-10 * largest, name
    for (name, ours), theirs in zip(fast.named_buffers(), plain.buffers(), strict=True):
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(ours, theirs, msg=name)


def test_each_norm_counts_its_batches() -> None:
    model = training("tiny")
    for _ in range(3):
        model(mib(25), BODIES)
    counts = {int(x) for n, x in model.named_buffers() if n.endswith("num_batches_tracked")}
    assert counts == {3}
    model.eval()(mib(25), BODIES)
    assert {int(x) for n, x in model.named_buffers() if n.endswith("num_batches_tracked")} == {3}


@pytest.mark.parametrize("frames", [4, 24, 25, 60])
def test_linear_attention_is_the_same_in_both_orders_and_so_is_its_gradient(frames: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(frames, 2, 3, 48, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3 * 48, 48, dtype=torch.float64, requires_grad=True)
    out = linear_attention(x, by_head(weight))
    qkv = (x @ weight.t()).view(frames, 6, 3, 4, 12).permute(2, 1, 3, 0, 4).flatten(1, 2)
    q, k, v = torch.nn.functional.elu(qkv[0]) + 1, torch.nn.functional.elu(qkv[1]) + 1, qkv[2]
    for order in (from_the_left, from_the_right):
        plain = order(q, k, v).view(2, 3, 4, frames, 12).permute(3, 0, 1, 2, 4).reshape(x.shape)
        torch.testing.assert_close(out, plain)
    with torch.no_grad():
        torch.testing.assert_close(linear_attention(x, by_head(weight)), out)
    upstream = torch.randn_like(out)
    ours = torch.autograd.grad(out, (x, weight), upstream, retain_graph=True)
    theirs = torch.autograd.grad(plain, (x, weight), upstream)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pretended_cuda.needed
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("frames", [1, 2, 7, 12])
def test_frames_are_averaged_as_torch_pools_them(frames: int, stride: int) -> None:
    x = torch.randn(3, frames, 5, dtype=torch.float64, requires_grad=True)
    pooled = torch.nn.functional.avg_pool2d(x, (3, 1), (stride, 1), (1, 0))
    ours = averaged(x, stride)
    torch.testing.assert_close(ours, pooled)
    upstream = torch.randn_like(pooled)
    (grad,) = torch.autograd.grad(ours, x, upstream)
    torch.testing.assert_close(grad, torch.autograd.grad(pooled, x, upstream)[0])
    assert averaged(x, 1) is x


def test_a_training_step_on_a_device_never_waits_for_body_counts() -> None:
    model = training("tiny")
    streams, counts_of_bodies = mib(25), BODIES.numpy()
    with pretended_cuda.device() as counts:
        model = model.to("cuda")
        moved = {name: x.to("cuda") for name, x in streams.items()}
        scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
        counts.reset()
        with torch.autocast("cuda", torch.float16):
            logits = model(moved, counts_of_bodies)
        scaler.scale(logits.float().square().sum()).backward()
        assert not counts.waits
        grads = [parameter.grad for parameter in model.parameters()]
        assert all(grad is not None and grad.dtype == torch.float32 for grad in grads)
        assert all(bool(grad.isfinite().all()) for grad in grads)
