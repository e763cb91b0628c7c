"""What the dashboard shows: one object that the app makes and every widget draws from."""

from __future__ import annotations

from dataclasses import dataclass, field

from lastkd.monitor.log.groups import Group
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.charts import View
from lastkd.monitor.screen.glyphs import Glyphs
from lastkd.monitor.screen.style import Palette

MAX_SHOWN = 6
"""Runs in one chart: more can't be told apart."""


def row_key(row: Group | Run) -> str:
    """What identifies a row of the run table while runs come and go."""
    return str(row.tail.path) if isinstance(row, Run) else f"group {row.title}"


@dataclass
class MonitorState:
    """The data, the selection and the style that all widgets share.

    Attributes:
        watcher: the runs.
        palette: colours of the current theme.
        glyphs: characters that the terminal can show.
        view: how the charts are drawn.
        show_clock: the header shows the time of day.
        wide: the side panels are visible.
        row: the row under the table's cursor.
        chosen: keys of the runs that stay in the charts wherever the cursor is.
        pinned: key of the one run that the charts are held to.
    """

    watcher: Watcher
    palette: Palette
    glyphs: Glyphs
    view: View = field(default_factory=View)
    show_clock: bool = True
    wide: bool = False
    row: Group | Run | None = None
    chosen: set[str] = field(default_factory=set)
    pinned: str | None = None

    @property
    def shown_runs(self) -> list[Run]:
        """The runs in the charts: the pinned one or those under the cursor, and the chosen ones."""
        runs = {row_key(run): run for run in self.watcher.runs}
        keys = [self.pinned] if self.pinned else []
        if self.row is not None and not self.pinned:
            rows = self.row.runs if isinstance(self.row, Group) else [self.row]
            keys += [row_key(run) for run in rows]
        keys += [key for key in runs if key in self.chosen]
        return [runs[key] for key in dict.fromkeys(keys) if key in runs][:MAX_SHOWN]

    @property
    def current_run(self) -> Run | None:
        """The run that the panels of a single run show."""
        if isinstance(self.row, Run):
            return self.row
        return next(iter(self.shown_runs), None)

    @property
    def marks(self) -> dict[str, tuple[str, str]]:
        """By the key of each run in the charts: its mark and its colour there."""
        marks, colors = self.glyphs.marks, self.palette.runs
        return {
            row_key(run): (marks[index % len(marks)], colors[index % len(colors)])
            for index, run in enumerate(self.shown_runs)
        }

    def clear_selection(self) -> bool:
        """Drops the chosen and the pinned runs; whether there were any."""
        had = bool(self.chosen or self.pinned)
        self.chosen, self.pinned = set(), None
        return had
