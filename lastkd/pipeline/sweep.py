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
from lastkd.files.atomic import write_text
from lastkd.runs.log import Run
from lastkd.settings.architecture import short_name
from lastkd.settings.runs import DistillSettings

FIGURES = ("top1", "top5", "mean_class")


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes:
        values: its values of the settings that the grid varies.
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
    """What a point reached at its last epoch; the figures are None where it isn't finished.

    Attributes:
        last: on the test part.
        validated: on the validation part; None where there is none.
    """

    variant: str
    values: dict[str, float]
    folder: Path
    state: str
    last: dict[str, float] | None
    validated: dict[str, float] | None = None

    @classmethod
    def of(cls, point: Point) -> Result:
        """
        Raises:
            UserError: its log is damaged.
        """
        run = Run.find(point.folder)
        state = "not begun" if run is None else run.state
        return cls(
            point.settings.variant,
            point.values,
            point.folder,
            state,
            _figures(run.last if run is not None and run.finished else None),
            _figures(run.validated if run is not None and run.finished else None),
        )

    @property
    def chosen_by(self) -> float | None:
        """Top-1 on the part that chooses between points."""
        figures = self.validated or self.last
        return None if figures is None else figures["top1"]

    def to_dict(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            **self.values,
            **(self.last or dict.fromkeys(FIGURES)),
            **({"validation_top1": self.validated["top1"]} if self.validated else {}),
            "state": self.state,
            "run": str(self.folder),
        }


def _figures(event: dict[str, Any] | None) -> dict[str, float] | None:
    return None if event is None else {name: float(event[name]) for name in FIGURES}


@dataclass(frozen=True)
class Grid:
    """A sweep's results."""

    results: tuple[Result, ...]

    def best(self, variant: str) -> Result | None:
        """The point with the highest top-1 at its last epoch; of equals the first.

        The validation part decides where there is one, else the test part.
        """
        finished = [one for one in self.results if one.variant == variant and one.last is not None]
        return max(finished, key=lambda one: one.chosen_by or 0.0, default=None)

    @property
    def chooser(self) -> str:
        """The part that decides: `validation` or `test`."""
        return "validation" if any(one.validated for one in self.results) else "test"

    @property
    def variants(self) -> list[str]:
        return list(dict.fromkeys(one.variant for one in self.results))

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
            "best_chosen_by": f"top-1 on the {self.chooser} part of the split"
            + (", so its accuracy is optimistic" if self.chooser == "test" else ""),
        }

    def as_csv(self) -> str:
        out = io.StringIO()
        rows = [result.to_dict() for result in self.results]
        columns = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(out, list(columns), lineterminator="\n")
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
            write_text(folder / name, text)


def refuse_double(points: Sequence[Point]) -> None:
    """
    Raises:
        UserError: two points share a folder, because their values agree to six digits.
    """
    folders = [point.folder for point in points]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise UserError(f"{twice}: stands for two points of the grid; name each value once")
