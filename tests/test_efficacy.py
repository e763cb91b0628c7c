"""`benchmarks/efficacy.py`: cells that resume, and gains with an interval over sets and seeds."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
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


@pytest.mark.slow
def test_a_campaign_resumes_and_collects_what_is_finished(tmp_path: Path, store_path: Path) -> None:
    settings = tmp_path / "quick.yaml"
    settings.write_text("steps: 1\nframes: 8\nbatch_size: 8\neval_every: 1\n")
    command = [sys.executable, str(EFFICACY), str(store_path), "--out", str(tmp_path / "runs")]
    command += ["--results", str(tmp_path), "--variants", "nano", "--settings", str(settings)]
    for seeds in ("1", "2"):
        subprocess.run([*command, "--seeds", seeds], check=True)
        with (tmp_path / "efficacy.csv").open(newline="") as file:
            kinds = [line["kind"] for line in csv.DictReader(file)]
        assert kinds == ["teacher", *("standalone", "distilled") * int(seeds)]
    summary = json.loads((tmp_path / "efficacy.json").read_text())
    assert summary["students"]["last_e_nano"]["seeds"] == {"synthetic": 2}
    assert not list((tmp_path / "runs").rglob("soft_labels"))
