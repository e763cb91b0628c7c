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
OWN = ("array", "arrays", "numbers")
WITH_TORCH = ("store", "checkpoint", "pth", "teacher-cache", "run-state")


@pytest.mark.parametrize("reader", [*LIGHT, *POSES, *OTHERS, *OWN, *WITH_TORCH])
def test_mutated_inputs_are_one_clear_sentence(reader: str) -> None:
    count = 40 if reader == "pth" else 120
    command = [sys.executable, str(FUZZ), "--reader", reader, "--count", str(count), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    (outcome,) = json.loads(done.stdout)
    assert outcome["inputs"] == count
    # a number of a pose, or a name in a table, may well be another one
    assert outcome["refused"] > count / (2 if reader in (*LIGHT, *WITH_TORCH) else 10)
    assert (outcome["tracebacks"], outcome["hangs"], outcome["ran_code"]) == (0, 0, 0), outcome
    assert outcome["peak_mb"] < 1000
    assert done.returncode == 0
