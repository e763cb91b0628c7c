"""`benchmarks/efficacy.py`: cells that resume, and gains with an interval over sets and seeds."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EFFICACY = Path(__file__).resolve().parents[1] / "benchmarks" / "efficacy.py"


@pytest.fixture(scope="module")
def efficacy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("efficacy", EFFICACY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def row(name: str, kind: str, seed: int, top1: float, model: str = "last_e_nano") -> dict[str, Any]:
    return {"set": name, "model": model, "kind": kind, "seed": seed, "top1": top1}


def test_gains_are_of_the_same_set_and_seed(efficacy: ModuleType) -> None:
    rows = [row("a", "teacher", 0, 95, "last_v2_tiny"), row("b", "teacher", 0, 90, "last_v2_tiny")]
    rows += [row("a", "standalone", 0, 85), row("a", "distilled", 0, 90)]
    rows += [row("a", "standalone", 1, 87), row("a", "distilled", 1, 90)]
    rows += [row("b", "standalone", 0, 80), row("b", "distilled", 0, 78)]
    rows += [row("b", "standalone", 1, 80)]  # whose counterpart isn't finished
    nano = efficacy.summary(rows)["students"]["last_e_nano"]
    assert nano["sets"] == {"a": 4.0, "b": -2.0}
    assert nano["seeds"] == {"a": 2, "b": 1}
    assert nano["mean_gain"] == 1.0
    assert nano["cells_below_minus_1"] == 1
    low, high = nano["interval_95"]
    assert -2.0 <= low < 1.0 < high <= 5.0


def test_one_set_and_seed_give_an_interval_without_width(efficacy: ModuleType) -> None:
    assert efficacy.interval([[2.0]]) == [2.0, 2.0]


def test_lines_of_earlier_campaigns_stay_beside_new_ones(
    efficacy: ModuleType, tmp_path: Path
) -> None:
    figures = {"top5": 99.5, "mean_class": 80.25, "clips": 100, "steps": 7, "frames": 16}
    early = [row("a", "teacher", 0, 95.5, "last_v2_tiny"), row("a", "standalone", 0, 80.5)]
    efficacy.write([line | figures for line in early], tmp_path)
    late = [row("a", "standalone", 0, 81.5), row("b", "standalone", 0, 70.5)]
    efficacy.write([line | figures for line in late], tmp_path)
    kept = efficacy.read(tmp_path / "efficacy.csv")
    assert [(line["set"], line["kind"], line["top1"]) for line in kept] == [
        ("a", "teacher", 95.5),
        ("a", "standalone", 81.5),
        ("b", "standalone", 70.5),
    ]
    assert kept[0] == early[0] | figures


@pytest.mark.slow
def test_a_campaign_resumes_and_takes_up_seeds_and_variants(
    efficacy: ModuleType, tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "quick.yaml"
    settings.write_text("steps: 1\nframes: 8\nbatch_size: 8\neval_every: 1\n")
    command = [str(EFFICACY), str(store_path), "--out", str(tmp_path / "runs")]
    command += ["--results", str(tmp_path), "--settings", str(settings)]
    command += ["--teacher-model", "last_v2_tiny"]

    def kinds_after(*more: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        efficacy.main()
        with (tmp_path / "efficacy.csv").open(newline="") as file:
            return [line["kind"] for line in csv.DictReader(file)]

    assert kinds_after("--teachers") == ["teacher"]
    pair = ("standalone", "distilled")
    assert kinds_after("--variants", "nano", "--seeds", "1") == ["teacher", *pair]
    assert kinds_after("--variants", "nano,small", "--seeds", "2") == ["teacher", *pair * 4]
    summary = json.loads((tmp_path / "efficacy.json").read_text())
    assert summary["students"]["last_e_small"]["seeds"] == {"synthetic": 2}
