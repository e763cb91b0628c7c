"""A sample of `benchmarks/fuzz.py`: mutated inputs end in a result or in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "benchmarks" / "fuzz.py"
LIGHT = ("skeleton", "zip", "npz", "last-arrays", "pyskl", "settings", "layout", "events")
POSES = ("openpose", "alphapose", "mmpose", "ultralytics", "ultralytics-txt", "mediapipe")
OTHERS = ("kinetics", "mediapipe-json", "mediapipe-npy", "nw-ucla", "st-gcn", "table", "lists")
OWN = ("array", "arrays", "numbers", "set-arrays", "frame-table", "joint-table", "azure-kinect")
PICKLED = ("set-pickle", "set-objects", "skeleton-arrays")
WITH_TORCH = ("store", "checkpoint", "teacher-cache", "run-state")


@pytest.mark.parametrize(
    ("readers", "count", "least_refused"),
    [
        (LIGHT, 120, 60),
        (PICKLED, 120, 30),
        # a number of a pose, or a name in a table, may well be another one
        ((*POSES, *OTHERS, *OWN), 120, 12),
        (WITH_TORCH, 120, 60),
        (("pth",), 40, 20),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_mutated_inputs_are_one_clear_sentence(
    readers: tuple[str, ...], count: int, least_refused: int
) -> None:
    command = [sys.executable, str(FUZZ), "--reader", *readers, "--count", str(count), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    outcomes = json.loads(done.stdout)
    assert [outcome["reader"] for outcome in outcomes] == list(readers)
    for outcome in outcomes:
        assert outcome["inputs"] == count
        assert outcome["refused"] > least_refused, outcome
        bad = (outcome["tracebacks"], outcome["hangs"], outcome["ran_code"])
        assert bad == (0, 0, 0), outcome
        assert outcome["peak_mb"] < 1000
    assert done.returncode == 0
