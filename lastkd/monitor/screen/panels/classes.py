"""The classes that gained and lost most."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment

from lastkd.monitor.log.classes import ClassChange, class_changes, class_names
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.glyphs import fit
from lastkd.monitor.screen.panels.base import Panel
from lastkd.monitor.screen.state import MonitorState
from lastkd.monitor.screen.style import ink


class ClassesPanel(Panel):
    """The classes that gained and lost most, with bars to either side of a middle line."""

    title, place = "Classes", "side"

    def __init__(self, state: MonitorState, *, only: Run | None = None) -> None:
        super().__init__(state, only=only)
        self._names: dict[str, list[str]] = {}

    def _changes(self) -> tuple[str, list[ClassChange]]:
        run = self.run
        if run is None:
            return "", []
        key = f"{run.folder} {max(run.epochs, default=0)}"
        if key not in self._names:  # reads a checkpoint's header, so once an evaluation
            self._names = {key: class_names(run)}
        return class_changes(run, self.state.watcher.compared(run), self._names[key])

    def content(self) -> object:
        return self._changes()

    def titles(self) -> tuple[str, str]:
        reference, _ = self._changes()
        return "top-1 %", reference

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs = self.state.palette, self.state.glyphs
        _, changes = self._changes()
        if not changes:
            return [[Segment(fit("no evaluation yet", width, glyphs), ink(palette.dim))]]
        rows: list[Row] = []
        for change in _outermost(changes, height):
            if change is None:
                text = f"{glyphs.ellipsis} {len(changes) - height + 1} classes between"
                rows.append([Segment(fit(text, width, glyphs), ink(palette.faint))])
            else:
                largest = max(1.0, *(abs(one.gain) for one in changes))
                rows.append(self._row(change, change.gain / largest, width))
        return rows

    def _row(self, change: ClassChange, length: float, width: int) -> Row:
        """Name, bar and figures of one class.

        Args:
            length: of the bar, from -1 to 1.
        """
        palette, glyphs, gain = self.state.palette, self.state.glyphs, change.gain
        roomy = width > 54  # for the two accuracies beside their difference
        room = max(width - (21 if roomy else 8), 8)
        half = max(min(room // 3, 24), 6) // 2
        name_width = max(room - 2 * half - 1, 4)
        color = palette.good if gain > 0 else palette.bad if gain < 0 else palette.faint
        blocks = glyphs.bar[0] * min(round(abs(length) * half), half)
        return [
            Segment(fit(change.name, name_width, glyphs) + " ", ink(palette.text)),
            Segment(blocks.rjust(half) if gain < 0 else " " * half, ink(color)),
            Segment(glyphs.frame, ink(palette.faint)),
            Segment(blocks.ljust(half) if gain > 0 else " " * half, ink(color)),
            Segment(f"{change.before:6.1f} {change.now:5.1f}" if roomy else "", ink(palette.dim)),
            Segment(f"{gain:+7.1f}", ink(color, bold=True)),
        ]


def _outermost(changes: Sequence[ClassChange], rows: int) -> list[ClassChange | None]:
    """The first and the last of the changes, with None between them for those left out."""
    if len(changes) <= rows:
        return list(changes)
    above = (rows - 1) // 2
    below = len(changes) - (rows - 1 - above)
    return [*changes[:above], None, *changes[below:]]
