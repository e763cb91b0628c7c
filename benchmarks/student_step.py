"""A student's training step, lean against the plain formulation: milliseconds and their ratio.

    python benchmarks/student_step.py [--json] [--batch-size 16] [--frames 64] [--rounds 7]

The plain formulation is the tests' oracle (`tests/plain_last_e.py`). Rounds are paired: each times
one after the other, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lastkd.models import STREAMS, LastE
from lastkd.models.registry import build_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from plain_last_e import PlainLastE


def step_ms(model: nn.Module, streams: dict[str, Tensor], labels: Tensor) -> float:
    """One step, forward and backward, in milliseconds."""
    started = time.perf_counter()
    model.zero_grad()
    F.cross_entropy(model(streams), labels).backward()
    if labels.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    shape = (options.batch_size, 3, options.frames, 25, 2)
    streams = {name: torch.randn(shape, device=device) for name in STREAMS}
    labels = torch.randint(60, (options.batch_size,), device=device)
    result: dict[str, dict[str, float]] = {}
    for variant in ("nano", "small", "base", "large"):
        lean = build_model(f"last_e_{variant}", 60)
        assert isinstance(lean, LastE)
        pair = [model.to(device).train() for model in (lean, PlainLastE(lean))]
        for model in pair:
            step_ms(model, streams, labels)
        rounds = [
            [step_ms(model, streams, labels) for model in pair] for _ in range(options.rounds)
        ]
        result[variant] = {
            "lean_ms": round(statistics.median(r[0] for r in rounds), 2),
            "plain_ms": round(statistics.median(r[1] for r in rounds), 2),
            "ratio": round(statistics.median(r[0] / r[1] for r in rounds), 3),
        }
    about = {"device": str(device), "threads": torch.get_num_threads(), "torch": torch.__version__}
    if options.json:
        print(json.dumps(about | {"variants": result}, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    for variant, row in result.items():
        print(f"{variant:6} " + "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
