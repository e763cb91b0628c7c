"""What lastkd 0.1.0 wrote opens, resumes and ends as it would have (fixtures/ac0968f/README.md)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from lastkd.cli.app import cli
from lastkd.data.store.clip_store import ClipStore
from lastkd.evaluation.checkpoint import evaluate_checkpoint
from lastkd.models.checkpoint import read_checkpoint
from lastkd.runs.log import Run

FIXTURES = Path(__file__).parent / "fixtures" / "ac0968f"
ROOT = Path(__file__).parent.parent
SETTINGS = [
    *("--variant", "nano", "--data", "store", "--frames", 16, "--batch-size", 5, "--log-every", 1),
    *("--warmup-epochs", 1, "--lr", 0.05, "--seed", 7),
]


def unpack(folder: Path) -> Path:
    with tarfile.open(FIXTURES / "runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def distil(folder: Path, *options: object) -> str:
    """Runs `lastkd.distill` in a folder, on one thread, as the runs were made."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "lastkd.distill", *map(str, [*SETTINGS, *options])],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lastkd(*words: object) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def digest(checkpoint: Path) -> str:
    """SHA-256 over the tensors of a file by name, whatever its metadata says."""
    sha = hashlib.sha256()
    with safe_open(checkpoint, "np") as file:
        for name in sorted(file.keys()):
            sha.update(name.encode())
            sha.update(file.get_tensor(name).tobytes())
    return sha.hexdigest()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked runs, which the tests only read."""
    return unpack(tmp_path_factory.mktemp("earlier"))


@pytest.fixture(scope="module")
def expected(earlier: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((earlier / "expected.json").read_text(encoding="utf-8"))
    return content


def resume(folder: Path) -> Path:
    """Resumes the stopped run among the unpacked ones to its end."""
    text = distil(
        folder,
        *("--epochs", 3, "--run", "student"),
        *("--teacher", "teacher/last.safetensors", "--teacher-cache", "cache"),
    )
    assert "after step 5 of 9" in text
    return folder


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked runs, of which the stopped one was resumed to its end."""
    return resume(unpack(tmp_path_factory.mktemp("resumed")))


def test_the_store_opens_with_the_same_content(earlier: Path, expected: dict[str, Any]) -> None:
    store = ClipStore.open(earlier / "store")
    assert store.content_hash == expected["content_hash"]
    assert [len(part) for part in store.split("xsub")] == [16, 16]


def test_a_checkpoint_gives_the_same_logits(earlier: Path, expected: dict[str, Any]) -> None:
    evaluated = evaluate_checkpoint(earlier / "student" / "last.safetensors", earlier / "store")
    logits = np.array(expected["logits"], np.float32)
    np.testing.assert_allclose(evaluated.predictions.logits, logits, atol=1e-4 * abs(logits).max())


def test_a_stopped_distillation_resumes_to_the_same_curve(
    resumed: Path, expected: dict[str, Any]
) -> None:
    run = Run.read(resumed / "student")
    assert run.finished
    for before in expected["curve"]:
        after = (run.steps if before["event"] == "step" else run.epochs)[before[before["event"]]]
        for key, value in before.items():
            if isinstance(value, float):
                soft = after.get("kl", after.get("soft")) if key == "kl" else after[key]
                assert soft == pytest.approx(value, rel=1e-3, abs=1e-6), (before, key)


def test_two_resumptions_end_in_the_same_bytes(resumed: Path, tmp_path: Path) -> None:
    """The release that began the run rounded elsewhere; each release by itself is exact."""
    again = resume(unpack(tmp_path))
    for name in ("student/last.safetensors", "student/best.safetensors"):
        assert digest(resumed / name) == digest(again / name)
    for path in sorted((resumed / "cache").glob("*.safetensors")):
        assert digest(path) == digest(again / "cache" / path.name)


def test_soft_labels_that_were_cached_stay_as_they_were(
    earlier: Path, resumed: Path, expected: dict[str, Any]
) -> None:
    cached = sorted((earlier / "cache").glob("*.safetensors"))
    assert cached
    for path in cached:
        assert digest(resumed / "cache" / path.name) == expected["cache"][path.name]


def test_a_teacher_cache_is_replayed_without_its_teacher(tmp_path: Path) -> None:
    folder = unpack(tmp_path)
    text = distil(folder, "--epochs", 1, "--teacher-cache", "cache", "--run", "replayed")
    assert "1 of 1 epochs in cache" in text
    assert Run.read(folder / "replayed").finished


def test_checkpoints_say_what_they_said(earlier: Path) -> None:
    teacher = read_checkpoint(earlier / "teacher" / "best.safetensors").info
    assert (teacher.architecture.name, teacher.epoch) == ("last_v2_tiny", 1)
    student = read_checkpoint(earlier / "student" / "last.safetensors").info
    assert (student.architecture.name, student.num_classes) == ("last_e_nano", 16)
    assert student.chosen_by == "the last epoch"
    assert student.settings["tau"] == 4


def test_the_runs_are_monitored(earlier: Path) -> None:
    screen = lastkd("monitor", earlier / "teacher", earlier / "student", "--once", "--ascii")
    assert "teacher" in screen and "student" in screen
    assert "stopped" in screen


def test_the_runs_are_reported(resumed: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    assert "2 of 2 runs finished" in lastkd("report", resumed, "--out", report, "--no-figures")
    rows = (report / "table.csv").read_text(encoding="utf-8").splitlines()
    (nano,) = [row for row in rows if "last_e_nano" in row]
    assert "88090" in nano.replace(",", "")


@pytest.mark.parametrize("checkpoint", ["teacher/last.safetensors", "student/last.safetensors"])
def test_a_checkpoint_is_exported(earlier: Path, tmp_path: Path, checkpoint: str) -> None:
    out = tmp_path / "model.pt"
    lastkd("export", earlier / checkpoint, "--format", "torchscript", "--out", out)
    assert out.stat().st_size > 0
