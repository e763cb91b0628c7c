"""From runs to charts: the loss split, accuracy, the share of the soft term, and the pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lastkd.monitor.log.groups import Compared, expected
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.series import smoothed
from lastkd.monitor.screen.format import count, short
from lastkd.monitor.screen.plot import Band, Curve, Level, Plot
from lastkd.monitor.screen.style import DASHED, DOTTED, MIXED, SOLID, Look, Palette, run_look

PARTS = ("total", "ce", "soft")


def part_name(part: str, soft_title: str) -> str:
    """What a part of the loss is called in a chart."""
    return {"total": "total", "ce": "CE", "soft": soft_title}[part]


@dataclass
class View:
    """How the charts are drawn; keys change it.

    Attributes:
        log: the loss has a logarithmic axis.
        weighted: CE and soft term enter with their weights, so that they add up to the total.
        lines: `raw`, `smooth` or `both`.
        part: `all`, `total`, `ce` or `soft`; for several runs `all` shows their total.
    """

    log: bool = False
    weighted: bool = True
    lines: str = "both"
    part: str = "all"

    def next_lines(self) -> None:
        """Both lines, only the smoothed one, only the raw one, and so on."""
        order = ("both", "smooth", "raw")
        self.lines = order[(order.index(self.lines) + 1) % len(order)]

    def next_part(self) -> None:
        """All parts of the loss, then each alone, and so on."""
        order = ("all", *PARTS)
        self.part = order[(order.index(self.part) + 1) % len(order)]

    def describe(self, *, split: bool, soft_title: str) -> str:
        """What the loss chart shows, for its border.

        Args:
            split: a single distilled run is shown, whose loss has parts.
            soft_title: short name of the soft term.
        """
        shown = "total" if self.part == "all" and not split else self.part
        names = f"CE + {soft_title}" if shown == "all" else part_name(shown, soft_title)
        weights = "" if shown == "total" else ", weighted" if self.weighted else ", unweighted"
        return names + weights + (", log" if self.log else "")


Points = list[tuple[float, float]]


def part_points(
    run: Run, part: str, weighted: bool
) -> tuple[Points, list[tuple[float, float, float]]]:
    """One part of a run's loss: `(step, mean)` and `(step, smallest, largest)` of each bucket.

    Args:
        part: `total`, `ce` or `soft`.
        weighted: multiplied by its weight in the loss.
    """
    points = run.series.points(part)
    factors = [1.0] * len(points)
    if weighted and part == "ce":
        factors = [run.weights()[0]] * len(points)
    elif weighted and part == "soft":
        factors = run.soft_weights([step for step, *_ in points])
    scaled = [
        (step, factor * mean, factor * low, factor * high)
        for (step, mean, low, high), factor in zip(points, factors, strict=True)
    ]
    return (
        [(step, mean) for step, mean, _, _ in scaled],
        [(step, low, high) for step, _, low, high in scaled],
    )


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points with their values averaged over a fortieth of the curve."""
    means = smoothed([y for _, y in points], len(points) / 40)
    return [(x, y) for (x, _), y in zip(points, means, strict=True)]


def _curve(label: str, look: Look, run: Run, part: str, view: View) -> Curve:
    points, spread = part_points(run, part, view.weighted)
    if view.lines == "smooth":
        spread = []
    if view.lines != "raw":
        points = _smooth(points)
    value = short(points[-1][1] if points else None)
    return Curve(label, look, points, spread, value, raw=view.lines == "raw")


def loss_plot(runs: Sequence[Run], view: View, palette: Palette) -> Plot:
    """CE, soft term and total of one run, or one part of several."""
    plot = Plot(log=view.log, x_format=count, whole_x=True, y_format=short, empty="no steps yet")
    with_steps = [run for run in runs if run.last is not None]
    if len(with_steps) == 1:
        (run,) = with_steps
        looks = {
            "total": Look(palette.total, SOLID, 0, bold=True),
            "ce": Look(palette.ce, DASHED, 1),
            "soft": Look(palette.soft, DOTTED, 2),
        }
        for part in PARTS if view.part == "all" else (view.part,):
            # without a teacher CE is the total
            if run.series.has(part) and (run.distilled or part != "ce" or view.part == "ce"):
                name = part_name(part, run.soft_title)
                plot.curves.append(_curve(name, looks[part], run, part, view))
    else:
        part = "total" if view.part == "all" else view.part
        for index, run in enumerate(runs):
            if run.series.has(part):
                plot.curves.append(_curve(run.name, run_look(palette, index), run, part, view))
    if len(runs) == 1 and runs[0].total_steps and runs[0].step:
        plot.x_limits = (0, max(runs[0].step, 1))
    return plot


def accuracy_plot(
    runs: Sequence[Run], compared: Sequence[Compared], palette: Palette, *, roomy: bool
) -> Plot:
    """Top-1 over epochs, with levels for the baseline and teacher and a band for what is expected.

    Args:
        roomy: there is space for the baseline's curve as well.
    """
    plot = Plot(whole_x=True, empty="no evaluation yet", y_format="{:.3g}".format)
    for index, run in enumerate(runs):
        value = f"{run.best[1]:.1f}" if run.best else ""
        points: Points = [(epoch, top1) for epoch, top1 in run.accuracies]
        plot.curves.append(
            Curve(run.name, run_look(palette, index), points, value=value, marked=True)
        )
    # the teacher's accuracy is that of the test part
    on_test = [c for run, c in zip(runs, compared, strict=True) if run.chooser == "test"]
    teachers = {c.teacher_top1 for c in on_test if c.teacher_top1 is not None}
    for top1 in sorted(teachers)[-1:] if len(teachers) > 2 else sorted(teachers):
        plot.levels.append(Level(top1, f"teacher {top1:.1f}", Look(palette.teacher, DASHED)))
    shown = {id(run) for run in runs}
    baselines = {
        id(c.baseline): c.baseline for c in compared if c.baseline and id(c.baseline) not in shown
    }
    for baseline in baselines.values():
        if baseline.best:
            name = "standalone" if len(runs) == 1 else f"{baseline.variant} alone"
            label = f"{name} {baseline.best[1]:.1f}"
            plot.levels.append(Level(baseline.best[1], label, Look(palette.baseline, DOTTED)))
        if roomy and len(runs) == 1:
            points = [(epoch, top1) for epoch, top1 in baseline.accuracies]
            look = Look(palette.baseline, MIXED, 1)
            plot.curves.append(Curve("standalone", look, points))
    ranges = {expected(run) for run in runs} - {None}
    if len(ranges) == 1:
        ((low, high),) = (pair for pair in ranges if pair)
        plot.bands.append(Band(low, high, f"expected {low:.0f}-{high:.0f}"))
    epochs = [epoch for run in runs for epoch, _ in run.accuracies]
    if epochs:
        totals = [run.total_epochs for run in runs if run.total_epochs]
        plot.x_limits = (min(epochs) if min(epochs) > 1 else 1, max([*epochs, *totals]))
    return plot


def share_plot(runs: Sequence[Run], palette: Palette) -> Plot:
    """The weighted soft term as a percentage of the loss, over the steps."""
    plot = Plot(
        y_limits=(0, 100),
        x_format=count,
        whole_x=True,
        empty="standalone: no teacher, no soft term",
    )
    for index, run in enumerate(runs):
        if not run.distilled:
            continue
        totals = dict(run.series_means("total"))
        points = [
            (step, 100 * soft / totals[step])
            for step, soft in run.weighted_soft()
            if totals.get(step)
        ]
        points = _smooth(points)
        look = run_look(palette, index)
        if len(runs) == 1:
            look = Look(palette.soft, SOLID, 2, bold=True)
        value = f"{points[-1][1]:.0f} %" if points else ""
        plot.curves.append(
            Curve(run.name if len(runs) > 1 else run.soft_title, look, points, value=value)
        )
    return plot


def pace_plot(runs: Sequence[Run], palette: Palette) -> Plot:
    """Clips per second over the steps."""
    plot = Plot(x_format=count, whole_x=True, y_format=count, empty="no steps yet")
    for index, run in enumerate(runs):
        buckets = run.series.points("clips_per_s")
        points = [(step, mean) for step, mean, _, _ in buckets]
        points = _smooth(points)
        spread = [(step, low, high) for step, _, low, high in buckets]
        value = count(points[-1][1]) if points else ""
        label = run.name if len(runs) > 1 else "clips/s"
        plot.curves.append(Curve(label, run_look(palette, index), points, spread, value))
    if any(curve.points for curve in plot.curves):
        top = max(y for curve in plot.curves for _, y in curve.points)
        plot.y_limits = (0, 1.1 * top or 1)
    return plot
