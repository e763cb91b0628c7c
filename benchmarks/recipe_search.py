"""The search behind `--recipe small`: candidates compared on performers kept out of training.

    python benchmarks/recipe_search.py --out runs/search data/utkinect data/florence data/utd_mhad
    python benchmarks/recipe_search.py --out runs/search --distilled data/msr_action3d

Each candidate changes some settings of `configs/recipe/small.yaml`. It trains one model on each set
and fold of performers, and is judged by the validation part's top-1 at the last epoch; the test
part decides nothing. With `--distilled` the candidates are views, alpha and tau of a distilled
student, beside the same student alone on the same views; a teacher is trained for each fold. Runs
resume, finished ones are kept, and the table is of what is there so far. Rounds go over all sets
and candidates, so that it can be stopped at any time.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.distributed.accelerator import make_accelerator
from lastkd.files.yaml_files import read_mapping
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.settings.students import variant_of
from lastkd.training.loop import train

TEACHER = "last_v2_tiny"
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

VIEWS: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "bolder": {
        "turn_degrees": 30.0,
        "shear": 0.2,
        "crop_min": 0.4,
        "joint_noise": 0.01,
        "time_warp": 0.3,
    },
    "bold": {
        "turn_degrees": 45.0,
        "shear": 0.3,
        "crop_min": 0.3,
        "joint_noise": 0.02,
        "time_warp": 0.4,
    },
}
WEIGHTS: dict[str, dict[str, Any]] = {
    "0.7, 4": {"alpha": 0.7, "tau": 4.0},
    "0.3, 4": {"alpha": 0.3, "tau": 4.0},
    "0.1, 4": {"alpha": 0.1, "tau": 4.0},
    "0.1, 2": {"alpha": 0.1, "tau": 2.0},
    "0, 4": {"alpha": 0.0, "tau": 4.0},
}
DISTILLED: dict[str, dict[str, Any]] = {
    f"{views} {weights}": VIEWS[views] | WEIGHTS[weights]
    for views, weights in itertools.product(VIEWS, WEIGHTS)
}
ALONE = {f"{views} alone": settings for views, settings in VIEWS.items()}


@dataclass(frozen=True)
class Search:
    """Where the runs are, and what they share.

    Attributes:
        asked: settings that all candidates share, over the recipe's.
    """

    out: Path
    model: str
    folds: int
    asked: dict[str, Any]

    def folder(self, store: Path, name: str, round_: int) -> Path:
        seed, fold = divmod(round_, self.folds)
        return self.out / store.name / name.replace(" ", "_") / f"fold{fold + 1}-seed{seed}"

    def settings(self, store: Path, round_: int) -> dict[str, Any]:
        seed, fold = divmod(round_, self.folds)
        return {
            "recipe": "small",
            "split": split_of(store),
            "validation": f"fold:{fold + 1}/{self.folds}",
            "seed": seed,
            "log_every": 50,
            **self.asked,
        }

    def train(self, store: Path, name: str, round_: int, model: str, **changes: Any) -> Path:
        """Trains `model` alone with the changed settings, and returns its folder."""
        asked = self.settings(store, round_) | {"model": model, **changes}
        folder = self.folder(store, name, round_)
        train(
            resolve(TrainSettings, asked),
            data=store,
            teacher=None,
            folder=folder,
            accelerator=make_accelerator(),
        )
        return folder

    def distil(self, store: Path, name: str, round_: int, **changes: Any) -> None:
        """Distils the fold's teacher into the student; the teacher first, if it isn't there."""
        # the teacher is the same for every student seed, so that seeds differ in the student alone
        fold = round_ % self.folds
        teacher = self.train(store, "teacher", fold, TEACHER) / "last.safetensors"
        asked = self.settings(store, round_) | changes
        asked |= {"variant": variant_of(self.model)}
        train(
            resolve(DistillSettings, asked),
            data=store,
            teacher=teacher,
            folder=self.folder(store, name, round_),
            accelerator=make_accelerator(),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("stores", type=Path, nargs="+", help="prepared stores, split xsub")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--model", default="last_e_nano")
    parser.add_argument("--distilled", action="store_true", help="candidates with a teacher")
    parser.add_argument("--candidates", help="names, separated by semicolons; default: all")
    parser.add_argument("--settings", type=Path, help="YAML of settings that all candidates share")
    parser.add_argument("--folds", type=int, default=2, help="groups of performers")
    parser.add_argument("--rounds", type=int, default=2, help="folds to go through, then seeds")
    args = parser.parse_args()
    alone = ALONE if args.distilled else CANDIDATES
    distilled = DISTILLED if args.distilled else {}
    names = args.candidates.split(";") if args.candidates else [*alone, *distilled]
    asked = read_mapping(args.settings) if args.settings else {}
    search = Search(args.out, args.model, args.folds, asked)
    for round_, store, name in itertools.product(range(args.rounds), args.stores, names):
        if name in alone:
            search.train(store, name, round_, args.model, **alone[name])
        else:
            search.distil(store, name, round_, **distilled[name])
        write_table(args.out, args.stores, [*names, "teacher"] if distilled else names)


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
