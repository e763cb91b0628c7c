"""The report's figures, as PNG and SVG. They need matplotlib (`pip install 'lastkd[plots]'`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lastkd.errors import UserError
from lastkd.report.reference import EFFICIENT_GCN
from lastkd.report.summary import Line
from lastkd.report.table import Row, Section
from lastkd.runs.log import Run

try:
    import matplotlib as mpl
except ImportError:
    raise UserError(
        "figures need matplotlib; pip install 'lastkd[plots]' or give --no-figures"
    ) from None

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

GAINED, LOST = "C0", "C1"
"""Blue and orange, which colour-blind readers tell apart."""
MOST_NAMED = 30
"""Up to this many classes have their names below the bars; more have numbers."""


def draw_section(section: Section, out: Path) -> list[Path]:
    """Draws each figure of one set that its runs have values for; returns the PNG files.

    Args:
        section: the set.
        out: an existing folder.
    """
    prefix = re.sub(
        r"\W+", "_", f"{section.split}_{section.data['hash'][:8]}{section.held_out[:4]}"
    )
    rows, teachers = section.rows, section.teachers
    figures = {
        "loss": _losses(rows),
        "accuracy": _accuracies(rows, section.chooser),
        "gain_per_class": _gains(rows),
        "confusion": _confusions(rows, teachers),
        "accuracy_against_parameters": _sizes(rows, teachers, section),
    }
    return [
        _save(figure, out / f"{prefix}_{name}.png")
        for name, figure in figures.items()
        if figure is not None
    ]


def draw_summary(sections: Sequence[Section], lines: Sequence[Line], out: Path) -> list[Path]:
    """Draws the gains of every student on every set; returns the PNG file, beside SVG and PDF."""
    shown = [line for line in lines if line.gain is not None]
    if not shown:
        return []
    names = [section.name for section in sections]
    height = 1.2 + 0.3 * (len(names) + 1)
    figure, axes = plt.subplots(
        1, len(shown), figsize=(1.2 + 2.1 * len(shown), height), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for ax, line in zip(axes[0], shown, strict=True):
        _forest(ax, line, names)
    axes[0][0].set_yticks(range(len(names) + 1), [*names, "mean, 95 %"])
    axes[0][0].invert_yaxis()
    figure.supxlabel("gain of distilling over standalone training, points", fontsize=9)
    path = out / "gains_over_sets.png"
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    return [_save(figure, path)]


def _forest(ax: Axes, line: Line, names: Sequence[str]) -> None:
    """One student: a dot for each seed, a bar for each set's mean, the mean with its interval."""
    ax.axvline(0, color="black", linewidth=0.6)
    for place, name in enumerate(names):
        row = line.rows.get(name)
        if row is None or not row.gains:
            continue
        gain = line.set_gains[name]
        colour = GAINED if gain > 0 else LOST
        ax.barh(place, gain, height=0.55, color=colour, alpha=0.35)
        ax.plot(list(row.gains.values()), [place] * len(row.gains), "o", color=colour, markersize=3)
    assert line.gain is not None
    low, high = line.gain.low, line.gain.high
    if low is not None and high is not None:
        ax.plot((low, high), (len(names), len(names)), color="black", linewidth=1.2)
    ax.plot(line.gain.gain, len(names), "D", color="black", markersize=5)
    ax.axhline(len(names) - 0.5, color="grey", linewidth=0.4)
    ax.set_title(f"{line.model}\n{line.method}", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.grid(axis="x", linewidth=0.3)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=150, metadata={"Software": None})
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    plt.close(figure)
    return path


def _grid(count: int, width: float = 4.0, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        1, count, figsize=(width * count, height), squeeze=False, layout="constrained"
    )
    return figure, list(axes[0])


def _losses(rows: Sequence[Row]) -> Figure | None:
    """The parts of each distilled student's loss, for its first seed."""
    shown = [row for row in rows if row.distilled]
    if not shown:
        return None
    figure, axes = _grid(len(shown))
    for ax, row in zip(axes, shown, strict=True):
        run = row.distilled[0]
        for key, label in (("ce", "CE"), ("soft", run.soft_title), ("total", "total")):
            points = [(s["step"], s[key]) for s in run.steps.values() if s.get(key) is not None]
            if points:
                ax.plot(*zip(*points, strict=True), label=label, linewidth=1)
        ax.set(title=f"{row.model}\n{row.method}", xlabel="step", yscale="log")
        ax.legend()
    return figure


def _accuracies(rows: Sequence[Row], part: str) -> Figure | None:
    """Top-1 over epochs on a part, standalone and distilled, a line for each seed."""
    shown = [row for row in rows if row.standalone or row.distilled]
    if not shown:
        return None
    figure, axes = _grid(len(shown))
    for ax, row in zip(axes, shown, strict=True):
        for which, runs, colour in (
            ("standalone", row.standalone, "C0"),
            ("distilled", row.distilled, "C1"),
        ):
            for number, run in enumerate(runs):
                points = [(e["epoch"], e["top1"]) for e in run.epochs.values()]
                if points:
                    label = which if number == 0 else None
                    ax.plot(*zip(*points, strict=True), color=colour, label=label, marker=".")
        ax.set(title=f"{row.model}\n{row.method}", xlabel="epoch", ylabel=f"top-1 on {part}, %")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
    return figure


def _gains(rows: Sequence[Row]) -> Figure | None:
    """Points gained in each class, in descending order."""
    shown = [(row, row.by_class("standalone"), row.by_class("distilled")) for row in rows]
    pairs = [(row, b - a) for row, a, b in shown if a is not None and b is not None]
    if not pairs:
        return None
    figure, axes = _grid(len(pairs))
    for ax, (row, gain) in zip(axes, pairs, strict=True):
        order = np.argsort(-gain)
        names = row.class_names if len(gain) <= MOST_NAMED else ()
        ax.bar(range(len(gain)), gain[order], color=np.where(gain[order] < 0, LOST, GAINED))
        ax.axhline(0, color="black", linewidth=0.5)
        labels = [names[k] if k < len(names) else str(k) for k in order]
        ax.set_xticks(range(len(gain)), labels, rotation=90, fontsize=7 if names else 5)
        ax.set(title=f"{row.model}\n{row.method}", xlabel="class", ylabel="gain, points")
    return figure


def _confusions(rows: Sequence[Row], teachers: Sequence[Run]) -> Figure | None:
    """Confusion of teacher, standalone and distilled, for the first student with predictions."""
    shown = [("teacher", run) for run in teachers if run.predictions is not None][:1]
    for row in rows:
        pair = [
            (which, run)
            for which, runs in (("standalone", row.standalone), ("distilled", row.distilled))
            for run in runs[:1]
            if run.predictions is not None
        ]
        if len(pair) == 2:
            shown += [(f"{row.model}, {which}", run) for which, run in pair]
            break
    if not shown:
        return None
    figure, axes = _grid(len(shown), height=4.0)
    for ax, (name, run) in zip(axes, shown, strict=True):
        predictions = run.predictions
        assert predictions is not None
        counts = predictions.confusion
        share = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        image = ax.imshow(share, vmin=0, vmax=100, cmap="Blues")
        ax.set(title=name, xlabel="predicted class", ylabel="true class")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=axes, label="% of the true class")
    return figure


def _sizes(rows: Sequence[Row], teachers: Sequence[Run], section: Section) -> Figure | None:
    """Top-1 at the last epoch against the number of parameters."""
    figure, (ax,) = _grid(1, width=7.0, height=4.0)
    lines: dict[str, dict[int, tuple[float, float]]] = {}
    # alpha differs by student: one line for all, unless a student was distilled in several ways
    one_way = len({row.model for row in rows}) == len(rows)
    for row in rows:
        loss = row.method.partition(",")[0]
        method = f"distilled, {loss}" if one_way else row.method
        for which, label in (("standalone", "standalone"), ("distilled", method)):
            reached = row.figure(which, "last", "top1")
            if row.parameters is not None and reached.mean is not None:
                spread = reached.deviation or 0.0
                lines.setdefault(label, {})[row.parameters] = (reached.mean, spread)
    for label, points in sorted(lines.items(), key=lambda line: line[0] != "standalone"):
        means, spreads = zip(*points.values(), strict=True)
        ax.errorbar(list(points), means, yerr=spreads, fmt="o-", label=label, capsize=3)
    any_point = bool(lines)
    for run in teachers:
        if run.last is not None:
            ax.plot(run.start["parameters"], run.last["top1"], "*", color="black", label=run.model)
            any_point = True
    if any_point and "NTU RGB+D 60" in section.data["source"]:
        for model in EFFICIENT_GCN:
            ax.plot(1e6 * model.million_parameters, model.top1, "s", color="grey")
            ax.annotate(model.name, (1e6 * model.million_parameters, model.top1), fontsize=7)
    if not any_point:
        plt.close(figure)
        return None
    ax.set(xscale="log", xlabel="parameters", ylabel="top-1 at the last epoch, %")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_minor_formatter(NullFormatter())
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside right upper")
    return figure
