"""A student's standalone run: finding it, and comparing it with the teacher that is to teach it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lastkd.data.store.clip_store import AUTO_SPLIT
from lastkd.errors import UserError
from lastkd.runs.log import Run, read_runs
from lastkd.settings.runs import DistillSettings

LEAST_LEAD = 4.0
"""Points of top-1 accuracy that a teacher should be ahead of a standalone student. Most students
that came closer to their teacher alone lost by distilling; docs/distilling.md has the figures."""


def standalone_of(settings: DistillSettings) -> Run:
    """The standalone run of a student's model on the same split, of the same seed if there is one.

    Args:
        settings: of the distillation; `standalone` is the folder of the run, or one above it.

    Raises:
        UserError: there is none, several fit equally well, or it isn't finished.
    """
    folder = settings.standalone
    assert folder is not None
    fitting = [
        run
        for run in read_runs(folder)
        if run.teacher is None
        and run.model == settings.model_name
        and settings.split in (AUTO_SPLIT, run.start["settings"]["split"])
    ]
    same_seed = [run for run in fitting if run.seed == settings.seed]
    chosen = same_seed or fitting
    if not chosen:
        raise UserError(
            f"{folder}: holds no standalone run of {settings.model_name} on {settings.split}; "
            "train it with lastkd.train, or leave --standalone out"
        )
    if len(chosen) > 1:
        names = ", ".join(str(run.folder) for run in chosen)
        raise UserError(f"{folder}: holds several fitting standalone runs ({names}); name one")
    (run,) = chosen
    if not run.finished:
        raise UserError(
            f"{run.folder}: the standalone run is {run.state}; finish it, or leave --standalone out"
        )
    return run


@dataclass(frozen=True)
class Lead:
    """How far a teacher is ahead of a standalone student, on the part that epochs are chosen on.

    Attributes:
        run: folder of the standalone run.
        part: `test` or `validation`.
        teacher, standalone: top-1 accuracy in percent.
    """

    run: str
    part: str
    teacher: float
    standalone: float

    @classmethod
    def of(cls, run: Run, teacher: Mapping[str, Any]) -> Lead | None:
        """
        Args:
            teacher: its accuracy as its checkpoint records it.

        Returns:
            None where the two weren't measured on the same part.
        """
        last = next(reversed(run.epochs.values()), None)
        part = run.chooser
        measured = teacher.get("validation") if part == "validation" else teacher
        if not last or not measured or "top1" not in measured:
            return None
        if measured.get("clips") != last.get("clips"):
            return None
        if teacher.get("split") != run.start["settings"]["split"]:
            return None
        return cls(str(run.folder), part, measured["top1"], last["top1"])

    @property
    def points(self) -> float:
        return self.teacher - self.standalone

    def to_dict(self) -> dict[str, Any]:
        """What the start event records."""
        return {**asdict(self), "points": round(self.points, 4)}

    def warnings(self) -> list[str]:
        """Why distilling isn't likely to help, and what to try; none where it may."""
        if self.points >= LEAST_LEAD:
            return []
        side = "ahead of" if self.points >= 0 else "behind"
        return [
            f"the teacher is {abs(self.points):.1f} points {side} the student alone, and a lead "
            f"below {LEAST_LEAD:g} has mostly cost points; train it longer, or take a larger one"
        ]

    def __str__(self) -> str:
        return (
            f"alone the student has {self.standalone:.2f} % top-1 on the {self.part} part, its "
            f"teacher {self.teacher:.2f} ({self.points:+.1f}): {self.run}"
        )
