"""The report's figures, as PNG and SVG. Needs matplotlib (`pip install 'lastkd[plots]'`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lastkd.errors import UserError
from lastkd.report.reference import EFFICIENT_GCN
from lastkd.report.table import Row, make_rows, teachers
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

MOST_NAMED = 30
"""Classes that have room for their names below the bars; of more the numbers stand there."""


def draw(runs: Sequence[Run], out: Path, prefix: str) -> list[Path]:
    """Draws what the runs of one section have figures for; returns the PNG files.

    Args:
        out: the folder.
        prefix: of the files' names.
    """
    rows = make_rows(runs)
    drawn: list[Path] = []
    for name, figure in (
        ("loss", _losses(rows)),
        ("accuracy", _accuracies(rows)),
        ("gain_per_class", _gains(rows)),
        ("confusion", _confusions(rows, runs)),
        ("accuracy_against_parameters", _sizes(rows, runs)),
    ):
        if figure is None:
            continue
        path = out / f"{prefix}_{name}.png"
        figure.savefig(path, dpi=150, metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        plt.close(figure)
        drawn.append(path)
    return drawn


def _grid(count: int, width: float = 4.0, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        1, count, figsize=(width * count, height), squeeze=False, layout="constrained"
    )
    return figure, list(axes[0])


def _losses(rows: Sequence[Row]) -> Figure | None:
    """The hard and the soft part of each distilled student's loss, of its first seed."""
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


def _accuracies(rows: Sequence[Row]) -> Figure | None:
    """Top-1 over epochs, standalone and distilled, every seed a line."""
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
        ax.set(title=f"{row.model}\n{row.method}", xlabel="epoch", ylabel="top-1, %")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend()
    return figure


def _by_class(runs: Sequence[Run]) -> np.ndarray | None:
    found = [run.last["by_class"] for run in runs if run.last is not None]
    if not found:
        return None
    values = np.array([[np.nan if v is None else v for v in one] for one in found], float)
    mean: np.ndarray = values.mean(axis=0)
    return mean


def _class_names(row: Row) -> tuple[str, ...]:
    """As the predictions have them; none where there are no predictions."""
    said = (run.predictions for run in row.standalone + row.distilled)
    return next((one.class_names for one in said if one is not None), ())


def _gains(rows: Sequence[Row]) -> Figure | None:
    """Points gained in each class, the largest first."""
    shown = [(row, _by_class(row.standalone), _by_class(row.distilled)) for row in rows]
    pairs = [(row, b - a) for row, a, b in shown if a is not None and b is not None]
    if not pairs:
        return None
    figure, axes = _grid(len(pairs))
    for ax, (row, gain) in zip(axes, pairs, strict=True):
        order = np.argsort(-gain)
        names = _class_names(row) if len(gain) <= MOST_NAMED else ()
        ax.bar(range(len(gain)), gain[order], color=np.where(gain[order] < 0, "C3", "C2"))
        ax.axhline(0, color="black", linewidth=0.5)
        labels = [names[k] if k < len(names) else str(k) for k in order]
        ax.set_xticks(range(len(gain)), labels, rotation=90, fontsize=7 if names else 5)
        ax.set(title=f"{row.model}\n{row.method}", xlabel="class", ylabel="gain, points")
    return figure


def _confusions(rows: Sequence[Row], runs: Sequence[Run]) -> Figure | None:
    """Confusion of teacher, standalone and distilled, of the first student that has predictions."""
    kept = [("teacher", run) for run in teachers(runs) if run.predictions is not None][:1]
    for row in rows:
        pair = [
            (which, run)
            for which, own in (("standalone", row.standalone), ("distilled", row.distilled))
            for run in own[:1]
            if run.predictions is not None
        ]
        if len(pair) == 2:
            kept += [(f"{row.model}, {which}", run) for which, run in pair]
            break
    if not kept:
        return None
    figure, axes = _grid(len(kept), height=4.0)
    for ax, (name, run) in zip(axes, kept, strict=True):
        said = run.predictions
        assert said is not None
        K = len(said.class_names)
        counts = np.bincount(said.labels * K + said.predicted, minlength=K * K).reshape(K, K)
        share = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        image = ax.imshow(share, vmin=0, vmax=100, cmap="Blues")
        ax.set(title=name, xlabel="predicted class", ylabel="true class")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=axes, label="% of the true class")
    return figure


def _sizes(rows: Sequence[Row], runs: Sequence[Run]) -> Figure | None:
    """Top-1 at the last epoch against parameters."""
    figure, (ax,) = _grid(1, width=7.0, height=4.0)
    lines: dict[str, dict[int, tuple[float, float]]] = {}
    # each variant has an alpha of its own: one line as long as none was distilled in two ways
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
    for run in teachers(runs):
        if run.last is not None:
            ax.plot(run.start["parameters"], run.last["top1"], "*", color="black", label=run.model)
            any_point = True
    if any_point and "NTU RGB+D 60" in runs[0].start["data"]["source"]:
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
