"""What a training step and a teacher's forward pass ask of a GPU, at batch 16 and 64 frames.

The bounds are what was reached, rounded up. A change that needs more of a GPU raises one knowingly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pretended_cuda
import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "device_costs.py"

pytestmark = pretended_cuda.needed


def costs(*models: str) -> dict[str, dict[str, dict[str, float]]]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--json", "--models", *models],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, dict[str, dict[str, float]]] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def counted() -> dict[str, dict[str, dict[str, float]]]:
    return costs("last_e_nano", "last_e_large", "last_v2_base")


@pytest.mark.parametrize(
    ("model", "launches", "megabytes"),
    [("last_e_nano", 600, 60), ("last_e_large", 1500, 240), ("last_v2_base", 2300, 2000)],
)
def test_a_training_step_stays_within_its_bounds(
    counted: dict[str, dict[str, dict[str, float]]], model: str, launches: int, megabytes: int
) -> None:
    total = counted[model]["total"]
    assert total["launches"] <= launches
    assert total["bytes"] <= megabytes * 1e6


def test_the_host_never_waits(counted: dict[str, dict[str, dict[str, float]]]) -> None:
    assert all(part["waits"] == 0 for parts in counted.values() for part in parts.values())


def test_a_batch_of_32_fits_a_gpu_of_16_gb(
    counted: dict[str, dict[str, dict[str, float]]],
) -> None:
    """LAST-v2 base keeps the activations of 32 clips, one in five with two bodies."""
    assert counted["last_v2_base"]["total"]["saved_bytes"] <= 180e6


def test_a_teachers_forward_pass_stays_within_its_bounds(
    counted: dict[str, dict[str, dict[str, float]]],
) -> None:
    inference = counted["last_v2_base"]["inference"]
    assert inference["launches"] <= 550
    assert inference["bytes"] <= 550e6
