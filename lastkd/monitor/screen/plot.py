"""Line charts as rows of styled segments.

Lines are drawn with braille dots (2 x 4 a cell), or with plain characters. Curves differ in colour,
pattern and mark, so that each of the three alone tells them apart. The y axis may be logarithmic.
Values that aren't finite leave gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.style import Style

from lastkd.monitor.screen.canvas import Canvas, Row
from lastkd.monitor.screen.glyphs import Glyphs, fit_name
from lastkd.monitor.screen.style import Look, Palette, ink


@dataclass
class Curve:
    """One line.

    Attributes:
        points: `(x, y)`.
        spread: `(x, low, high)`, drawn faintly behind the line.
        value: the latest, for the legend.
        marked: every point has a mark, not only the last.
        raw: the spread is drawn in the line's colour.
    """

    label: str
    look: Look
    points: Sequence[tuple[float, float]]
    spread: Sequence[tuple[float, float, float]] = ()
    value: str = ""
    marked: bool = False
    raw: bool = False


@dataclass
class Level:
    """A horizontal line with a label."""

    y: float
    label: str
    look: Look


@dataclass
class Band:
    """A range of y with a label."""

    low: float
    high: float
    label: str


@dataclass
class Plot:
    """Everything one chart shows.

    Attributes:
        log: the y axis is logarithmic.
        x_limits, y_limits: the ranges of the axes; by default those of the values.
        whole_x: x is counted, so ticks are whole numbers.
        empty: the text in place of a chart without any point.
    """

    curves: list[Curve] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    bands: list[Band] = field(default_factory=list)
    log: bool = False
    y_limits: tuple[float, float] | None = None
    x_limits: tuple[float, float] | None = None
    x_format: Callable[[float], str] = "{:g}".format
    y_format: Callable[[float], str] = "{:g}".format
    whole_x: bool = False
    empty: str = "nothing yet"


def nice_ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """At most `most` round numbers from low to high."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or most < 1:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 5, 10, 20, 50):
        if whole and step * factor < 1:
            continue
        first = math.ceil(low / (step * factor) - 1e-9)
        last = math.floor(high / (step * factor) + 1e-9)
        if last - first + 1 <= most:
            return [n * step * factor for n in range(first, last + 1)]
    return []


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round multiples of powers of ten between low and high, both above 0."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(ticks) <= most:
            return ticks
    return [10.0**d for d in decades if low <= 10.0**d <= high][:: max(1, len(decades) // most)]


def _limits(plot: Plot) -> tuple[float, float, float, float] | None:
    """The ranges `(x_low, x_high, low, high)` that contain everything; None without any point."""
    fits = (lambda y: math.isfinite(y) and y > 0) if plot.log else math.isfinite
    xs = [x for curve in plot.curves for x, y in curve.points if fits(y)]
    ys = [y for curve in plot.curves for _, y in curve.points if fits(y)]
    if not xs:
        return None
    ys += [level.y for level in plot.levels if fits(level.y)]
    ys += [y for band in plot.bands for y in (band.low, band.high) if fits(y)]
    # nearly all of the spread: one outlier must not flatten everything else
    for curve in plot.curves:
        highs = sorted(high for _, _, high in curve.spread if fits(high))
        lows = sorted(low for _, low, _ in curve.spread if fits(low))
        if highs and lows:
            ys += [highs[int(0.98 * (len(highs) - 1))], lows[int(0.02 * (len(lows) - 1))]]
    low, high = plot.y_limits or (min(ys), max(ys))
    if plot.log:
        low, high = low / 1.05, high * 1.05
    elif plot.y_limits is None:
        margin = 0.06 * (high - low) or max(abs(high) * 0.1, 0.1)
        low, high = max(low - margin, 0.0) if low >= 0 else low - margin, high + margin
    x_low, x_high = plot.x_limits or (min(xs), max(xs))
    return x_low, max(x_high, x_low + 1e-9), low, high


def draw(plot: Plot, width: int, height: int, palette: Palette, glyphs: Glyphs) -> list[Row]:
    """A chart of `width` x `height` cells, with legend and axes."""
    canvas = Canvas(max(width, 1), max(height, 1), glyphs)
    limits = _limits(plot)
    if limits is None or width < 12 or height < 4:
        text = plot.empty[:width]
        canvas.write((width - len(text)) // 2, height // 2, text, ink(palette.dim))
        return canvas.rows()
    legend_rows = _legend(canvas, plot, palette)
    top, bottom = legend_rows, height - 2  # the last row has the x axis' labels
    x_low, x_high, low, high = limits
    rows = bottom - top + 1
    most = max(2, (rows + 1) // 2 if rows < 13 else rows // 3)
    ticks = log_ticks(low, high, most) if plot.log else nice_ticks(low, high, most)
    labels = [plot.y_format(tick) for tick in ticks]
    gutter = max((len(label) for label in labels), default=1) + 1
    area = _Area(canvas, plot, (x_low, x_high, low, high), gutter, top, bottom)

    tick_mark, corner, line = glyphs.axis
    faint, dim = ink(palette.faint), ink(palette.dim)
    axis_row = bottom + 1
    taken: set[int] = set()
    for tick, label in zip(ticks, labels, strict=True):
        row = area.row(tick)
        if top <= row <= bottom and row not in taken:
            taken.add(row)
            canvas.write(gutter - 1 - len(label), row, label, dim)
            canvas.write(gutter - 1, row, tick_mark, faint)
    for row in range(top, bottom + 1):
        if row not in taken:
            canvas.write(gutter - 1, row, glyphs.frame, faint)
    _x_axis(canvas, plot, area, axis_row, palette, (corner, line))
    for band in plot.bands:
        for row in range(max(area.row(band.high), top), min(area.row(band.low), bottom) + 1):
            canvas.ground(row, palette.band, gutter)
        for y in (band.low, band.high):
            area.level(y, Look(palette.good, (1, 0, 0, 0)), ink(palette.good))
    for level in plot.levels:
        area.level(level.y, level.look, ink(level.look.color))
    for curve in reversed(plot.curves):  # so that the first is on top
        area.spread(curve, ink(curve.look.color if curve.raw else palette.faint))
    for curve in reversed(plot.curves):
        area.curve(curve)
    _level_labels(canvas, plot, area, palette)
    return canvas.rows()


class _Area:
    """The part of a canvas inside the axes, and the positions of values there."""

    def __init__(
        self,
        canvas: Canvas,
        plot: Plot,
        limits: tuple[float, float, float, float],
        left: int,
        top: int,
        bottom: int,
    ) -> None:
        self.canvas, self.log = canvas, plot.log
        self.left, self.top, self.bottom = left, top, bottom
        self.x_low, self.x_high, self.low, self.high = limits
        self.dots_across = (canvas.width - left) * canvas.across
        self.dots_down = (bottom - top + 1) * canvas.down

    def x(self, value: float) -> int:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return self.left * self.canvas.across + round(share * (self.dots_across - 1))

    def y(self, value: float) -> int | None:
        """The dot row of a value, at the edge for values outside; None if it has no position."""
        low, high = self.low, self.high
        if not math.isfinite(value) or (self.log and value <= 0):
            return None
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return self.top * self.canvas.down + round((1 - share) * (self.dots_down - 1))

    def row(self, value: float) -> int:
        dot = self.y(value)
        return -1 if dot is None else dot // self.canvas.down

    def level(self, value: float, look: Look, style: Style) -> None:
        y = self.y(value)
        if y is not None:
            start = self.left * self.canvas.across
            self.canvas.line((start, y), (start + self.dots_across - 1, y), look, style, "-")

    def spread(self, curve: Curve, style: Style) -> None:
        columns: dict[int, tuple[float, float]] = {}
        for x, low, high in curve.spread:
            column = self.x(x)
            before = columns.get(column, (low, high))
            columns[column] = (min(low, before[0]), max(high, before[1]))
        last: tuple[int, int] | None = None
        for column, (low, high) in sorted(columns.items()):
            bottom, top = self.y(low), self.y(high)
            if bottom is None or top is None:
                last = None
                continue
            if last is not None and column - last[0] <= 8:
                self.canvas.line(last, (column, (top + bottom) // 2), Look(""), style, ".")
            for y in range(top, bottom + 1):
                self.canvas.dot(column, y, style, ".")
            last = (column, (top + bottom) // 2)

    def curve(self, curve: Curve) -> None:
        style = ink(curve.look.color, bold=curve.look.bold)
        marks = self.canvas.glyphs.marks
        last: tuple[int, int] | None = None
        placed: list[tuple[int, int]] = []
        columns: dict[int, float] = {}
        for x, value in curve.points:
            columns[self.x(x)] = value  # the last of several in one column
        for column, value in columns.items():
            y = self.y(value)
            if y is None:
                last = None
                continue
            here = (column, y)
            self.canvas.line(last or here, here, curve.look, style)
            placed.append(here)
            last = here
        every = placed if curve.marked and len(placed) * 3 <= self.dots_across else placed[-1:]
        for x, y in every:
            mark = marks[curve.look.mark % len(marks)]
            column, row = x // self.canvas.across, y // self.canvas.down
            # if two curves end in the same cell, their marks stand side by side
            while not curve.marked and self.canvas.has_mark(column, row) and column > self.left:
                column -= 1
            self.canvas.write(column, row, mark, style)


def _legend(canvas: Canvas, plot: Plot, palette: Palette) -> int:
    """Writes the legend into the first row, as far as it fits; the number of rows used."""
    named = [curve for curve in plot.curves if curve.label]
    if not named:
        return 0
    glyphs = canvas.glyphs
    width = canvas.width
    most = max(len(curve.label) for curve in named)
    while most > 4 and sum(min(len(c.label), most) + len(c.value) + 5 for c in named) > width + 2:
        most -= 1
    column = 0
    for curve in named:
        mark = glyphs.marks[curve.look.mark % len(glyphs.marks)]
        sample = f"{mark} "
        label = fit_name(curve.label, min(len(curve.label), most), glyphs)
        if column + len(sample) + len(label) > width:
            break
        style = ink(curve.look.color, bold=curve.look.bold)
        canvas.write(column, 0, sample, style)
        canvas.write(column + len(sample), 0, label, style)
        column += len(sample) + len(label) + 1
        if curve.value and column + len(curve.value) <= width:
            canvas.write(column, 0, curve.value, ink(palette.text))
            column += len(curve.value) + 2
    return 1


def _x_axis(
    canvas: Canvas, plot: Plot, area: _Area, row: int, palette: Palette, axis: tuple[str, str]
) -> None:
    corner, line = axis
    faint, dim = ink(palette.faint), ink(palette.dim)
    canvas.write(area.left - 1, row, corner + line * (canvas.width - area.left), faint)
    room = canvas.width - area.left
    free_from = area.left
    for tick in nice_ticks(area.x_low, area.x_high, max(2, room // 9), whole=plot.whole_x):
        label = plot.x_format(tick)
        column = area.x(tick) // canvas.across - len(label) // 2
        column = min(max(column, area.left), canvas.width - len(label))
        if column >= free_from:
            canvas.write(column, row, label, dim)
            free_from = column + len(label) + 2


def _level_labels(canvas: Canvas, plot: Plot, area: _Area, palette: Palette) -> None:
    """Writes the labels of levels and bands, each on a free row near its line."""
    labels = [(area.row(level.y), level.label, level.look.color) for level in plot.levels]
    labels += [
        (area.row((band.low + band.high) / 2), band.label, palette.good) for band in plot.bands
    ]
    taken: set[int] = set()
    for row, label, color in sorted(labels):
        for near in (row, row + 1, row - 1, row + 2, row - 2):
            if near not in taken and area.top <= near <= area.bottom:
                taken.add(near)
                text = f" {label} "
                left, right = area.left + 1, canvas.width - len(text) - 1
                covers_more = canvas.covered(left, near, len(text)) > canvas.covered(
                    right, near, len(text)
                )
                canvas.write(right if covers_more else left, near, text, ink(color))
                break
