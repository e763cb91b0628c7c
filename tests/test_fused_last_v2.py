"""The fused teacher gives the logits of the plain LAST-v2, shortcut by shortcut."""

from __future__ import annotations

from typing import Literal

import pretended_cuda
import pytest
import torch
from plain_last_v2 import plain_last_v2
from torch import Tensor, nn

from lastkd.models import LastV2, LastV2Architecture, get_architecture
from lastkd.models.registry import build_model

NAMES = ("joint", "velocity", "bone")
SIZES = ("tiny", "small", "base", "large")
LAYOUTS = ("ntu25", "uiprmd22", "ucla20", "coco17", "sbu15")
BODIES = torch.tensor([1, 2, 0])


def trained(size: str, layout: str = "ntu25", average: Literal["all", "present"] = "all") -> LastV2:
    """A model whose every tensor matters: norms, gates and learned graphs off their beginnings."""
    torch.manual_seed(5)
    architecture = get_architecture(f"last_v2_{size}")
    assert isinstance(architecture, LastV2Architecture)
    model = build_model(architecture.model_copy(update={"body_average": average}), 9, layout)
    assert isinstance(model, LastV2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("alpha"):
                parameter.normal_(std=0.3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.2)
    return model.eval()


def mib(joints: int, bodies: Tensor = BODIES, frames: int = 10, M: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(6)
    there = (torch.arange(M) < bodies[:, None])[:, None, None, None]
    return {name: torch.randn(len(bodies), 3, frames, joints, M) * there for name in NAMES}


def assert_equal(fused: Tensor, plain: Tensor) -> None:
    assert fused.shape == plain.shape
    assert (fused - plain).abs().max() <= 1e-5 * plain.abs().max()


@pytest.mark.parametrize(
    ("size", "layout"),
    [*(("tiny", layout) for layout in LAYOUTS), *((size, "ntu25") for size in SIZES[1:])],
)
@torch.no_grad()
def test_logits_are_those_of_the_plain_model(size: str, layout: str) -> None:
    model = trained(size, layout)
    streams = mib(model.layout.num_joints, frames=5)
    for average in ("all", "present"):
        model.architecture = model.architecture.model_copy(update={"body_average": average})
        expected = plain_last_v2(model, streams, BODIES)
        assert_equal(model(streams, BODIES), expected)
        assert_equal(model.for_inference()(streams, BODIES), expected)


@pretended_cuda.needed
@pytest.mark.parametrize("frames", [1, 8, 15])
@pytest.mark.parametrize("identity", [True, False])
@torch.no_grad()
def test_a_gpu_that_adds_the_residual_within_a_product_gives_the_same(
    frames: int, identity: bool
) -> None:
    """Also where a checkpoint's first subset isn't the identity, by which it has `x` at hand."""
    model = trained("tiny")
    if not identity:
        model.A[0] = torch.rand_like(model.A[0]) / 25  # type: ignore[index]
    streams = mib(25, frames=frames)
    expected = plain_last_v2(model, streams, BODIES)
    assert_equal(model.for_inference()(streams, BODIES), expected)
    with pretended_cuda.device():
        fused = model.for_inference().to("cuda")
        logits = fused({name: x.to("cuda") for name, x in streams.items()}, BODIES)
        assert_equal(logits.cpu(), expected)


@pytest.mark.parametrize("count", [0, 1, 2])
@torch.no_grad()
def test_batches_of_no_one_or_two_bodies_alone(count: int) -> None:
    bodies = torch.full((3,), count)
    for average in ("all", "present"):
        model = trained("tiny", average=average)  # type: ignore[arg-type]
        streams = mib(25, bodies)
        assert_equal(model.for_inference()(streams, bodies), model(streams, bodies))


@torch.no_grad()
def test_a_public_model_is_given_its_absent_bodies_without_computing_them() -> None:
    model = trained("tiny")
    fused = model.for_inference()
    passes: list[int] = []
    fused.blocks[0].register_forward_hook(lambda _m, x, _y: passes.append(x[0].shape[1]))
    bodies = torch.tensor([1, 1, 1])
    for frames in (10, 10, 12):  # the constant is made once for a length
        streams = mib(25, bodies, frames)
        assert_equal(fused(streams, bodies), model(streams, bodies))
    assert sum(passes) == 3 * (3 * 3) + 2 * 3


@torch.no_grad()
def test_bodies_are_told_by_their_count_not_by_zeros() -> None:
    model = trained("tiny", average="present")
    bodies = torch.tensor([1, 2])
    streams = mib(25, bodies)
    streams["joint"][1, ..., 1] = 0  # a body that is there, and stands in the origin
    fused = model.for_inference()
    assert_equal(fused(streams, bodies), model(streams, bodies))
    assert not torch.allclose(fused(streams, bodies)[1], fused(streams, torch.tensor([1, 1]))[1])


@torch.no_grad()
def test_dead_terms_are_left_out_and_the_logits_stay() -> None:
    model = trained("tiny")
    streams = mib(25)
    whole = model.for_inference()
    for name, parameter in model.named_parameters():
        if name.endswith(("alpha", "A_learned")):
            parameter.zero_()  # as in every public checkpoint, and before the first step
    fused = model.for_inference()
    assert_equal(fused(streams, BODIES), model(streams, BODIES))
    assert fused.blocks[0].graph.weight.shape[1] < whole.blocks[0].graph.weight.shape[1]  # type: ignore[union-attr]


@torch.no_grad()
def test_a_clips_logits_do_not_depend_on_its_company() -> None:
    fused = trained("tiny").for_inference()
    streams = mib(25)
    together = fused(streams, BODIES)
    for clip in range(len(BODIES)):
        alone = {name: x[clip : clip + 1] for name, x in streams.items()}
        assert torch.equal(fused(alone, BODIES[clip : clip + 1])[0], together[clip])


@torch.no_grad()
def test_one_body_without_a_body_axis() -> None:
    model = trained("tiny")
    streams = {name: x[..., 0] for name, x in mib(25, torch.tensor([1, 1])).items()}
    bodies = torch.tensor([1, 1])
    assert_equal(model.for_inference()(streams, bodies), model(streams, bodies))
