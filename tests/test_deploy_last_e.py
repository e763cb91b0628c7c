"""The lean LAST-E computes what the plain formulation does, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from plain_last_e import PlainLastE
from torch import Tensor, nn

import lastkd
from lastkd.models import LastE
from lastkd.models.blocks import Dropout

VARIANTS = ("nano", "small", "base", "large")
LAYOUTS = ("ntu25", "uiprmd22", "ucla20", "coco17", "sbu15")


def pair(variant: str, layout: str, *, dropout: float | None = 0.0) -> tuple[LastE, PlainLastE]:
    torch.manual_seed(1)
    lean = lastkd.build_model(f"last_e_{variant}", 7, layout, dropout=dropout)
    assert isinstance(lean, LastE)
    with torch.no_grad():
        for name, parameter in lean.named_parameters():
            if name.rsplit(".", 1)[-1] in ("alpha", "stream_weights"):
                parameter.normal_(std=0.5)  # at their initial zeros they would prove little
    plain = PlainLastE(lean)
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return lean, plain


def mib(
    joints: int, *, frames: int, bodies: int | None = 2, dtype: torch.dtype
) -> dict[str, Tensor]:
    shape = (4, 3, frames, joints) + (() if bodies is None else (bodies,))
    torch.manual_seed(2)
    return {name: torch.randn(shape, dtype=dtype) for name in ("joint", "velocity", "bone")}


def gradients(model: nn.Module, streams: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    logits = model.train()(streams)
    F.cross_entropy(logits, torch.arange(4)).backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_gradients_are_those_of_the_plain_formulation(
    variant: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At a ReLU's kink the last bit of a feature decides over a whole gradient, so that float32
    # gradients of one formulation are 1e-3 from their own float64 ones; without kinks 1e-5 holds.
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: F.softplus(x))
    lean, plain = pair(variant, layout)
    streams = mib(lean.layout.num_joints, frames=9, dtype=torch.float32)
    (logits, grads), (expected, oracle) = gradients(lean, streams), gradients(plain, streams)
    assert grads.keys() == oracle.keys()
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    largest = max(grad.abs().max() for grad in oracle.values())
    for name, grad in grads.items():
        assert (grad - oracle[name]).abs().max() <= 1e-5 * largest, name
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(lean.get_buffer(name), buffer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_float64_nothing_but_rounding_is_left(variant: str) -> None:
    lean, plain = (model.double() for model in pair(variant, "ntu25"))
    streams = mib(25, frames=8, dtype=torch.float64)
    (logits, grads), (expected, oracle) = gradients(lean, streams), gradients(plain, streams)
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    for name, grad in grads.items():
        torch.testing.assert_close(grad, oracle[name], rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("frames", [1, 2, 9, 64])
def test_evaluation_agrees_at_any_length_and_with_one_body(frames: int) -> None:
    lean, plain = (model.eval() for model in pair("nano", "ntu25"))
    streams = mib(25, frames=frames, bodies=None, dtype=torch.float32)
    torch.testing.assert_close(lean(streams), plain(streams), rtol=1e-5, atol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    layer, x = Dropout(0.1).train(), torch.ones(10, 1001)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    assert torch.equal(y, layer(x))
    assert (y == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)
    assert not torch.equal(y, layer(x))
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)
    assert not Dropout(1.0).train()(x).any()


def test_neighbouring_elements_are_dropped_independently() -> None:
    torch.manual_seed(3)
    kept = (Dropout(0.5).train()(torch.ones(40_000)) > 0).float()
    for lag in range(1, 9):
        together = (kept[lag:] * kept[:-lag]).mean()
        assert together == pytest.approx(0.25, abs=0.02)
