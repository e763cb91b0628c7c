"""Does distilling help? Every set, variant and seed, standalone against distilled, same recipe.

    python benchmarks/efficacy.py --out runs/efficacy --teachers data/*
    python benchmarks/efficacy.py --out runs/efficacy --results docs/results data/*
    python benchmarks/efficacy.py --out runs/efficacy --results docs/results --table data/*

One teacher a set is trained with the recipe for small sets (where a processor computes bfloat16,
ACCELERATE_MIXED_PRECISION=bf16 before the first command halves its time). Then all variants are
trained alone and distilled, with the same recipe, steps, views and first weights, and compared on
the test part at the last epoch, which nobody chose. Runs resume and finished ones are kept, so it
can be stopped at any time and run for days; several processes on the same --out share the sets
among themselves. The results are those of finished runs, written after each: `efficacy.csv` has a
line for each run, `efficacy.json` the gains and intervals. Lines of runs that aren't in --out stay.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

import lastkd
from lastkd.files.atomic import replacing, write_text
from lastkd.files.yaml_files import read_mapping
from lastkd.runs.log import Run
from lastkd.settings.students import students

SPLITS = {"sbu": "fold 1"}
"""Splits of sets that have no xsub, by the store's name."""
KEY = ("set", "model", "kind", "seed")
FIELDS = (*KEY, "top1", "top5", "mean_class", "clips", "steps", "frames")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Campaign:
    """Where the runs are, and what they share.

    Attributes:
        given: settings that all runs share, over the recipe's.
        distilled: settings of the distilled runs alone: alpha, tau, loss.
    """

    out: Path
    stores: tuple[Path, ...]
    variants: tuple[str, ...]
    seeds: int
    teacher_model: str
    given: dict[str, Any]
    distilled: dict[str, Any]

    def teacher(self, store: Path) -> Path:
        return self.out / store.name / "teacher"

    def folder(self, store: Path, seed: int, kind: str) -> Path:
        return self.out / store.name / f"seed-{seed}" / kind

    def settings(self, store: Path, seed: int) -> dict[str, Any]:
        split = SPLITS.get(store.name, "xsub")
        shared = {"data": store, "recipe": "small", "split": split, "seed": seed, "log_every": 50}
        return {**shared, **self.given}

    def run(self, results: Path | None, *, teachers_only: bool) -> None:
        """Trains what isn't finished and no other process is at work on."""
        self.out.mkdir(parents=True, exist_ok=True)
        for seed, store in itertools.product(range(self.seeds), self.stores):
            try:
                with FileLock(self.out / f".{store.name}.lock", timeout=0):
                    self.train_teacher(store)
                    if not teachers_only:
                        self.train_students(store, seed)
                if results:
                    write(self.rows(), results)
            except Timeout:
                print(f"{store.name}: another process is at work there")

    def train_teacher(self, store: Path) -> None:
        folder = self.teacher(store)
        if not finished(folder):
            lastkd.train_model(self.teacher_model, run=folder, **self.settings(store, 0))

    def train_students(self, store: Path, seed: int) -> None:
        """All variants alone, then all distilled; those of a kind share their views."""
        shared = self.settings(store, seed)
        alone, distilled = (self.folder(store, seed, kind) for kind in ("standalone", "distilled"))
        if models := self.unfinished(alone):
            lastkd.train_model(models, run=run_of(alone, models), **shared)
        if variants := self.unfinished(distilled):
            asked = {
                **shared,
                "teacher": self.teacher(store) / "last.safetensors",
                "teacher_cache": self.folder(store, seed, "soft_labels"),  # for variants to come
                **self.distilled,
            }
            lastkd.distill_model(variants, run=run_of(distilled, variants), **asked)

    def unfinished(self, folder: Path) -> list[str]:
        return [variant for variant in self.variants if not finished(folder / variant)]

    def rows(self) -> list[dict[str, Any]]:
        """A row for each finished run."""
        rows: list[dict[str, Any]] = []
        for store in self.stores:
            folders = [(self.teacher(store), "teacher")]
            folders += [
                (self.folder(store, seed, kind) / variant, kind)
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


def run_of(folder: Path, variants: list[str]) -> Path:
    """What `run` has to be, so that each variant has its folder in `folder`."""
    return folder if len(variants) > 1 else folder / variants[0]


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


def read(file: Path) -> list[dict[str, Any]]:
    """The rows that an earlier campaign wrote; none where there is no file."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        texts = list(csv.DictReader(lines))
    numbers = {"seed": int, "clips": int, "steps": int, "frames": int}
    numbers |= dict.fromkeys(("top1", "top5", "mean_class"), float)
    return [{name: numbers.get(name, str)(text) for name, text in row.items()} for row in texts]


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of both, the new ones in place of the old."""
    by_key = {tuple(row[name] for name in KEY): row for row in (*old, *new)}
    return list(by_key.values())


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    """Writes the rows, with those of the file that they don't replace, and their summary."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".efficacy.lock"):
        rows = merged(read(folder / "efficacy.csv"), rows)
        with (
            replacing(folder / "efficacy.csv") as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        write_text(folder / "efficacy.json", json.dumps(summary(rows), indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stores", type=Path, nargs="+", help="prepared stores")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--results", type=Path, help="folder of efficacy.csv and efficacy.json")
    parser.add_argument("--variants", default=",".join(students()), help="comma-separated")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher-model", default="last_v2_base")
    parser.add_argument("--settings", type=Path, help="YAML of settings that all runs share")
    parser.add_argument("--distilled", type=Path, help="YAML of settings of the distilled runs")
    parser.add_argument("--teachers", action="store_true", help="train the teachers alone")
    parser.add_argument("--table", action="store_true", help="train nothing, only collect")
    args = parser.parse_args()
    campaign = Campaign(
        out=args.out,
        stores=tuple(args.stores),
        variants=tuple(args.variants.split(",")),
        seeds=args.seeds,
        teacher_model=args.teacher_model,
        given=read_mapping(args.settings) if args.settings else {},
        distilled=read_mapping(args.distilled) if args.distilled else {"tau": "auto"},
    )
    if not args.table:
        campaign.run(args.results, teachers_only=args.teachers)
    rows = campaign.rows()
    if args.results:
        write(rows, args.results)
        rows = read(args.results / "efficacy.csv")
    print(json.dumps(summary(rows), indent=1))


if __name__ == "__main__":
    main()
