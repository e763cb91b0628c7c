"""A grid of distillation settings trained together on one pass of the teacher."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.runs.log import Run
from lastkd.settings.architecture import short_name
from lastkd.settings.runs import DistillSettings

FIGURES = ("top1", "top5", "mean_class")


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes:
        values: its settings of those that the grid varies.
    """

    values: dict[str, float]
    settings: DistillSettings
    folder: Path


def grid_of(swept: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """All combinations, the last setting varying fastest."""
    return [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]


def point_folder(folder: Path, variant: str, values: Mapping[str, float]) -> Path:
    """A point's run folder, such as `nano_alpha0.3_tau2`."""
    named = [f"{name}{value:g}" for name, value in values.items()]
    return folder / "_".join([short_name(variant), *named])


@dataclass(frozen=True)
class Result:
    """What a point reached at its last epoch, which nobody chose; None where it isn't finished."""

    variant: str
    values: dict[str, float]
    folder: Path
    state: str
    last: dict[str, float] | None

    @classmethod
    def of(cls, point: Point) -> Result:
        """
        Raises:
            UserError: its log is damaged.
        """
        run = Run.find(point.folder)
        last: dict[str, float] | None = None
        if run is not None and run.finished and run.last is not None:
            last = {name: float(run.last[name]) for name in FIGURES}
        state = "not begun" if run is None else run.state
        return cls(point.settings.variant, point.values, point.folder, state, last)

    def to_dict(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            **self.values,
            **(self.last or dict.fromkeys(FIGURES)),
            "state": self.state,
            "run": str(self.folder),
        }


@dataclass(frozen=True)
class Grid:
    """A sweep's results."""

    results: tuple[Result, ...]

    def best(self, variant: str) -> Result | None:
        """The point with the highest top-1 at its last epoch; of equals the first."""
        done = [own for own in self.results if own.variant == variant and own.last is not None]
        return max(done, key=lambda own: own.last["top1"] if own.last else 0.0, default=None)

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(own.variant for own in self.results))

    def to_dict(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """
        Args:
            about: what all points share.
        """
        bests = {variant: self.best(variant) for variant in self.variants}
        return {
            **about,
            "epoch": "last",
            "points": [result.to_dict() for result in self.results],
            "best": {name: best and best.to_dict() for name, best in bests.items()},
            "best_chosen_by": "top-1 on the test part of the split, so its figure flatters",
        }

    def as_csv(self) -> str:
        out = io.StringIO()
        rows = [result.to_dict() for result in self.results]
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Writes `sweep.json` and `sweep.csv`.

        Raises:
            UserError: the folder can't be written.
        """
        texts = {
            "sweep.json": json.dumps(self.to_dict(about), indent=1) + "\n",
            "sweep.csv": self.as_csv(),
        }
        for name, text in texts.items():
            with replacing(folder / name) as part:
                part.write_text(text, encoding="utf-8")


def refuse_double(points: Sequence[Point]) -> None:
    """
    Raises:
        UserError: two points have one folder, as their values look alike in six digits.
    """
    folders = [point.folder for point in points]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: stands for two points of the grid; name each value once")
