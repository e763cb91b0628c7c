"""LAST-v2 and LAST-E: sizes, golden logits, and the public defects that ours don't have."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from conftest import shared
from torch import Tensor

import lastkd
from lastkd.data.layouts import get_layout, layout_names
from lastkd.errors import UserError
from lastkd.models import STREAMS, LastE, LastV2, get_architecture, model_names
from lastkd.models.blocks import Weights, subset_adjacency, symmetric_normalised
from lastkd.models.registry import build_model

PARAMETERS = {
    ("last_e_nano", 60): 92_358,
    ("last_e_nano", 120): 98_178,
    ("last_e_small", 60): 177_646,
    ("last_e_small", 120): 185_386,
    ("last_e_base", 60): 363_958,
    ("last_e_base", 120): 373_618,
    ("last_e_large", 60): 644_094,
    ("last_e_large", 120): 655_674,
    ("last_v2_small", 60): 2_938_564,
    ("last_v2_base", 60): 9_217_256,
    ("last_v2_base", 120): 9_240_356,
    ("last_v2_large", 60): 19_920_076,
}


def random_streams(clips: int, frames: int, joints: int, bodies: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (clips, 3, frames, joints, bodies)
    return {name: torch.randn(shape, generator=generator) for name in STREAMS}


def golden_draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).random(shape)


def golden_tensor(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The formula that fills the public design's tensors by their names."""
    leaf, u = key.rsplit(".", maxsplit=1)[-1], golden_draw(key, shape)
    if leaf == "num_batches_tracked":
        return np.zeros(shape)
    if leaf == "running_var":
        return 0.5 + u
    if leaf in ("A", "A_physical", "A_0", "A_1", "A_2"):
        return 0.08 * u
    if leaf == "A_learned":
        return 0.1 * u
    if leaf in ("running_mean", "bias"):
        return 0.2 * (u - 0.5)
    if leaf in ("alpha", "stream_weights"):
        return u - 0.5
    if len(shape) == 1:
        return 0.5 + u
    return (u - 0.5) * 2 * np.sqrt(1 / np.prod(shape[1:]))


@pytest.mark.parametrize(("name", "num_classes"), PARAMETERS)
def test_parameter_count_to_the_unit(name: str, num_classes: int) -> None:
    with torch.device("meta"):
        model = build_model(name, num_classes)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name, num_classes]


@pytest.mark.parametrize("name", ["last_e_nano", "last_v2_small"])
def test_golden_logits_of_the_public_design(name: str) -> None:
    golden = json.loads(shared("golden", f"{name}.json").read_text())
    model = build_model(name, golden["num_classes"]).eval()
    expected = {key: list(tensor.shape) for key, tensor in model.state_dict().items()}
    assert golden["keys"] == expected
    model.load_state_dict(
        {
            key: torch.tensor(golden_tensor(key, tuple(shape)), dtype=model.state_dict()[key].dtype)
            for key, shape in golden["keys"].items()
        }
    )
    streams = {
        s: torch.tensor(2 * golden_draw(f"input.{s}", (2, 3, 64, 25, 2)) - 1, dtype=torch.float32)
        for s in STREAMS
    }
    with torch.no_grad():
        logits = model(streams)
    wanted = torch.tensor(golden["logits"])
    assert (logits - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("layout", layout_names())
@pytest.mark.parametrize("name", ["last_e_nano", "last_v2_tiny"])
def test_models_take_any_layout_and_class_count(name: str, layout: str) -> None:
    model = build_model(name, num_classes=7, layout=layout).eval()
    streams = random_streams(2, 16, get_layout(layout).num_joints, 2)
    assert model(streams).shape == (2, 7)


@pytest.mark.parametrize("name", ["last_e_nano", "last_v2_tiny"])
def test_four_dimensional_streams_are_one_body(name: str) -> None:
    model = build_model(name, 5).eval()
    streams = random_streams(2, 16, 25, 1)
    flat = {key: value[..., 0] for key, value in streams.items()}
    torch.testing.assert_close(model(flat), model(streams))


def test_students_look_at_body_zero_alone() -> None:
    model = build_model("last_e_nano", 5).eval()
    streams = random_streams(2, 16, 25, 2)
    first = {key: value[..., :1] for key, value in streams.items()}
    torch.testing.assert_close(model(first), model(streams))


def test_tiny_is_marked_as_ours_and_the_others_as_public() -> None:
    own = [name for name in model_names() if not get_architecture(name).public]
    assert own == ["last_v2_tiny"]


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(UserError, match="last_e_nano"):
        lastkd.build_model("last_e_nanno", num_classes=60, layout="ntu25")


def test_public_models_average_over_both_bodies_and_ours_over_the_present_ones() -> None:
    public = build_model("last_v2_tiny", 5).eval()
    ours = LastV2(
        public.architecture.model_copy(update={"body_average": "present"}), 5, public.layout
    ).eval()
    ours.load_state_dict(public.state_dict())
    streams = random_streams(3, 16, 25, 2)
    for stream in streams.values():
        stream[0, ..., 1] = 0
    one = {key: value[:1, ..., :1] for key, value in streams.items()}
    counted = ours(streams, torch.tensor([1, 2, 2]))
    torch.testing.assert_close(counted[:1], public(one))
    torch.testing.assert_close(counted[1:], public(streams)[1:])
    torch.testing.assert_close(ours(streams), counted)  # absence seen from the zeros
    assert not torch.allclose(public(streams)[:1], counted[:1])


def test_the_learned_graph_learns() -> None:
    model = build_model("last_v2_tiny", 5)
    model(random_streams(2, 16, 25, 1)).square().sum().backward()
    for block in model.backbone:
        assert block.gcn.A_learned.grad.abs().max() > 0


@pytest.mark.parametrize("layout", layout_names())
def test_fixed_subsets_are_column_normalised_and_keep_directions(layout: str) -> None:
    skeleton = get_layout(layout)
    A = subset_adjacency(skeleton)
    assert torch.equal(A[0], torch.eye(skeleton.num_joints))
    for subset in (1, 2):
        assert int((A[subset] > 0).sum()) == skeleton.num_joints - 1
        sums = A[subset].sum(dim=0)
        assert bool(((sums - 1).abs() < 1e-6).logical_or(sums == 0).all())
    child, parent = skeleton.bones[0]
    assert A[1, child, parent] > 0
    assert A[2, parent, child] > 0
    assert A.max() <= 1


def test_symmetric_normalisation_of_a_zero_matrix_is_zero() -> None:
    # an imported checkpoint has the learned graph at zero, and its message is then exactly zero
    assert torch.equal(symmetric_normalised(torch.zeros(4, 4)), torch.zeros(4, 4))


@pytest.mark.parametrize("name", ["last_e_nano", "last_v2_tiny"])
def test_training_norms_see_the_mixture_of_streams_that_evaluation_describes(name: str) -> None:
    model = build_model(name, 5, dropout=0.0)
    norm = model.fusion.stem_bn if isinstance(model, LastE) else model.backbone[0].gcn_bn
    seen: list[Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    model(random_streams(2, 16, 25, 1))
    assert len(seen) == 1
    assert seen[0].numel() == len(STREAMS) * 2 * norm.num_features * 16 * 25


def test_clip_adjacency_is_finite_for_an_empty_body_in_half_precision() -> None:
    gcn = build_model("last_v2_tiny", 5).backbone[0].gcn.half()
    mean = torch.zeros(1, 1, 25, 3).half()
    assert gcn.clip_adjacency(mean, Weights(gcn, torch.float16)).isfinite().all()
