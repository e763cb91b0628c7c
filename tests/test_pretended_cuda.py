"""The pretended CUDA device itself: what it computes, refuses and counts."""

from __future__ import annotations

import pretended_cuda
import pytest
import torch
from pretended_cuda import PretendedTensor

pytestmark = pretended_cuda.needed


def test_tensors_claim_the_device_and_compute_as_on_the_cpu() -> None:
    x = torch.randn(4, 3)
    with pretended_cuda.device():
        layer = torch.nn.Linear(3, 2).to("cuda")
        y = layer(x.to("cuda"))
        y.square().sum().backward()
        assert y.device.type == layer.weight.grad.device.type == "cuda"
        weight, grad = (t.detach().cpu() for t in (layer.weight, layer.weight.grad))
        out = y.detach().cpu()
    expected = torch.nn.functional.linear(x, weight, layer.bias.detach().inner)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(grad, 2 * expected.t() @ x)


def test_outside_of_it_there_is_no_device() -> None:
    with pretended_cuda.device():
        assert torch.cuda.is_available()
    assert not torch.cuda.is_available()
    assert type(torch.ones(2) + 1) is torch.Tensor


def test_the_cpu_and_the_device_do_not_mix() -> None:
    with pretended_cuda.device():
        x = torch.ones(2, 2).to("cuda")
        with pytest.raises(RuntimeError, match="on the CPU"):
            x + torch.ones(2, 2)
        assert (x + torch.tensor(1.0)).sum().item() == 8  # a scalar may come from the host


def test_two_dtypes_do_not_meet_in_a_product() -> None:
    with pretended_cuda.device():
        x = torch.ones(2, 2).to("cuda")
        with pytest.raises(RuntimeError, match="a product of"):
            x @ x.half()
        with torch.autocast("cuda", torch.float16):
            assert (x @ x.half()).dtype == torch.float16


def test_launches_and_bytes_are_those_of_operators_that_are_no_views() -> None:
    with pretended_cuda.device() as counts:
        x = torch.ones(8, 4).to("cuda")
        counts.reset()
        y = x.t()[1:].unsqueeze(0)
        assert counts.launches.total() == 0
        y = y.relu()
        assert dict(counts.launches) == {"relu": 1}
        assert counts.bytes.total() == 2 * 3 * 8 * 4


def test_an_expanded_axis_is_read_once() -> None:
    with pretended_cuda.device() as counts:
        row = torch.ones(1, 4).to("cuda")
        counts.reset()
        row.expand(8, 4).clone()
        assert counts.bytes["clone"] == 4 * (4 + 32)


def test_waits_are_noticed_and_pinned_copies_do_not_wait() -> None:
    with pretended_cuda.device() as counts:
        x = torch.ones(4).to("cuda")
        counts.reset()
        torch.ones(4).pin_memory().to("cuda", non_blocking=True)
        host = torch.empty(4, pin_memory=True)
        host.copy_(x, non_blocking=True)
        assert not counts.waits
        assert x.sum().item() == 4
        x[x > 0]
        x.cpu()
        kinds = [kind for kind, _ in counts.waits]
        assert kinds == ["_local_scalar_dense", "boolean mask", "copy to pageable memory"]


def test_a_scaled_step_of_the_fused_optimiser_moves_the_weights_unless_it_overflows() -> None:
    with pretended_cuda.device():
        layer = torch.nn.Linear(3, 3).to("cuda")
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, fused=True)
        scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
        for scale, moves in ((1.0, True), (float("inf"), False)):
            before = layer.weight.detach().cpu().clone()
            with torch.autocast("cuda", torch.float16):
                loss = layer(torch.ones(2, 3).to("cuda")).sum()
            scaler.scale(loss * scale).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            assert (not torch.equal(layer.weight.detach().cpu(), before)) == moves


def test_what_is_kept_for_the_backward_pass_counts_each_memory_once() -> None:
    with pretended_cuda.device(values=False):
        x = torch.ones(10, requires_grad=True).to("cuda")
        with pretended_cuda.saved_bytes(torch.nn.Identity()) as saved:
            y = x.exp()
            (y * y.view(2, 5).view(10)).sum()
            assert saved() == 10 * 4
        assert isinstance(y, PretendedTensor)
