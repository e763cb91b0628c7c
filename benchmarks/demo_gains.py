"""What the demo gains: `lastkd demo` for several seeds, its gains and how long it took.

    python benchmarks/demo_gains.py --seeds 3 --out runs/demo-gains

The goal is a gain above zero for every seed, a mean of at least three points, and six minutes or
less for each on two cores. The task is in `configs/data/synthetic.yaml`, the recipe in
`configs/training/synthetic.yaml`. A seed whose folder exists isn't run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from lastkd.runs.log import read_runs


def gain_of(folder: Path) -> tuple[float, float, float]:
    """Top-1 at the last epoch: the teacher's, the standalone student's, the distilled one's."""
    top1: dict[str, float] = {}
    for run in read_runs(folder):
        if run.last is None:
            continue
        kind = "distilled" if run.teacher else "teacher" if "last_v2" in run.model else "standalone"
        top1[kind] = run.last["top1"]
    return top1["teacher"], top1["standalone"], top1["distilled"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    gains: list[float] = []
    print("| seed | teacher | standalone | distilled | gain | minutes |\n|---|---|---|---|---|---|")
    for seed in range(args.seeds):
        folder, started = args.out / f"seed-{seed}", time.perf_counter()
        took = ""
        if not folder.exists():
            command = [sys.executable, "-m", "lastkd", "demo", "--seed", str(seed)]
            subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
            took = f"{(time.perf_counter() - started) / 60:.1f}"
        teacher, alone, distilled = gain_of(folder)
        gains.append(distilled - alone)
        row = f"{teacher:.2f} | {alone:.2f} | {distilled:.2f} | {gains[-1]:+.2f} | {took}"
        print(f"| {seed} | {row} |", flush=True)
    print(f"mean gain {sum(gains) / len(gains):+.2f}, smallest {min(gains):+.2f}")


if __name__ == "__main__":
    main()
