"""The run table: groups and their runs, with a cursor, sorted and filtered by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lastkd.monitor.log.groups import Group
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.columns import COLUMNS, MARKS, Cell, cell_segments, columns_for
from lastkd.monitor.screen.style import fit, ink

if TYPE_CHECKING:
    from lastkd.monitor.screen.app import MonitorApp


class RunTable(ScrollView, can_focus=True):
    """Rows of runs under the titles of their groups.

    The cursor rests on a run, or on a group's title, which stands for all of its runs.
    """

    app: MonitorApp
    key, name_shown = "1", "Runs"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "move(-10)", "page up", show=False),
        Binding("pagedown", "move(10)", "page down", show=False),
        Binding("home", "move(-100000)", "first", show=False),
        Binding("end", "move(100000)", "last", show=False),
        Binding("enter", "open", "open", key_display="Enter"),
        Binding("space", "choose", "overlay", key_display="Space"),
        Binding("p", "pin", "pin"),
        Binding("o", "sort(1)", "sort", show=False),
        Binding("O", "reverse", "reverse", show=False),
    ]

    class Moved(Message):
        """The cursor rests on something else, or the choice of runs changed."""

    class Opened(Message):
        """A run is to be shown on a page of its own."""

        def __init__(self, run: Run) -> None:
            super().__init__()
            self.run = run

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0
        self._moved = False
        self.chosen: set[str] = set()
        self.pinned: str | None = None
        self.sorted_by: str | None = None
        self.reversed = False
        self.filter = ""
        self.rows: list[Group | Run] = []
        self._base: tuple[str, Style] | None = None
        self.marks: dict[str, tuple[str, str]] = {}
        """By a shown run's key: its mark in the charts and the colour."""

    @staticmethod
    def key_of(row: Group | Run) -> str:
        return str(row.tail.path) if isinstance(row, Run) else f"group {row.title}"

    @property
    def current(self) -> Group | Run | None:
        return self.rows[self.cursor] if self.cursor < len(self.rows) else None

    def refill(self) -> None:
        """Takes over the watcher's groups; the cursor stays with its row."""
        before = self.key_of(self.current) if self.current else None
        rows: list[Group | Run] = []
        for group in self.app.watcher.groups:
            runs = [run for run in group.runs if self._passes(run, group)]
            if runs:
                rows += [Group(group.title, runs), *self._in_order(runs)]
        self.rows = rows
        keys = [self.key_of(row) for row in rows]
        if not self._moved:  # nobody has chosen: the run that runs is of most interest
            self.cursor = self._first_of_interest()
        elif before in keys:
            self.cursor = keys.index(before)
        else:
            self.cursor = min(self.cursor, max(len(rows) - 1, 0))
            if before is None or isinstance(self.current, Group):
                self.cursor = self._first_of_interest()
        self.virtual_size = Size(0, len(rows) + 1)
        self.refresh()

    def _first_of_interest(self) -> int:
        """A running run, else the last distilled one, else the first run."""
        runs = [(index, row) for index, row in enumerate(self.rows) if isinstance(row, Run)]
        for fits in (
            lambda run: run.state() == "running",
            lambda run: run.distilled,
            lambda run: True,
        ):
            found = [index for index, run in runs if fits(run)]
            if found:
                return found[-1]
        return 0

    def _passes(self, run: Run, group: Group) -> bool:
        """Every word of the filter is somewhere in what is known of the run."""
        if not self.filter:
            return True
        known = " ".join((str(run.folder), run.model, run.state(), group.title)).lower()
        return all(word in known for word in self.filter.lower().split())

    def _in_order(self, runs: list[Run]) -> list[Run]:
        column = next((c for c in COLUMNS if c.key == self.sorted_by), None)
        ordered = list(runs)
        if column is not None:
            compared = self.app.watcher.compared
            keyed = [(column.order(run, compared(run)), run) for run in runs]
            known = [pair for pair in keyed if pair[0] is not None]
            known.sort(key=lambda pair: pair[0], reverse=self.reversed)
            ordered = [run for _, run in known] + [run for key, run in keyed if key is None]
        return sorted(ordered, key=lambda run: self.key_of(run) != self.pinned)

    # --- drawing --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        if self._base is None or self._base[0] != self.app.theme:
            self._base = (self.app.theme, self.rich_style)
        return self._line(y).apply_style(self._base[1])

    def _line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width or self.size.width
        columns = columns_for(width)
        if y == 0:
            return self._heading(width)
        index = y - 1 + round(self.scroll_offset.y)
        if index >= len(self.rows):
            segments = [Segment(" " * width, ink())]
            if not self.rows and y == 1:
                segments = [Segment(fit(self._nothing(), width, self.app.glyphs), ink())]
            return Strip(segments)
        row, palette, glyphs = self.rows[index], self.app.palette, self.app.glyphs
        at = index == self.cursor
        segments = [Segment(glyphs.cursor if at else " ", ink(palette.runs[0], bold=True))]
        if isinstance(row, Group):
            style = ink(palette.text if at else palette.dim, bold=at)
            segments.append(Segment(fit(row.title, width - 1, glyphs), style))
        else:
            segments += self._run(row, columns, width)
        strip = Strip(segments).adjust_cell_length(width, ink())
        if at:
            strip = strip.apply_style(ink(on=palette.cursor))
        return strip

    def _run(self, run: Run, columns: list, width: int) -> list[Segment]:  # type: ignore[type-arg]
        palette, glyphs, key = self.app.palette, self.app.glyphs, self.key_of(run)
        state = run.state()
        mark, color = self.marks.get(key, (" ", palette.text))
        if key == self.pinned:
            mark = glyphs.pin
        elif key in self.chosen and mark == " ":
            mark = glyphs.chosen
        from lastkd.monitor.screen.columns import state_color

        segments = [
            Segment(mark, ink(color, bold=True)),
            Segment(glyphs.states.get(state, "?"), ink(state_color(state, palette), bold=True)),
        ]
        compared = self.app.watcher.compared(run)
        for column, column_width in columns:
            cell = Cell(run, compared, palette, glyphs, column_width, state)
            segments += [Segment(" ", ink()), *cell_segments(column, cell)]
        return segments

    def _heading(self, width: int) -> Strip:
        palette, glyphs = self.app.palette, self.app.glyphs
        segments = [Segment(" " * (MARKS - 1), ink())]
        for column, column_width in columns_for(width):
            title = column.title
            if column.key == self.sorted_by:
                title += glyphs.down if self.reversed else glyphs.up
            text = fit(title, column_width, glyphs)
            if not column.left:
                text = text.rstrip().rjust(column_width)
            style = ink(palette.dim if column.key != self.sorted_by else palette.text)
            segments += [Segment(" ", ink()), Segment(text, style)]
        return Strip(segments).adjust_cell_length(width, ink())

    def _nothing(self) -> str:
        if self.filter:
            return f"  no run matches {self.filter!r}; Esc shows all"
        places = ", ".join(str(root) for root in self.app.watcher.roots)
        return f"  waiting for a run (lastkd demo makes three) in {places}"

    # --- keys and mouse -------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        self.go_to(self.cursor + rows)

    def go_to(self, index: int) -> None:
        """Puts the cursor on a row and brings that into view."""
        self._moved = True
        self.cursor = min(max(index, 0), max(len(self.rows) - 1, 0))
        # the heading stays, so a row is one lower than it would be
        height = max(self.scrollable_content_region.height - 1, 1)
        top = round(self.scroll_offset.y)
        if self.cursor <= top:
            self.scroll_to(y=max(self.cursor - 1, 0), animate=False)
        elif self.cursor >= top + height:
            self.scroll_to(y=self.cursor - height + 1, animate=False)
        self.refresh()
        self.post_message(self.Moved())

    def action_open(self) -> None:
        self._moved = True
        if isinstance(self.current, Run):
            self.post_message(self.Opened(self.current))

    def action_choose(self) -> None:
        """Keeps the row's runs in the charts, or takes them out."""
        self._moved = True
        row = self.current
        runs = row.runs if isinstance(row, Group) else [row] if row else []
        keys = {self.key_of(run) for run in runs}
        self.chosen = self.chosen - keys if keys <= self.chosen else self.chosen | keys
        self.refresh()
        self.post_message(self.Moved())

    def action_pin(self) -> None:
        """Holds the charts to the run under the cursor, wherever the cursor goes then."""
        if isinstance(self.current, Run):
            self._moved = True
            key = self.key_of(self.current)
            self.pinned = None if key == self.pinned else key
            self.refill()
            self.post_message(self.Moved())

    def action_sort(self, direction: int) -> None:
        """Sorts by the next column, and after the last one by none."""
        shown = [None] + [column.key for column, _ in columns_for(self.size.width)]
        at = shown.index(self.sorted_by) if self.sorted_by in shown else 0
        self.sort_by(shown[(at + direction) % len(shown)])

    def sort_by(self, key: str | None) -> None:
        self.reversed = (
            key in ("top1", "gain", "rate", "bar") if key != self.sorted_by else (not self.reversed)
        )
        self.sorted_by = key
        self.refill()
        self.post_message(self.Moved())

    def action_reverse(self) -> None:
        self.reversed = not self.reversed
        self.refill()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            edge = MARKS - 1
            for column, width in columns_for(self.size.width):
                edge += width + 1
                if offset.x < edge:
                    self.sort_by(column.key)
                    return
            return
        index = offset.y - 1 + round(self.scroll_offset.y)
        if index < len(self.rows):
            self.go_to(index)
            if event.chain == 2:
                self.action_open()

    def scroll_region_of(self, index: int) -> Region:
        return Region(0, index + 1, self.size.width, 1)
