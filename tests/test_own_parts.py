"""Parts added from outside: a model family in two files of code, an export format in one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import untrained
from click.testing import CliRunner

import lastkd
from lastkd.cli.app import cli
from lastkd.data.store.clip_store import ClipStore
from lastkd.export.checkpoint import export_checkpoint
from lastkd.models.checkpoint import read_info
from lastkd.settings import architecture
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training.optimiser import make_optimizer
from lastkd.training.teacher import FrozenTeacher

FAMILY = """
import torch
from torch import nn

from lastkd.models.registry import SkeletonModel
from lastkd.settings.architecture import STREAMS, Architecture


class PooledArchitecture(Architecture):
    implementation = "pooled_family:Pooled"

    family: str = "pooled"
    width: int = 16


class Pooled(SkeletonModel):
    max_bodies = 1
    undecayed = ("scale",)

    def __init__(self, architecture, num_classes, layout):
        super().__init__(architecture, num_classes, layout)
        self.scale = nn.Parameter(torch.ones(3, layout.num_joints))
        self.mix = nn.Linear(9 * layout.num_joints, architecture.width)
        self.fc = nn.Linear(architecture.width, num_classes)

    def forward(self, streams, bodies=None):
        x = torch.cat([streams[s][..., 0].mean(dim=2) * self.scale for s in STREAMS], dim=1)
        return self.fc(self.mix(x.flatten(1)).relu())

    def for_inference(self):
        return FusedPooled(self)

    def for_export(self):
        return FusedPooled(self)


class FusedPooled(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, streams, bodies=None):
        return self.model(streams)
"""

FORMAT = """
import json

import torch

from lastkd.export.formats import ABOUT, TorchScript


class Packed(TorchScript):
    name = "packed"
    suffix = ".packed"
    help = "a trace under another name"

    def write(self, classifier, example, path, about):
        super().write(classifier, example, path, about | {"packed": True})
"""


@pytest.fixture
def pooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> architecture.Architecture:
    """A family of one module and one line of the table, as a contributor would add it."""
    (tmp_path / "pooled_family.py").write_text(FAMILY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pooled_family", raising=False)
    from pooled_family import PooledArchitecture

    monkeypatch.setitem(architecture.FAMILIES, "pooled", PooledArchitecture)
    return PooledArchitecture(name="pooled_16")


def test_a_model_family_brings_what_is_asked_of_it(
    pooled: architecture.Architecture, store_path: Path, tmp_path: Path
) -> None:
    checkpoint = untrained(tmp_path / "pooled.safetensors", store_path, pooled)
    info = read_info(checkpoint)
    assert (info.architecture.family, info.architecture.width) == ("pooled", 16)  # type: ignore[attr-defined]

    model = lastkd.load_model(checkpoint)
    optimizer = make_optimizer(model, resolve(TrainSettings, {"model": "last_e_nano"}))
    decayed, spared = (group["params"] for group in optimizer.param_groups)
    assert any(parameter is model.scale for parameter in spared)
    assert any(parameter is model.mix.weight for parameter in decayed)

    store = ClipStore.open(store_path)
    teacher = FrozenTeacher(checkpoint, store, torch.device("cpu"))
    streams = {name: torch.randn(2, 3, 8, 25, 2) for name in ("joint", "velocity", "bone")}
    logits = teacher(streams, torch.tensor([1, 2]))
    torch.testing.assert_close(logits, model(streams))

    report = export_checkpoint(checkpoint, form="torchscript", data=store_path)
    assert (report.bodies, report.same_top1) == (1, report.clips)


def test_an_export_format_is_one_class(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "packed_format.py").write_text(FORMAT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lastkd.export.checkpoint.TIMED_RUNS", 2)
    teacher = untrained(tmp_path / "t.safetensors", store_path, settings={"frames": 16})
    words = ["export", teacher, "--format", "packed_format:Packed", "--data", store_path, "--json"]
    result = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    report = json.loads(result.stdout)
    assert (report["format"], report["same_top1"]) == ("packed", report["clips"])
    files = {"lastkd.json": ""}
    torch.jit.load(str(tmp_path / "t.packed"), _extra_files=files)
    assert json.loads(files["lastkd.json"])["packed"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("onxx", "did you mean 'onnx'"),
        ("nowhere:Packed", "there is no module 'nowhere'"),
        ("json:JSONDecoder", "no subclass of lastkd.export.formats.ExportFormat"),
    ],
)
def test_a_format_that_does_not_exist_is_one_sentence(
    store_path: Path, tmp_path: Path, name: str, words: str
) -> None:
    teacher = untrained(tmp_path / "t.safetensors", store_path)
    result = CliRunner().invoke(cli, ["export", str(teacher), "--format", name])
    assert isinstance(result.exception, lastkd.errors.UserError)
    assert words in str(result.exception)
