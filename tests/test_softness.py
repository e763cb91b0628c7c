"""How soft a teacher's labels are: the measure, its warnings, and `--tau auto` that goes by it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

import lastkd
from lastkd.losses import DKD, KD, LogitStd, Loss
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings
from lastkd.training import soft_labels
from lastkd.training.loop import train
from lastkd.training.softness import (
    TARGET_ENTROPY,
    Softness,
    even_tau,
    gradient_share,
    relative_entropy,
)

K, N = 27, 256


def teacher_logits(scale: float, labels: torch.Tensor) -> torch.Tensor:
    """A teacher that is right, with logits of one shape and any scale.

    Two of `scale` are measured on UTD-MHAD: 2.2 of a teacher with label smoothing 0.1, 6.7 of one
    without.
    """
    torch.manual_seed(0)
    logits = torch.randn(N, K)
    logits[torch.arange(N), labels] += 13
    return logits / logits.std(dim=1).mean() * scale


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    return torch.arange(N) % K


@pytest.fixture(scope="module")
def student() -> torch.Tensor:
    torch.manual_seed(1)
    return 0.1 * torch.randn(N, K)


def test_entropy_is_0_for_one_hot_and_1_for_uniform_labels() -> None:
    assert relative_entropy(torch.zeros(3, K), 1.0) == pytest.approx(1)
    sure = torch.eye(K) * 1000
    assert relative_entropy(sure, 1.0) == pytest.approx(0, abs=1e-6)
    assert relative_entropy(sure, 1e6) == pytest.approx(1)


def test_even_tau_makes_a_sure_and_a_smoothed_teacher_equally_soft(labels: torch.Tensor) -> None:
    smoothed, sure = teacher_logits(2.2, labels), teacher_logits(6.7, labels)
    taus = even_tau(smoothed), even_tau(sure)
    assert taus[1] / taus[0] == pytest.approx(6.7 / 2.2, rel=0.05)
    for logits, tau in zip((smoothed, sure), taus, strict=True):
        assert relative_entropy(logits, tau) == pytest.approx(TARGET_ENTROPY, abs=0.01)


def test_the_share_of_the_gradient_is_that_of_the_formula(
    labels: torch.Tensor, student: torch.Tensor
) -> None:
    alpha, tau = 0.7, 4.0
    logits = teacher_logits(2.2, labels)
    one_hot = torch.eye(K)[labels]
    hard = alpha * (student.softmax(dim=1) - one_hot)
    soft = (1 - alpha) * tau * ((student / tau).softmax(dim=1) - (logits / tau).softmax(dim=1))
    norms = [gradient.norm(dim=1).mean().item() for gradient in (hard, soft)]
    share = gradient_share(KD(alpha=alpha, tau=tau), student, logits, labels)
    assert share == pytest.approx(norms[1] / sum(norms), rel=1e-4)
    assert gradient_share(KD(alpha=1.0), student, logits, labels) == 0
    smooth = alpha * (student.softmax(dim=1) - (0.9 * one_hot + 0.1 / K))
    norms[0] = smooth.norm(dim=1).mean().item()
    share = gradient_share(KD(alpha=alpha, tau=tau), student, logits, labels, label_smoothing=0.1)
    assert share == pytest.approx(norms[1] / sum(norms), rel=1e-4)


@pytest.mark.parametrize(
    ("scale", "loss", "warned"),
    [
        (2.2, KD(alpha=0.5, tau=4.0), []),  # +1.4 points on UTD-MHAD
        (6.7, KD(alpha=0.5, tau=4.0), ["drowns"]),  # -4.9
        (6.7, KD(alpha=0.5, tau=2.0), ["drowns"]),  # -1.4
        (6.7, DKD(), ["drowns"]),  # -8.8
        (6.7, LogitStd(), ["drowns"]),  # -6.3
        (2.2, KD(alpha=0.5, tau=1.0), ["one-hot"]),  # -0.9
        (20.0, KD(alpha=0.5, tau=1.0), ["one-hot"]),
    ],
)
def test_the_measured_cases_are_told_apart(
    labels: torch.Tensor, student: torch.Tensor, scale: float, loss: Loss, warned: list[str]
) -> None:
    logits = teacher_logits(scale, labels)
    measured = Softness.of(loss, student, logits, labels)
    warnings = measured.warnings()
    assert len(warnings) >= len(warned)
    for word in warned:
        assert any(word in text for text in warnings)
    if not warned:
        assert warnings == []
    for text in warnings:
        assert measured.advice in text


@pytest.mark.parametrize(
    ("right", "warned"),
    [
        (0.97, False),  # MSR-Action3D: +0.5 to +5.5 points
        (0.94, True),  # the synthetic set: -10.6 to +7.3
        (0.76, True),  # the synthetic set with subjects who vary more: -7.7 to -0.3
    ],
)
def test_a_teacher_that_has_not_learnt_its_training_clips_is_warned_about(
    labels: torch.Tensor, student: torch.Tensor, right: float, warned: bool
) -> None:
    believed = labels.clone()
    believed[: round((1 - right) * N)] += 1  # what the teacher takes these views for
    measured = Softness.of(KD(alpha=0.5), student, teacher_logits(2.2, believed % K), labels)
    assert measured.agreement == pytest.approx(100 * right, abs=0.3)
    errors = [text for text in measured.warnings() if "teaches its errors" in text]
    assert bool(errors) == warned
    if warned:
        assert f"{100 * (1 - right):.0f} %" in errors[0]


def test_the_advice_of_a_warning_is_not_warned_about(
    labels: torch.Tensor, student: torch.Tensor
) -> None:
    logits = teacher_logits(6.7, labels)
    for loss in (KD(alpha=0.5, tau=4.0), KD(alpha=0.5, tau=1.0), DKD(), LogitStd()):
        words = Softness.of(loss, student, logits, labels).advice.split()
        options = zip(words[::2], words[1::2], strict=True)
        given = {name[2:].replace("-", "_"): float(value) for name, value in options}
        better = Softness.of(loss.model_copy(update=given), student, logits, labels)
        assert better.warnings() == []
        assert better.entropy == pytest.approx(TARGET_ENTROPY, abs=0.02)
        assert better.share == pytest.approx(0.4, abs=0.03)


QUICK = {"epochs": 1, "frames": 8, "batch_size": 16, "log_every": 1, "warmup_epochs": 0}


def test_the_measure_stands_in_the_start_event_and_on_the_terminal(
    tmp_path: Path,
    store_path: Path,
    teacher: Path,
    accelerator: Accelerator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = {"variant": "nano", "teacher_cache": tmp_path / "soft", **QUICK}
    settings = resolve(DistillSettings, asked)
    kept = {"data": store_path, "accelerator": accelerator}
    train(settings, teacher=teacher, folder=tmp_path / "live", **kept)
    measured = Run.read(tmp_path / "live").start["softness"]
    assert measured["tau"] == 4.0
    assert measured["clips"] == 32
    assert 0 < measured["entropy"] <= 1
    assert 0 < measured["share"] < 1
    assert "soft labels at tau 4: top probability" in capsys.readouterr().out
    train(settings, teacher=None, folder=tmp_path / "replayed", **kept)
    assert Run.read(tmp_path / "replayed").start["softness"] == measured


def test_tau_auto_and_the_measure_look_at_the_same_views(
    tmp_path: Path, store_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number of views that is no multiple of the batch leaves no remainder to one of the two."""
    monkeypatch.setattr(soft_labels, "MOST_PREVIEWED", 21)
    looked_at: list[list[int]] = []
    preview = soft_labels.SoftLabels.preview

    def recorded(self: soft_labels.SoftLabels, clips: NDArray[np.int64], *more: Any) -> Tensor:
        looked_at.append(clips.tolist())
        return preview(self, clips, *more)

    monkeypatch.setattr(soft_labels.SoftLabels, "preview", recorded)
    asked = {"data": store_path, "teacher": teacher, "tau": "auto", **QUICK}
    lastkd.distill_model("nano", run=tmp_path / "run", **asked)
    for_tau, for_the_log = looked_at
    assert for_tau == for_the_log
    assert 0 < len(for_tau) <= 21 and len(for_tau) % QUICK["batch_size"] == 0


def test_tau_auto_without_a_standalone_run_goes_by_the_labels(
    tmp_path: Path, store_path: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"data": store_path, "teacher": teacher, "tau": "auto", **QUICK}
    lastkd.distill_model("nano", run=tmp_path / "run", **asked)
    start = Run.read(tmp_path / "run").start
    assert start["settings"]["tau"] == start["softness"]["even_tau"]
    assert "--tau auto:" in capsys.readouterr().out
    lastkd.distill_model("nano", run=tmp_path / "run", **asked)  # a finished run keeps its tau
    assert "the run is finished" in capsys.readouterr().out
    assert not math.isnan(start["softness"]["even_tau"])
