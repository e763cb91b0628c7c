"""The lean teacher against the plain module on clips of which one in five has two bodies.

    python benchmarks/lean_teacher.py [--model last_v2_base] [--batch-size 16] [--frames 64]

Prints the time of both, their ratio over paired rounds, and the largest difference of the logits.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from lastkd.models import STREAMS, LastV2, build_model
from lastkd.models.lean_last_v2 import LeanLastV2


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="last_v2_base")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    said = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(said.model, 60)
    assert isinstance(model, LastV2)
    bodies = torch.where(torch.arange(said.batch_size) % 5 == 0, 2, 1)
    there = (torch.arange(2) < bodies[:, None])[:, None, None, None]
    shape = (said.batch_size, 3, said.frames, 25, 2)
    streams = {name: torch.randn(shape) * there for name in STREAMS}
    model({name: stream[:4] for name, stream in streams.items()})  # statistics that fit
    lean = LeanLastV2(model.eval())
    calls = {"plain": lambda: model(streams), "lean": lambda: lean(streams, bodies)}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    logits = {name: call() for name, call in calls.items()}
    for _ in range(said.rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    ratios = [a / b for a, b in zip(seconds["lean"], seconds["plain"], strict=True)]
    plain, fast = (logits[name] for name in ("plain", "lean"))
    difference = ((plain - fast).abs().max() / plain.abs().max()).item()
    print(
        f"{said.model}, {said.batch_size} clips of {said.frames} frames, torch {torch.__version__}"
    )
    for name, spent in seconds.items():
        print(f"  {name:5} {statistics.median(spent):.3f} s")
    print(f"  lean / plain {statistics.median(ratios):.3f}; largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
