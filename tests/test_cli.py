"""The `lastkd` command as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import shared

from lastkd.cli.app import cli
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.models.registry import build_model


def lastkd(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=True)


def test_help_names_every_command() -> None:
    text = lastkd("--help").output
    for command in ("prepare", "info", "convert", "evaluate", "demo"):
        assert command in text
        assert lastkd(command, "--help").exit_code == 0


def test_prepare_then_info(tmp_path: Path) -> None:
    out = tmp_path / "store"
    result = lastkd("prepare", "synthetic", "--out", out, "--subjects", 2, "--repetitions", 1)
    assert result.exit_code == 0, result.output
    about = json.loads(lastkd("info", out, "--json").output)
    assert {"clips", "classes", "splits", "frames", "two_body_share", "layout", "source"} <= (
        about.keys()
    )
    assert (about["clips"], about["splits"]["xsub"]) == (32, {"train": 16, "test": 16})
    assert set(about["frames"]) == {"min", "median", "max"}
    assert "32 clips, 16 classes" in lastkd("info", out).output


def test_the_raw_way_gives_the_same_clips_as_the_direct_one(tmp_path: Path) -> None:
    size = ("--subjects", 2, "--repetitions", 1)
    raw, direct, read = tmp_path / "raw", tmp_path / "direct", tmp_path / "read"
    assert lastkd("prepare", "synthetic", "--out", raw, *size, "--as-skeleton-files").exit_code == 0
    assert len(list(raw.glob("*.skeleton"))) == 32
    assert lastkd("prepare", "synthetic", "--out", direct, *size).exit_code == 0
    assert lastkd("prepare", raw, "--out", read).exit_code == 0
    straight, written = ClipStore.open(direct), ClipStore.open(read)
    assert sorted(straight.names) == sorted(written.names)
    for index, name in enumerate(straight.names):
        other = written.names.index(name)
        assert straight.labels[index] == written.labels[other]
        np.testing.assert_allclose(straight.clip(index), written.clip(other), atol=1e-5)


def test_the_six_real_files(tmp_path: Path) -> None:
    source = shared("data", "ntu_samples")
    assert lastkd("prepare", source, "--out", tmp_path / "store").exit_code == 0
    store = ClipStore.open(tmp_path / "store")
    assert sorted(store.frames.tolist()) == [70, 71, 82, 100, 103, 124]
    assert sorted(store.bodies.tolist()) == [1, 1, 1, 1, 1, 2]


def test_the_real_pickle(tmp_path: Path) -> None:
    source = shared("data", "uiprmd_3d.pkl")
    result = lastkd("prepare", source, "--out", tmp_path / "store", "--layout", "uiprmd22")
    assert result.exit_code == 0, result.output
    about = json.loads(lastkd("info", tmp_path / "store", "--json").output)
    assert about["splits"] == {"xsub": {"train": 1000, "test": 1000}}
    assert about["frames"] == {"min": 28, "median": 72.0, "max": 179}
    assert (about["classes"], about["two_body_share"]) == (20, 0.0)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("prepare", "nowhere", "--out", "s"), "no such file or folder"),
        (("prepare", "synthetic", "--out", "."), "exists already"),
        (("info", "nowhere"), "lastkd prepare"),
        (("convert", "nowhere.pth", "o.safetensors"), "no such file"),
        (("convert", "nowhere.pth", "o.bin"), ".safetensors"),
        (("evaluate", "nowhere.safetensors", "--data", "nowhere"), "nowhere"),
        (("prepare", ".", "--out", "s", "--seed", "3"), "go with the source synthetic"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = lastkd(*words)
    assert isinstance(result.exception, UserError)
    assert hint in str(result.exception)
    assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_convert_says_what_it_recognised(tmp_path: Path) -> None:
    torch.save(build_model("last_e_small", 120).state_dict(), tmp_path / "public.pth")
    out = tmp_path / "ours.safetensors"
    result = lastkd("convert", tmp_path / "public.pth", out)
    assert result.exit_code == 0, result.output
    assert "last_e_small, 120 classes, layout ntu25" in result.output
    assert isinstance(lastkd("convert", tmp_path / "public.pth", out).exception, UserError)
