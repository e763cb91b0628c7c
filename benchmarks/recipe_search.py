"""The search behind `--recipe small`: candidates compared on performers kept out of training.

    python benchmarks/recipe_search.py --out runs/search data/utkinect data/florence data/utd_mhad

Each candidate changes some settings of `configs/recipe/small.yaml`. It trains one model on each set
and fold of performers, and is judged by the validation part's top-1 at the last epoch; the test
part decides nothing. Runs resume, finished ones are kept, and the table is of what is there so far.
Rounds go over all sets and candidates, so that it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.distributed.accelerator import make_accelerator
from lastkd.files.yaml_files import read_mapping
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training.loop import train

AUGMENTATION = ("mirror", "shear", "time_warp", "joint_noise", "dropped_joints")
NONE = dict.fromkeys(AUGMENTATION, 0.0)
CANDIDATES: dict[str, dict[str, Any]] = {
    "plain": {**NONE, "ema": 0.0},
    "ema": {**NONE, "ema": 0.99},
    "lr 0.02": {**NONE, "ema": 0.99, "lr": 0.02},
    "lr 0.1": {**NONE, "ema": 0.99, "lr": 0.1},
    "noise": {**NONE, "joint_noise": 0.01},
    "shear": {**NONE, "shear": 0.15},
    "warp": {**NONE, "time_warp": 0.25},
    "drop": {**NONE, "dropped_joints": 0.1},
    "mirror": {**NONE, "mirror": 0.5},
    "all but mirror": {
        **NONE,
        "shear": 0.15,
        "time_warp": 0.25,
        "joint_noise": 0.01,
        "dropped_joints": 0.05,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stores", type=Path, nargs="+", help="prepared stores, split xsub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--model", default="last_e_nano")
    parser.add_argument("--candidates", help="names, comma-separated; default: all")
    parser.add_argument("--settings", type=Path, help="YAML of settings that all candidates share")
    parser.add_argument("--folds", type=int, default=2, help="groups of performers")
    parser.add_argument("--rounds", type=int, default=2, help="folds to go through, then seeds")
    args = parser.parse_args()
    names = args.candidates.split(",") if args.candidates else list(CANDIDATES)
    shared = read_mapping(args.settings) if args.settings else {}
    accelerator = make_accelerator()
    for round_, store, name in itertools.product(range(args.rounds), args.stores, names):
        seed, fold = divmod(round_, args.folds)
        settings = resolve(
            TrainSettings,
            {
                "model": args.model,
                "recipe": "small",
                "split": split_of(store),
                "validation": f"fold:{fold + 1}/{args.folds}",
                "seed": seed,
                "log_every": 50,
                **shared,
                **CANDIDATES[name],
            },
        )
        folder = args.out / store.name / name.replace(" ", "_") / f"fold{fold + 1}-seed{seed}"
        train(settings, data=store, teacher=None, folder=folder, accelerator=accelerator)
        write_table(args.out, args.stores, names)


def split_of(store: Path) -> str:
    return "fold 1" if store.name == "sbu" else "xsub"


def write_table(out: Path, stores: list[Path], names: list[str]) -> None:
    """Prints and writes mean validation top-1 by candidate and set, over the rounds done by all."""
    with (out / "search.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["set", "candidate", "run", "validation_top1", "clips"])
        for store in stores:
            tops: dict[str, dict[str, float]] = {}
            for name in names:
                for run in sorted((out / store.name / name.replace(" ", "_")).glob("fold*")):
                    found = Run.find(run)
                    if found is None or not found.finished or found.validated is None:
                        continue
                    tops.setdefault(name, {})[run.name] = found.validated["top1"]
                    clips = found.validated["clips"]
                    writer.writerow([store.name, name, run.name, found.validated["top1"], clips])
            shared = set.intersection(*map(set, tops.values())) if tops else set()
            for name, own in tops.items():
                mean = np.mean([own[run] for run in shared]) if shared else np.nan
                print(
                    f"{store.name:16} {name:16} {mean:6.2f} over {len(shared)} of {len(own)} runs"
                )


if __name__ == "__main__":
    main()
