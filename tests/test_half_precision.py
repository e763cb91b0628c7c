"""Float16 on a GPU: nothing overflows, and logits stay close to those of float32.

Half precision itself is computed on the CPU; what needs a device runs on a pretended one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pretended_cuda
import pytest
import torch
from checkpoints import untrained
from torch import Tensor, nn

import lastkd
from lastkd.data.store.clip_store import ClipStore
from lastkd.models import LastV2, get_architecture
from lastkd.models.last_v2_layers import LinearAttention
from lastkd.models.linear_attention import from_the_left, from_the_right
from lastkd.models.registry import SkeletonModel
from lastkd.training.teacher import FrozenTeacher

NAMES = ("joint", "velocity", "bone")


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The public design's formula."""
    numerator = q @ (k.transpose(1, 2) @ v)
    return numerator / (q @ k.sum(dim=1).unsqueeze(-1)).clamp(min=1e-4)


def features(spread: float, *, frames: int = 64, channels: int = 48) -> list[Tensor]:
    """q and k after the feature map, and v, all from values of this standard deviation."""
    torch.manual_seed(0)
    q, k, v = spread * torch.randn(3, 10, frames, channels) + spread / 2
    return [nn.functional.elu(q) + 1, nn.functional.elu(k) + 1, v]


ORDERS = [from_the_left, from_the_right]
Order = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("spread", [0.05, 1.3, 20.0])
def test_linear_attention_is_that_of_the_public_design_in_float32(
    order: Order, spread: float
) -> None:
    q, k, v = features(spread)
    expected = plain_attention(q.double(), k.double(), v.double())
    assert (order(q, k, v) - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("spread", [0.05, 1.3, 6.0, 20.0])
def test_linear_attention_in_half_stays_finite_and_close(order: Order, spread: float) -> None:
    q, k, v = features(spread)
    expected = plain_attention(q, k, v)
    got = order(q.half(), k.half(), v.half()).float()
    assert got.isfinite().all()
    assert (got - expected).abs().max() <= 3e-3 * expected.abs().max()


@pytest.mark.parametrize("order", ORDERS)
def test_features_that_vanish_give_zero_and_no_nan(order: Order) -> None:
    q, k, v = (x.half() for x in features(1.0))
    assert torch.equal(order(q, torch.zeros_like(k), v), torch.zeros_like(v))


def settled(name: str) -> SkeletonModel:
    """A model whose running statistics fit its activations, as after training."""
    torch.manual_seed(0)
    model = lastkd.build_model(get_architecture(name).for_training(), 60, dropout=0.0)
    with torch.no_grad():
        for _ in range(20):
            model(streams(4))
    return model.eval()


def streams(clips: int) -> dict[str, Tensor]:
    return {name: torch.randn(clips, 3, 16, 25, 1) for name in NAMES}


@torch.no_grad()
def test_a_teacher_in_half_gives_the_logits_of_float32() -> None:
    model = settled("last_v2_small")
    clips, bodies = streams(4), torch.ones(4, dtype=torch.int64)
    expected = model(clips, bodies)
    halves = {name: stream.half() for name, stream in clips.items()}
    for half in (model.for_inference().half(), model.half()):
        logits = half(halves, bodies).float()
        assert (logits - expected).abs().max() <= 2e-3 * expected.abs().max()


@torch.no_grad()
def test_a_teacher_with_wide_queries_stays_finite_in_half() -> None:
    model = settled("last_v2_small")
    assert isinstance(model, LastV2)
    for module in model.modules():
        if isinstance(module, LinearAttention):
            seen: list[Tensor] = []
            hook = module.register_forward_pre_hook(lambda _m, x, s=seen: s.append(x[0]))
            model(streams(2))
            hook.remove()
            module.qkv.weight.mul_(20 / module.qkv(seen[0]).std())
    clips, bodies = streams(4), torch.ones(4, dtype=torch.int64)
    halves = {name: stream.half() for name, stream in clips.items()}
    for half in (model.for_inference().half(), model.half()):
        assert half(halves, bodies).isfinite().all()


@pretended_cuda.needed
def test_a_teacher_of_ones_own_runs_under_autocast(store_path: Path) -> None:
    """Its layers in float16, a float32 constant inside it as it stands."""
    with pretended_cuda.device():
        store = ClipStore.open(store_path)
        teacher = FrozenTeacher(Path("own_models:scaled"), store, torch.device("cuda", 0))
        clips = {name: stream.to("cuda") for name, stream in streams(2).items()}
        logits = teacher(clips, torch.ones(2, dtype=torch.int64))
        assert logits.dtype == torch.float32
        assert logits.device.type == "cuda"


@pretended_cuda.needed
@pytest.mark.parametrize("name", ["last_v2_tiny", "last_e_nano"])
def test_a_teacher_of_lastkds_own_runs_in_half(name: str, store_path: Path, tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path / "t.safetensors", store_path, name)
    store = ClipStore.open(store_path)
    clips, bodies = streams(2), torch.ones(2, dtype=torch.int64)
    expected = FrozenTeacher(checkpoint, store, torch.device("cpu"))(clips, bodies)
    with pretended_cuda.device() as counts:
        teacher = FrozenTeacher(checkpoint, store, torch.device("cuda", 0))
        moved = {key: stream.to("cuda") for key, stream in clips.items()}
        counts.reset()
        logits = teacher(moved, bodies)
        assert counts.launches.total() > 0
        assert not counts.waits
        logits = logits.cpu()
    assert (logits - expected).abs().max() <= 3e-3 * expected.abs().max()


@pretended_cuda.needed
@pytest.mark.parametrize("name", ["last_e_nano", "last_e_small"])
def test_a_students_gradients_under_autocast_are_those_of_float32(name: str) -> None:
    """Its features stay in float16 from the stem to the logits, its gradients are float32."""
    torch.manual_seed(0)
    model = lastkd.build_model(name, 16, dropout=0.0)
    clips, labels = streams(4), torch.tensor([1, 2, 3, 4])
    nn.functional.cross_entropy(model(clips), labels).backward()
    expected = {key: parameter.grad for key, parameter in model.named_parameters()}
    model.zero_grad()
    with pretended_cuda.device() as counts:
        model.to("cuda")
        moved = {key: stream.to("cuda") for key, stream in clips.items()}
        answers = labels.to("cuda")
        counts.reset()
        with torch.autocast("cuda", torch.float16):
            logits = model(moved)
        assert logits.dtype == torch.float16
        loss = nn.functional.cross_entropy(logits.float(), answers)
        (256 * loss).backward()
        assert not counts.waits
        grads = {key: parameter.grad for key, parameter in model.named_parameters()}
        assert all(grad is not None and grad.dtype == torch.float32 for grad in grads.values())
        got = {key: grad.cpu() / 256 for key, grad in grads.items() if grad is not None}
    norm = torch.stack([grad.norm() for grad in expected.values() if grad is not None]).norm()
    apart = torch.stack([(got[key] - grad).norm() for key, grad in expected.items()]).norm()
    assert apart <= 0.05 * norm
