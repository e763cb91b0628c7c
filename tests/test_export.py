"""Exported files, opened in their own runtimes, against the checkpoint they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import untrained
from click.testing import CliRunner

import lastkd
from lastkd.cli.app import cli
from lastkd.data.raw_clip import SingleClip
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.checkpoint import evaluate_checkpoint
from lastkd.export.checkpoint import export_checkpoint
from lastkd.export.formats import ABOUT
from lastkd.models import LastE, LastV2
from lastkd.settings.architecture import LastEArchitecture


def unsettled(model: torch.nn.Module) -> torch.nn.Module:
    """A model in evaluation whose norms and mixing weights are no longer at their first values."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            leaf = name.rsplit(".", 1)[-1]
            if leaf in ("alpha", "stream_weights", "running_mean", "bias"):
                tensor.normal_(std=0.3)
            elif leaf == "running_var":
                tensor.uniform_(0.5, 2)
    return model.eval()


def mib(bodies: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(4)
    return {name: torch.randn(1, 3, 16, 25, bodies) for name in ("joint", "velocity", "bone")}


@pytest.mark.parametrize("variant", ["nano", "small", "base", "large"])
def test_the_convolutional_last_e_gives_the_same_logits(variant: str) -> None:
    model = unsettled(lastkd.build_model(f"last_e_{variant}", 60))
    assert isinstance(model, LastE)
    expected, got = model(mib(2)), model.for_export()(mib(2))
    assert (got - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.mark.parametrize("average", ["all", "present"])
def test_a_last_v2_without_data_dependent_shapes_gives_the_same_logits(average: str) -> None:
    model = unsettled(lastkd.build_model("last_v2_tiny", 60))
    assert isinstance(model, LastV2)
    model.architecture = model.architecture.model_copy(update={"body_average": average})
    streams = mib(2)
    for stream in streams.values():
        stream[..., 1] = 0
    expected = model(streams)
    got = model.for_export()(streams)
    assert (got - expected).abs().max() <= 2e-5 * expected.abs().max()


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LAST-E of three blocks: exporting takes a second a block."""
    little = LastEArchitecture(
        name="little", channels=(16, 32, 48), blocks=(1, 1, 1), attention=(False, True, True)
    )
    path = tmp_path_factory.mktemp("nano") / "a.safetensors"
    return untrained(path, store_path, little, seed=1, settings={"frames": 16})


@pytest.fixture(autouse=True)
def _few_timings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastkd.export.checkpoint.TIMED_RUNS", 3)


@pytest.fixture(scope="module")
def onnx_file(nano: Path, store_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    report = export_checkpoint(nano, data=store_path)
    assert (report.clips, report.same_top1, report.real) == (32, 32, True)
    assert report.largest_difference < 1e-4
    assert report.size_mb == pytest.approx(Path(report.path).stat().st_size / 1e6, abs=1e-3)
    assert report.latency_ms > 0
    return Path(report.path)


def test_onnx_alone_takes_raw_joints_to_the_checkpoints_logits(
    onnx_file: Path, nano: Path, store_path: Path
) -> None:
    """With ONNX Runtime and numpy, as on a board; any length, any place in the room."""
    import onnxruntime

    assert onnx_file.name == "a.onnx"
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.shape[1:], entry.type) == ("joints", [1, 25, 3], "tensor(float)")
    store = ClipStore.open(store_path)
    expected = evaluate_checkpoint(nano, store_path).predictions
    for name, logits in list(zip(expected.names, expected.logits, strict=True))[::5]:
        joints = store.clip(store.names.index(name))[:, :1]
        moved = 0.47 * joints + np.float32([0.3, -0.8, 3.1])
        (out,) = session.run(None, {"joints": moved.astype(np.float32)})
        np.testing.assert_allclose(out[0], logits, atol=1e-3)
        (out,) = session.run(None, {"joints": joints})
        np.testing.assert_allclose(out[0], logits, atol=1e-4)
    about = json.loads(session.get_modelmeta().custom_metadata_map[ABOUT])
    assert about["classes"] == list(store.class_names)
    assert about["joints"] == list(store.layout.joints)
    assert str(Path(lastkd.__file__).parent).encode() not in onnx_file.read_bytes()


@pytest.mark.parametrize(("form", "suffix"), [("torchscript", ".pt"), ("pt2", ".pt2")])
def test_torch_formats_agree_on_real_clips_and_name_their_classes(
    nano: Path, store_path: Path, tmp_path: Path, form: str, suffix: str
) -> None:
    out = tmp_path / f"nano{suffix}"
    words = ["export", nano, "--format", form, "--data", store_path, "--out", out, "--json"]
    result = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    report = json.loads(result.stdout)
    assert (report["same_top1"], report["clips"]) == (32, 32)
    assert report["largest_difference"] < 1e-4
    files = {ABOUT: ""}
    if form == "torchscript":
        torch.jit.load(str(out), _extra_files=files)
    else:
        torch.export.load(out, extra_files=files)
    assert json.loads(files[ABOUT])["classes"] == list(ClipStore.open(store_path).class_names)


def test_int8_states_what_it_costs(nano: Path, store_path: Path, onnx_file: Path) -> None:
    words = ["export", nano, "--int8", "--data", store_path]
    result = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)
    small = nano.with_suffix(".int8.onnx")
    assert "points lost" in result.stdout and "of 32 test clips" in result.stdout
    assert "Collecting" not in result.stdout  # ONNX Runtime's own talk
    import onnx

    weights = [tensor for tensor in onnx.load(small).graph.initializer if tensor.dims]
    in_8_bits = [t for t in weights if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 4]
    assert in_8_bits
    # convolutions of coordinates, and of a channel each, stay as they are
    assert not [t.name for t in in_8_bits if list(t.dims[1:]) in ([3, 1, 1], [1, 1, 1])]
    stems = [t for t in weights if list(t.dims) == [16, 3, 1, 1]]
    assert {t.data_type for t in stems} == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.INT8 not in {
        tensor.data_type for tensor in onnx.load(onnx_file).graph.initializer
    }


def test_a_teacher_of_two_bodies_is_exported_too(store_path: Path, tmp_path: Path) -> None:
    teacher = untrained(tmp_path / "t.safetensors", store_path, seed=5, settings={"frames": 16})
    report = export_checkpoint(teacher, form="torchscript", data=store_path)
    assert (report.bodies, report.same_top1) == (2, report.clips)


def test_without_a_store_the_clips_are_made_up_and_that_is_said(nano: Path, tmp_path: Path) -> None:
    words = ["export", nano, "--format", "torchscript", "--out", tmp_path / "n.pt"]
    text = CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False).stdout
    assert "same top-1 for 8 of 8 made-up clips" in text


def test_a_file_that_differs_from_the_evaluation_is_not_kept(
    nano: Path, store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what comes before the network is compared: here the scale goes wrong."""
    whole = SingleClip.unit_of_length
    monkeypatch.setattr(
        SingleClip, "unit_of_length", lambda self, points, seen: 1.1 * whole(self, points, seen)
    )
    with pytest.raises(UserError, match="not kept, as it differs"):
        export_checkpoint(nano, tmp_path / "n.pt", form="torchscript", data=store_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--int8", "--format", "pt2"), "choose --format onnx"),
        (("--int8",), "name a store with --data"),
        (("--out", "taken.onnx"), "exists already"),
        (("--data", "nowhere", "--out", "o.onnx"), "no such store"),
    ],
)
def test_a_mistake_is_one_sentence(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.onnx").write_text("mine")
    result = CliRunner().invoke(cli, ["export", str(nano), *options])
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception)
    assert (tmp_path / "taken.onnx").read_text() == "mine"
