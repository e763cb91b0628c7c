"""Signs of trouble in the values of a run."""

from __future__ import annotations

from dataclasses import dataclass

from lastkd.monitor.log.groups import Compared
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.series import median, smoothed

ENOUGH = 60
"""Buckets of steps that a trend needs."""
RISEN = 1.15
"""The smoothed loss relative to its minimum, above which it counts as rising."""
STUCK = 0.99
"""The smoothed soft term relative to its earlier value, above which it counts as stuck."""
DISK_GB = 2.0
DISK_HOURS = 1.0


@dataclass(frozen=True)
class Alert:
    """One problem of a run.

    Attributes:
        kind: nan, skipped, rising, stuck, slow, teacher, stalled, disk or failed.
        run: the run's name.
        time: of the event that shows the problem, in seconds since 1970.
        reason: the problem as text, with values.
    """

    kind: str
    run: str
    time: float
    reason: str


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _not_finite(run: Run) -> str | None:
    if not run.not_finite:
        return None
    first = run.not_finite[0]
    parts = ", ".join(first.not_finite)
    return f"{parts} not finite at step {first.step:,}; try a smaller learning rate"


def _skipped(run: Run) -> str | None:
    # a few overflows are harmless: fp16 training finds its loss scale by them
    counts = {why: n for why, n in run.skipped.items() if why != "overflow" or n > 20}
    if not counts:
        return None
    return "steps skipped: " + ", ".join(f"{n:,} by {why}" for why, n in sorted(counts.items()))


def _rising(run: Run) -> str | None:
    points = run.series.points("total")
    if len(points) < ENOUGH or run.end:
        return None
    curve = smoothed([point[1] for point in points], len(points) / 25)
    warm = len(curve) // 10  # the first steps fluctuate
    lowest = min(range(warm, len(curve)), key=curve.__getitem__)
    since = len(curve) - lowest
    if since < len(curve) / 8 or curve[lowest] <= 0 or curve[-1] < RISEN * curve[lowest]:
        return None
    return (
        f"loss rising since step {points[lowest][0]:,.0f}: "
        f"{curve[lowest]:.3g} there, {curve[-1]:.3g} now"
    )


def _stuck(run: Run) -> str | None:
    points = run.series.points("soft")
    if (
        len(points) < ENOUGH or run.end or run.progress > 0.8
    ):  # the soft term is expected to flatten at the end
        return None
    curve = smoothed([point[1] for point in points], len(points) / 25)
    before, now = curve[-len(curve) // 3], curve[-1]
    if now < STUCK * before or now < 0.2 * max(curve):
        return None
    return (
        f"{run.soft_title} stuck at {now:.3g} since step {points[-len(points) // 3][0]:,.0f}; "
        "is the teacher's data the student's, and tau right?"
    )


def _slow(run: Run) -> str | None:
    rates = run.series.recent("clips_per_s", 400)
    if len(rates) < 30 or run.end:
        return None
    usual, now = median(rates[:-10]), median(rates[-10:])
    if now >= usual / 2:
        return None
    return f"throughput fell by half: {now:.0f} clips/s now, {usual:.0f} before"


def _teacher(run: Run, compared: Compared) -> str | None:
    if run.chooser != "test" or compared.teacher_top1 is None or run.best is None:
        return None  # the teacher's accuracy is that of the test part
    if run.best[1] <= compared.teacher_top1:
        return None
    return (
        f"teacher worse than student: {compared.teacher_top1:.2f} % against {run.best[1]:.2f} % "
        f"at epoch {run.best[0]}"
    )


def _stalled(run: Run, now: float | None) -> str | None:
    if run.state(now) != "stalled":
        return None
    return f"no event for {_span(run.quiet(now))}; its pace explains {_span(run.quiet_limit())}"


def _disk(run: Run) -> str | None:
    if not run.devices or run.end:
        return None
    first, last = run.devices[0], run.devices[-1]
    if first.disk_free_gb is None or last.disk_free_gb is None:
        return None
    free, hours = last.disk_free_gb, (last.time - first.time) / 3600
    lost = first.disk_free_gb - free
    if free < DISK_GB:
        return f"disk nearly full: {free:.1f} GB free"
    if hours > 0.02 and lost > 1 and free / (lost / hours) < DISK_HOURS:
        return f"disk full in {_span(3600 * free * hours / lost)}: {free:.1f} GB free"
    return None


def _failed(run: Run) -> str | None:
    if run.end is None or run.end.state != "failed":
        return None
    return f"failed: {run.end.reason or 'no reason given'}"


def alerts(run: Run, compared: Compared, now: float | None = None) -> list[Alert]:
    """All current problems of a run.

    Args:
        now: in seconds since 1970; the present by default.
    """
    reasons = {
        "nan": _not_finite(run),
        "skipped": _skipped(run),
        "rising": _rising(run),
        "stuck": _stuck(run),
        "slow": _slow(run),
        "teacher": _teacher(run, compared),
        "stalled": _stalled(run, now),
        "disk": _disk(run),
        "failed": _failed(run),
    }
    when = {
        "nan": run.not_finite[0].time if run.not_finite else 0.0,
        "disk": run.devices[-1].time if run.devices else 0.0,
        "stalled": (run.last_time or 0.0) + run.quiet_limit(),
    }
    at = run.last_time or 0.0
    return [
        Alert(kind, run.name, when.get(kind, at), reason)
        for kind, reason in reasons.items()
        if reason is not None
    ]


class AlertLog:
    """Keeps each alert once, as it was when it was first found."""

    def __init__(self) -> None:
        self.all: list[Alert] = []
        self._reported: set[tuple[str, str]] = set()

    def add(self, folder: str, current: list[Alert]) -> list[Alert]:
        """Adds and returns the alerts not yet reported; a stall that ended may come again."""
        kinds = {alert.kind for alert in current}
        if "stalled" not in kinds:
            self._reported.discard((folder, "stalled"))
        fresh = [alert for alert in current if (folder, alert.kind) not in self._reported]
        self._reported |= {(folder, alert.kind) for alert in fresh}
        self.all += fresh
        return fresh
