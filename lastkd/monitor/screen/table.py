"""The run table: groups and their runs, sorted and filtered, with a cursor."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lastkd.monitor.log.groups import Group
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.columns import (
    COLUMNS,
    MARKS,
    Cell,
    Column,
    cell_segments,
    columns_for,
    state_color,
)
from lastkd.monitor.screen.glyphs import fit
from lastkd.monitor.screen.state import MonitorState, row_key
from lastkd.monitor.screen.style import ink


class RunTable(ScrollView, can_focus=True):
    """Rows of runs under the titles of their groups.

    The cursor rests on a run, or on a group's title, which stands for all of its runs.

    Args:
        state: what the dashboard shows; the table sets its `row`, `chosen` and `pinned`.
    """

    key, title = "1", "Runs"

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
        Binding("o", "sort", "sort", show=False),
        Binding("O", "reverse", "reverse", show=False),
    ]

    class Moved(Message):
        """The cursor rests on something else, or the selection of runs changed."""

    class Opened(Message):
        """A run's page was asked for."""

        def __init__(self, run: Run) -> None:
            super().__init__()
            self.run = run

    def __init__(self, state: MonitorState, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.state = state
        self.cursor = 0
        self.sorted_by: str | None = None
        self.reversed = False
        self.filter = ""
        self.rows: list[Group | Run] = []
        self._moved = False
        self._base: tuple[str, Style] | None = None
        self._marks: dict[str, tuple[str, str]] = {}

    def on_mount(self) -> None:
        self.border_title = f"[b]{self.key}[/b] {self.title}"

    def redraw(self) -> None:
        """Draws again, with the marks that the runs have in the charts now."""
        self._marks = self.state.marks
        self.refresh()

    def refill(self) -> None:
        """Takes over the watcher's groups; the cursor stays with its row."""
        before = row_key(self.state.row) if self.state.row else None
        rows: list[Group | Run] = []
        for group in self.state.watcher.groups:
            runs = [run for run in group.runs if self._passes(run, group)]
            if runs:
                rows += [Group(group.title, runs), *self._in_order(runs)]
        self.rows = rows
        keys = [row_key(row) for row in rows]
        if self._moved and before in keys:
            self._put_cursor(keys.index(before))
        else:
            self._put_cursor(self.cursor)
            if not self._moved or before is None or isinstance(self.state.row, Group):
                self._put_cursor(self._row_of_interest())
        self.virtual_size = Size(0, len(rows) + 1)
        self.refresh()

    def _put_cursor(self, index: int) -> None:
        self.cursor = min(max(index, 0), max(len(self.rows) - 1, 0))
        self.state.row = self.rows[self.cursor] if self.rows else None

    def _row_of_interest(self) -> int:
        """Where the last running run is, else the last distilled one, else the last run."""
        runs = [(index, row) for index, row in enumerate(self.rows) if isinstance(row, Run)]
        running = [index for index, run in runs if run.state() == "running"]
        distilled = [index for index, run in runs if run.distilled]
        candidates = running or distilled or [index for index, _ in runs] or [0]
        return candidates[-1]

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
            compared = self.state.watcher.compared
            keyed = [(column.order(run, compared(run)), run) for run in runs]
            known = [pair for pair in keyed if pair[0] is not None]
            known.sort(key=lambda pair: pair[0], reverse=self.reversed)
            ordered = [run for _, run in known] + [run for key, run in keyed if key is None]
        return sorted(ordered, key=lambda run: row_key(run) != self.state.pinned)

    # --- drawing --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        if self._base is None or self._base[0] != self.app.theme:
            self._base = (self.app.theme, self.rich_style)
        return self._line(y).apply_style(self._base[1])

    def _line(self, y: int) -> Strip:
        palette, glyphs = self.state.palette, self.state.glyphs
        width = self.scrollable_content_region.width or self.size.width
        if y == 0:
            return self._heading(width)
        index = y - 1 + round(self.scroll_offset.y)
        if index >= len(self.rows):
            text = self._placeholder() if not self.rows and y == 1 else ""
            return Strip([Segment(fit(text, width, glyphs), ink())])
        row, has_cursor = self.rows[index], index == self.cursor
        segments = [Segment(glyphs.cursor if has_cursor else " ", ink(palette.runs[0], bold=True))]
        if isinstance(row, Group):
            style = ink(palette.text if has_cursor else palette.dim, bold=has_cursor)
            segments.append(Segment(fit(row.title, width - 1, glyphs), style))
        else:
            segments += self._run(row, columns_for(width))
        strip = Strip(segments).adjust_cell_length(width, ink())
        if has_cursor:
            strip = strip.apply_style(ink(on=palette.cursor))
        return strip

    def _run(self, run: Run, columns: list[tuple[Column, int]]) -> list[Segment]:
        palette, glyphs, key = self.state.palette, self.state.glyphs, row_key(run)
        state = run.state()
        mark, color = self._marks.get(key, (" ", palette.text))
        if key == self.state.pinned:
            mark = glyphs.pin
        elif key in self.state.chosen and mark == " ":
            mark = glyphs.chosen
        segments = [
            Segment(mark, ink(color, bold=True)),
            Segment(glyphs.states.get(state, "?"), ink(state_color(state, palette), bold=True)),
        ]
        compared = self.state.watcher.compared(run)
        for column, width in columns:
            cell = Cell(run, compared, palette, glyphs, width, state)
            segments += [Segment(" ", ink()), *cell_segments(column, cell)]
        return segments

    def _heading(self, width: int) -> Strip:
        palette, glyphs = self.state.palette, self.state.glyphs
        segments = [Segment(" " * (MARKS - 1), ink())]
        for column, column_width in columns_for(width):
            title, sorts = column.title, column.key == self.sorted_by
            if sorts:
                title += glyphs.down if self.reversed else glyphs.up
            text = fit(title, column_width, glyphs)
            if not column.left:
                text = text.rstrip().rjust(column_width)
            segments += [
                Segment(" ", ink()),
                Segment(text, ink(palette.text if sorts else palette.dim)),
            ]
        return Strip(segments).adjust_cell_length(width, ink())

    def _placeholder(self) -> str:
        """The text in place of rows."""
        if self.filter:
            return f"  no run matches {self.filter!r}; Esc shows all"
        roots = ", ".join(str(root) for root in self.state.watcher.roots)
        return f"  waiting for a run (lastkd demo makes three) in {roots}"

    # --- keys and mouse -------------------------------------------------------------------------

    def action_move(self, rows: int) -> None:
        self.go_to(self.cursor + rows)

    def go_to(self, index: int) -> None:
        """Puts the cursor on a row and scrolls it into view."""
        self._moved = True
        self._put_cursor(index)
        # the heading doesn't scroll and covers one row
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
        if isinstance(self.state.row, Run):
            self.post_message(self.Opened(self.state.row))

    def action_choose(self) -> None:
        """Keeps the row's runs in the charts, or takes them out if all of them are kept."""
        self._moved = True
        row, chosen = self.state.row, self.state.chosen
        runs = row.runs if isinstance(row, Group) else [row] if row else []
        keys = {row_key(run) for run in runs}
        self.state.chosen = chosen - keys if keys <= chosen else chosen | keys
        self.refresh()
        self.post_message(self.Moved())

    def action_pin(self) -> None:
        """Holds the charts to the run under the cursor, wherever the cursor goes next."""
        if isinstance(self.state.row, Run):
            self._moved = True
            key = row_key(self.state.row)
            self.state.pinned = None if key == self.state.pinned else key
            self.refill()
            self.post_message(self.Moved())

    def action_sort(self) -> None:
        """Sorts by the next column; after the last one the order is that of the groups again."""
        keys = [None] + [column.key for column, _ in columns_for(self.size.width)]
        place = keys.index(self.sorted_by) if self.sorted_by in keys else 0
        self.sort_by(keys[(place + 1) % len(keys)])

    def sort_by(self, key: str | None) -> None:
        """Sorts by a column, or reverses its order if it sorts already.

        Accuracy, gain, speed and progress start with the largest value.
        """
        largest_first = key in ("top1", "gain", "rate", "bar")
        self.reversed = largest_first if key != self.sorted_by else not self.reversed
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
