"""Does distilling help? Every set, variant and seed, standalone against distilled, same recipe.

    python benchmarks/efficacy.py --out runs/efficacy --results docs/results data/utkinect data/sbu
    python benchmarks/efficacy.py --out runs/efficacy --results docs/results --table data/*

One teacher a set is trained with the recipe for small sets. Then each variant is trained alone and
distilled, with the same recipe, steps, views and first weights, and compared on the test part at
the last epoch, which nobody chose. Runs resume and finished ones are kept, so it can be stopped at
any time and run for days; several processes on the same --out share the sets among themselves. The
results are those of finished runs, written after each: `efficacy.csv` has a line for each run,
`efficacy.json` the gains and intervals.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from lastkd.distributed.accelerator import make_accelerator
from lastkd.files.atomic import replacing
from lastkd.files.yaml_files import read_mapping
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.settings.students import model_of, students
from lastkd.training.loop import train

SPLITS = {"sbu": "fold 1"}
"""Splits of sets that have no xsub, by the store's name."""
FIELDS = ("set", "model", "kind", "seed", "top1", "top5", "mean_class", "clips", "steps", "frames")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Campaign:
    """Where the runs are, and what they share.

    Attributes:
        given: settings that all runs share, over the recipe's.
    """

    out: Path
    stores: tuple[Path, ...]
    variants: tuple[str, ...]
    seeds: int
    teacher_model: str
    given: dict[str, Any]
    results: Path | None

    def teacher_folder(self, store: Path) -> Path:
        return self.out / store.name / "teacher"

    def folder(self, store: Path, kind: str, variant: str, seed: int) -> Path:
        return self.out / store.name / f"seed-{seed}" / kind / variant

    def settings(self, store: Path, seed: int) -> dict[str, Any]:
        split = SPLITS.get(store.name, "xsub")
        return {"recipe": "small", "split": split, "seed": seed, "log_every": 50, **self.given}

    def cells(self) -> Iterator[tuple[int, str, Path]]:
        """(seed, variant, set): the first seed of all sets and variants comes first."""
        return itertools.product(range(self.seeds), self.variants, self.stores)

    def run(self) -> None:
        """Trains what isn't finished and no other process is at work on."""
        for seed, variant, store in self.cells():
            lock = FileLock(self.out / f".{store.name}.lock", timeout=0)
            self.out.mkdir(parents=True, exist_ok=True)
            try:
                with lock:
                    self.train_cell(seed, variant, store)
                if self.results:
                    write(self.rows(), self.results)
            except Timeout:
                print(f"{store.name}: another process is at work there")

    def train_cell(self, seed: int, variant: str, store: Path) -> None:
        """One variant and seed on one set; the set's teacher first, if it isn't trained yet."""
        accelerator = make_accelerator()
        alone = resolve(TrainSettings, self.settings(store, 0) | {"model": self.teacher_model})
        kept: dict[str, Any] = {"data": store, "accelerator": accelerator}
        teacher = self.teacher_folder(store)
        if not finished(teacher):
            train(alone, teacher=None, folder=teacher, **kept)
        shared = self.settings(store, seed)
        folder = self.folder(store, "standalone", variant, seed)
        if not finished(folder):
            settings = resolve(TrainSettings, shared | {"model": model_of(variant)})
            train(settings, teacher=None, folder=folder, **kept)
        folder = self.folder(store, "distilled", variant, seed)
        if not finished(folder):
            cache = self.out / store.name / f"seed-{seed}" / "soft_labels"
            asked = shared | {"variant": variant, "teacher_cache": cache}
            settings = resolve(DistillSettings, asked)
            train(settings, teacher=teacher / "last.safetensors", folder=folder, **kept)
        others = (self.folder(store, "distilled", other, seed) for other in self.variants)
        if all(map(finished, others)):
            shutil.rmtree(self.out / store.name / f"seed-{seed}" / "soft_labels", True)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each finished run."""
        rows: list[dict[str, Any]] = []
        for store in self.stores:
            folders = [(self.teacher_folder(store), "teacher")]
            folders += [
                (self.folder(store, kind, variant, seed), kind)
                for seed, variant, kind in itertools.product(
                    range(self.seeds), self.variants, ("standalone", "distilled")
                )
            ]
            for folder, kind in folders:
                run = Run.find(folder)
                if run is None or not run.finished or run.last is None:
                    continue
                rows.append(
                    {
                        "set": store.name,
                        "model": run.model,
                        "kind": kind,
                        "seed": run.seed,
                        **{
                            name: run.last[name] for name in ("top1", "top5", "mean_class", "clips")
                        },
                        "steps": run.start["total_steps"],
                        "frames": run.start["settings"]["frames"],
                    }
                )
        return rows


def finished(folder: Path) -> bool:
    run = Run.find(folder)
    return run is not None and run.finished


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Gains by model and set, their mean with a 95 % interval over sets and seeds."""
    top1 = {(r["set"], r["model"], r["kind"], r["seed"]): r["top1"] for r in rows}
    teachers = {r["set"]: r["top1"] for r in rows if r["kind"] == "teacher"}
    result: dict[str, Any] = {"teachers": teachers, "students": {}}
    for model in dict.fromkeys(r["model"] for r in rows if r["kind"] == "distilled"):
        gains: dict[str, list[float]] = {}
        gaps: list[float] = []
        for (name, of, kind, seed), distilled in top1.items():
            alone = top1.get((name, of, "standalone", seed))
            if (of, kind) != (model, "distilled") or alone is None:
                continue
            gains.setdefault(name, []).append(distilled - alone)
            if teachers[name] > alone:
                gaps.append((distilled - alone) / (teachers[name] - alone))
        if not gains:
            continue
        means = {name: round(float(np.mean(own)), 2) for name, own in gains.items()}
        result["students"][model] = {
            "sets": means,
            "seeds": {name: len(own) for name, own in gains.items()},
            "mean_gain": round(float(np.mean(list(means.values()))), 2),
            "interval_95": interval(list(gains.values())),
            "cells_below_minus_1": sum(mean < -1 for mean in means.values()),
            "median_gap_closed": round(float(np.median(gaps)), 2) if gaps else None,
        }
    return result


def interval(gains: list[list[float]]) -> list[float]:
    """Bootstrap over sets, and over seeds within them, of the mean over sets."""
    generator = np.random.default_rng(0)
    means = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        chosen = generator.integers(len(gains), size=len(gains))
        means[number] = np.mean(
            [np.mean(generator.choice(gains[i], len(gains[i]))) for i in chosen]
        )
    return [round(float(value), 2) for value in np.percentile(means, (2.5, 97.5))]


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        replacing(folder / "efficacy.csv") as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with replacing(folder / "efficacy.json") as part:
        part.write_text(json.dumps(summary(rows), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="+", help="prepared stores")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--results", type=Path, help="folder of efficacy.csv and efficacy.json")
    parser.add_argument("--variants", default=",".join(students()), help="comma-separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher-model", default="last_v2_tiny")
    parser.add_argument("--settings", type=Path, help="YAML of settings that all runs share")
    parser.add_argument("--table", action="store_true", help="train nothing, only collect")
    args = parser.parse_args()
    campaign = Campaign(
        out=args.out,
        stores=tuple(args.stores),
        variants=tuple(args.variants.split(",")),
        seeds=args.seeds,
        teacher_model=args.teacher_model,
        given=read_mapping(args.settings) if args.settings else {},
        results=args.results,
    )
    if not args.table:
        campaign.run()
    rows = campaign.rows()
    print(json.dumps(summary(rows), indent=1))
    if args.results:
        write(rows, args.results)


if __name__ == "__main__":
    main()
