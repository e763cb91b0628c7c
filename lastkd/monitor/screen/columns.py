"""The columns of the run table: content, sort order, and the table width that they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.segment import Segment
from rich.style import Style

from lastkd.monitor.log.groups import Compared, expected
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.format import count, span
from lastkd.monitor.screen.glyphs import Glyphs, bar, fit, fit_name
from lastkd.monitor.screen.style import Palette, ink


@dataclass(frozen=True)
class Cell:
    """Everything a cell is made from."""

    run: Run
    compared: Compared
    palette: Palette
    glyphs: Glyphs
    width: int
    state: str


Shown = tuple[str, Style] | list[Segment]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        width: the least, in characters; `columns_for` widens names and bars.
        from_width: the narrowest table that shows the column.
        shown: a cell's text and style, or segments of exactly the cell's width.
        order: the sort key of a run; runs with None come last.
        left: aligned to the left.
    """

    key: str
    title: str
    width: int
    from_width: int
    shown: Callable[[Cell], Shown]
    order: Callable[[Run, Compared], Any]
    left: bool = False


def state_color(state: str, palette: Palette) -> str:
    return {
        "running": palette.good,
        "finished": palette.runs[0],
        "failed": palette.bad,
        "stalled": palette.warn,
        "stopped": palette.warn,
    }.get(state, palette.dim)


def _state(cell: Cell) -> Shown:
    return cell.state, ink(state_color(cell.state, cell.palette))


def _epoch(cell: Cell) -> Shown:
    run = cell.run
    return f"{run.epoch}/{run.total_epochs}" if run.start else "", ink(cell.palette.text)


def _step(cell: Cell) -> Shown:
    run = cell.run
    return f"{count(run.step)}/{count(run.total_steps)}" if run.start else "", ink(cell.palette.dim)


def _bar(cell: Cell) -> Shown:
    full, rest = bar(cell.run.progress, cell.width, cell.glyphs)
    color = state_color(cell.state, cell.palette)
    return [Segment(full, ink(color)), Segment(rest, ink(cell.palette.faint))]


def _number(value: float | None, form: str, color: str) -> Shown:
    return (form.format(value) if value is not None else ""), ink(color)


def _gain(cell: Cell) -> Shown:
    gain = cell.compared.gain(cell.run)
    if gain is None:
        return "", ink()
    return f"{gain:+.1f}", ink(cell.palette.good if gain >= 0 else cell.palette.bad, bold=True)


def _expects(cell: Cell) -> Shown:
    pair = expected(cell.run)
    if pair is None:
        return "", ink()
    best = cell.run.best
    color = cell.palette.good if best and best[1] >= pair[0] else cell.palette.dim
    return f"{pair[0]:.0f}-{pair[1]:.0f}", ink(color)


def _warnings(cell: Cell) -> Shown:
    number = cell.run.warning_count + cell.run.bad_lines
    return (str(number) if number else ""), ink(cell.palette.warn)


def _best(run: Run) -> str:
    """The best top-1, with a v if it is that of the validation part."""
    if run.best is None:
        return ""
    return f"{run.best[1]:.1f}{'v' if run.chooser == 'validation' else ''}"


def _percent(share: float | None, color: str) -> Shown:
    return ("" if share is None else f"{100 * share:.0f} %"), ink(color)


def _baseline(compared: Compared) -> float | None:
    best = compared.baseline.best if compared.baseline else None
    return best[1] if best else None


COLUMNS = (
    Column(
        "run",
        "run",
        17,
        0,
        lambda c: (
            fit_name(c.run.name, c.width, c.glyphs),
            ink(c.palette.text, bold=c.state == "running"),
        ),
        lambda run, _: run.name,
        left=True,
    ),
    Column(
        "model",
        "model",
        12,
        140,
        lambda c: (c.run.model, ink(c.palette.dim)),
        lambda run, _: run.model,
        left=True,
    ),
    Column("state", "state", 8, 74, _state, lambda run, _: run.state(), left=True),
    Column("epoch", "epoch", 6, 0, _epoch, lambda run, _: run.epoch),
    Column("step", "step", 11, 118, _step, lambda run, _: run.step),
    Column("bar", "done", 8, 56, _bar, lambda run, _: run.progress, left=True),
    Column(
        "rate",
        "clips/s",
        7,
        74,
        lambda c: (
            count(c.run.clips_per_s) if c.run.clips_per_s else "",
            ink(c.palette.text),
        ),
        lambda run, _: run.clips_per_s,
    ),
    Column(
        "share",
        "teacher",
        7,
        100,
        lambda c: _percent(c.run.teacher_share, c.palette.dim),
        lambda run, _: run.teacher_share,
    ),
    Column(
        "left",
        "left",
        5,
        0,
        lambda c: (span(c.run.seconds_left()), ink(c.palette.text)),
        lambda run, _: run.seconds_left(),
    ),
    Column(
        "top1",
        "top-1",
        5,
        0,
        lambda c: (_best(c.run), ink(c.palette.text, bold=True)),
        lambda run, _: run.best and run.best[1],
    ),
    Column(
        "alone",
        "alone",
        5,
        106,
        lambda c: _number(_baseline(c.compared), "{:.1f}", c.palette.dim),
        lambda _, compared: _baseline(compared),
    ),
    Column("gain", "gain", 5, 0, _gain, lambda run, compared: compared.gain(run)),
    Column("expected", "expects", 7, 146, _expects, lambda run, _: expected(run)),
    Column(
        "loss",
        "loss",
        6,
        124,
        lambda c: _number(c.run.last.total if c.run.last else None, "{:.3g}", c.palette.text),
        lambda run, _: run.last and run.last.total,
    ),
    Column(
        "soft",
        "soft",
        5,
        124,
        lambda c: _percent(c.run.soft_share(), c.palette.soft),
        lambda run, _: run.soft_share(),
    ),
    Column(
        "alpha",
        "alpha",
        5,
        92,
        lambda c: _number(
            c.run.number("alpha") if c.run.distilled else None, "{:g}", c.palette.dim
        ),
        lambda run, _: run.number("alpha"),
    ),
    Column(
        "tau",
        "tau",
        4,
        92,
        lambda c: _number(c.run.number("tau") if c.run.distilled else None, "{:g}", c.palette.dim),
        lambda run, _: run.number("tau"),
    ),
    Column("warnings", "warn", 4, 86, _warnings, lambda run, _: run.warning_count),
)
MARKS = 4
"""Characters before the first column: cursor, mark in the charts, state, space."""


def columns_for(width: int) -> list[tuple[Column, int]]:
    """The columns of a table of this width, each with its own; name and bar share what is left."""
    shown = [column for column in COLUMNS if width >= column.from_width]
    widths = {column.key: column.width for column in shown}
    spare = width - MARKS - sum(widths.values()) - (len(shown) - 1)
    longest = {"run": 26, "bar": 22}
    for key in ("run", "bar", "run"):
        if key in widths and spare > 0:
            more = min(spare, longest[key] - widths[key])
            widths[key] += more
            spare -= more
    widths["run"] += spare
    return [(column, widths[column.key]) for column in shown]


def cell_segments(column: Column, cell: Cell) -> list[Segment]:
    """A cell in exactly its width."""
    shown = column.shown(cell)
    if isinstance(shown, list):
        return shown
    text, style = shown
    text = fit(text, cell.width, cell.glyphs)
    if not column.left:
        text = text.rstrip().rjust(cell.width)
    return [Segment(text, style)]
