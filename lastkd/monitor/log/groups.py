"""Groups of runs: a teacher with its students, and each student with its baseline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lastkd.monitor.log.run import Run
from lastkd.report.reference import NTU60_XSUB


@dataclass
class Compared:
    """What a run is compared with.

    Attributes:
        baseline: the standalone run of the same model on the same data, split and parts.
        teacher_run: the run that trained the teacher.
        teacher_top1: in percent, as recorded in the teacher's checkpoint.
    """

    baseline: Run | None = None
    teacher_run: Run | None = None
    teacher_top1: float | None = None

    def gain(self, run: Run) -> float | None:
        """The best top-1 minus the baseline's best, in points, both on the part that chooses."""
        if self.baseline is None or run.best is None or self.baseline.best is None:
            return None
        return run.best[1] - self.baseline.best[1]


@dataclass
class Group:
    """A teacher's students and their baselines, or standalone runs on one set."""

    title: str
    runs: list[Run] = field(default_factory=list)


def _parts_of(run: Run) -> tuple[str, str, str]:
    """What identifies the data and its parts; only runs that share them can be compared."""
    if run.start is None:
        return "", "", ""
    data = run.start.data
    return data.hash, str(run.settings.get("split", "")), data.validation_hash or ""


def baseline_of(run: Run, runs: list[Run]) -> Run | None:
    """The standalone run that a distilled run is compared with.

    Of several, runs with the same seed come first, then the same epochs, finished ones, the latest.
    """
    if not run.distilled:
        return None
    candidates = [
        other
        for other in runs
        if other.start and not other.distilled and other.model == run.model
        if _parts_of(other) == _parts_of(run)
    ]

    def preference(other: Run) -> tuple[bool, bool, bool, float]:
        return (
            other.settings.get("seed") == run.settings.get("seed"),
            other.settings.get("epochs") == run.settings.get("epochs"),
            other.end is not None and other.end.state == "finished",
            other.start.time if other.start else 0.0,
        )

    return max(candidates, key=preference, default=None)


def teacher_run_of(run: Run, runs: list[Run]) -> Run | None:
    """The run that trained a student's teacher, found by the folder of its checkpoint."""
    if not run.start or not run.start.teacher:
        return None
    named = run.settings.get("teacher")
    if isinstance(named, list) and len(named) == 1:
        named = named[0]
    if not isinstance(named, str):
        return None  # an ensemble was trained by several runs
    folder, model = Path(named).parent, run.start.teacher.model
    candidates = [other for other in runs if not other.distilled and other.model == model]
    for other in candidates:
        if other.folder.resolve() == folder.resolve():
            return other
    # fetched from another machine, with other folders
    alike = [other for other in candidates if other.folder.name == folder.name]
    moved = [other for other in alike if _parts_of(other) == _parts_of(run)]
    return moved[0] if len(moved) == 1 else None


def compare(run: Run, runs: list[Run]) -> Compared:
    """What a run is compared with, among these runs."""
    teacher = run.start.teacher if run.start else None
    top1 = teacher.accuracy.get("top1") if teacher else None
    return Compared(
        baseline_of(run, runs),
        teacher_run_of(run, runs),
        float(top1) if isinstance(top1, int | float) else None,
    )


def _place(run: Run) -> tuple[int, bool, float]:
    start = run.start
    return (start.parameters if start else 0, run.distilled, start.time if start else 0.0)


def _on(run: Run) -> str:
    if not run.start:
        return ""
    data = run.start.data
    name = data.name or data.source.split(" (")[0] or "unnamed data"
    return f"{name}, {run.settings.get('split', '')}"


def grouped(runs: list[Run]) -> list[Group]:
    """Groups the runs by teacher, each run once, with the teacher's run first.

    Within a group, models go from the smallest to the largest, and each baseline stands before the
    runs compared with it.
    """
    groups: dict[tuple[str, ...], Group] = {}
    placed: set[int] = set()
    students = [run for run in runs if run.distilled]
    for run in sorted(students, key=lambda run: run.start.time if run.start else 0.0):
        assert run.start is not None
        assert run.start.teacher is not None
        teacher = run.start.teacher
        key: tuple[str, ...] = (teacher.hash, *_parts_of(run))
        if key not in groups:
            top1 = teacher.accuracy.get("top1")
            figure = f" {top1:.2f} %" if isinstance(top1, int | float) else ""
            groups[key] = Group(f"{teacher.model}{figure} teaches on {_on(run)}")
        compared = compare(run, runs)
        for member in (compared.teacher_run, compared.baseline, run):
            if member is not None and id(member) not in placed:
                placed.add(id(member))
                members = groups[key].runs
                members.insert(0, member) if member is compared.teacher_run else members.append(
                    member
                )
    for run in runs:
        if id(run) in placed:
            continue
        alone = ("", *_parts_of(run))
        title = f"standalone on {_on(run)}" if run.start else "not started yet"
        groups.setdefault(alone, Group(title)).runs.append(run)
    for key, group in groups.items():
        taught = [teacher_run_of(run, runs) for run in group.runs if run.distilled]
        lead = [run for run in group.runs if key[0] and any(run is one for one in taught)]
        rest = sorted((r for r in group.runs if r not in lead), key=_place)
        group.runs = lead + rest
    return list(groups.values())


_TRAINING_CLIPS = 40_091
"""Of NTU60 cross-subject; `lastkd.data.ntu` has it too, but needs numpy, and the monitor starts
without it."""


def expected(run: Run) -> tuple[int, int] | None:
    """The expected range of top-1 in percent; None except for students on NTU60 cross-subject.

    That set is recognised by its classes, split and size, which may differ by a few clips that show
    no body.
    """
    if run.start is None or run.model not in NTU60_XSUB:
        return None
    data = run.start.data
    if data.classes != 60 or run.settings.get("split") != "xsub":
        return None
    if abs(data.train - _TRAINING_CLIPS) > 0.01 * _TRAINING_CLIPS:
        return None
    ranges = NTU60_XSUB[run.model]
    return ranges.distilled if run.distilled else ranges.standalone
