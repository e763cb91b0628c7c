"""Public checkpoints: every key accounted for, the model recognised, the same logits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from test_models import random_streams

import lastkd
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.models.convert import convert
from lastkd.models.registry import SkeletonModel, build_model


def public(name: str = "last_e_nano", classes: int = 60) -> SkeletonModel:
    """A model whose running statistics and learned graphs aren't the initial ones."""
    torch.manual_seed(0)
    model = build_model(name, classes)
    for buffer in model.buffers():
        if buffer.dim() == 1:
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def saved(content: object, folder: Path) -> Path:
    torch.save(content, folder / "public.pth")
    return folder / "public.pth"


@pytest.mark.parametrize("name", ["last_e_nano", "last_e_large", "last_v2_small"])
@pytest.mark.parametrize("classes", [60, 11])
def test_recognised_from_its_shapes_with_the_same_logits(
    tmp_path: Path, name: str, classes: int
) -> None:
    model = public(name, classes)
    out = tmp_path / "ours.safetensors"
    info = convert(saved({"model_state_dict": model.state_dict()}, tmp_path), out)
    assert (info.architecture.name, info.num_classes, info.layout.name) == (name, classes, "ntu25")
    assert len(info.class_names) == (60 if classes == 60 else 0)
    streams = random_streams(2, 64, 25, 2)
    with torch.no_grad():
        assert torch.equal(lastkd.load_model(out)(streams), model(streams))


def test_a_bare_state_dict_and_one_from_ddp_are_read_too(tmp_path: Path) -> None:
    state = public().state_dict()
    convert(saved(state, tmp_path), tmp_path / "bare.safetensors")
    wrapped = {f"module.{key}": value for key, value in state.items()}
    convert(saved(wrapped, tmp_path), tmp_path / "wrapped.safetensors")
    hashes = {
        read_checkpoint(tmp_path / f"{name}.safetensors").weights_hash
        for name in ("bare", "wrapped")
    }
    assert len(hashes) == 1


def test_a_converted_public_model_keeps_the_average_over_both_bodies(tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    info = convert(saved(public("last_v2_small").state_dict(), tmp_path), out)
    assert info.architecture.body_average == "all"


@pytest.mark.parametrize("key", ["fusion.stem.weight", "stage2.0.gcn.A_1", "stage3.1.gcn_bn.bias"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    state = public().state_dict()
    del state[key]
    with pytest.raises(UserError, match=key):
        convert(saved(state, tmp_path), tmp_path / "ours.safetensors")
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_key_that_is_left_over_is_named(tmp_path: Path) -> None:
    state = public().state_dict() | {"extra.weight": torch.zeros(3)}
    with pytest.raises(UserError, match=r"extra\.weight"):
        convert(saved(state, tmp_path), tmp_path / "ours.safetensors")


def test_a_misshapen_tensor_is_named(tmp_path: Path) -> None:
    state = public().state_dict()
    state["fusion.stem.weight"] = torch.zeros(24, 4, 1, 1)
    with pytest.raises(UserError, match=r"fusion\.stem\.weight"):
        convert(saved(state, tmp_path), tmp_path / "ours.safetensors")


class RunsCode:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.witness),)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    source = saved({"model_state_dict": RunsCode(tmp_path / "ran")}, tmp_path)
    with pytest.raises(UserError, match="could run code"):
        convert(source, tmp_path / "ours.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "public.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"public\.pth"):
        convert(tmp_path / "public.pth", tmp_path / "ours.safetensors")


@pytest.mark.parametrize("content", [{}, [1, 2], {"fc.weight": 3}, {"model_state_dict": {}}])
def test_a_file_without_a_state_dict_is_one_sentence(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=r"public\.pth"):
        convert(saved(content, tmp_path), tmp_path / "ours.safetensors")


def test_a_checkpoint_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    convert(saved(public().state_dict(), tmp_path), out)
    whole = out.read_bytes()
    for damaged in (b"", whole[:50], whole[: len(whole) // 2]):
        out.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            lastkd.load_model(out)
    with pytest.raises(UserError, match="no such checkpoint"):
        lastkd.load_model(tmp_path / "nowhere.safetensors")
    with pytest.raises(UserError, match="lastkd convert"):
        lastkd.load_model(tmp_path / "public.pth")
