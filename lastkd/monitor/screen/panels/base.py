"""The base of every panel: a framed widget that draws rows from the shared state."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.plot import Plot, draw
from lastkd.monitor.screen.state import MonitorState
from lastkd.monitor.screen.style import ink

Place = Literal["charts", "more", "side"]


class Drawn(Widget):
    """A widget that draws rows of segments, again only when something has changed.

    Args:
        state: what the dashboard shows.
    """

    def __init__(self, state: MonitorState, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.state = state
        self._rows: list[Strip] | None = None
        self._blank = Strip([])
        self._rows_made_for = (Size(0, 0), "")
        self._shown_content: object = None

    def redraw(self) -> None:
        """Draws again, whatever has changed."""
        self._rows = None
        self._shown_content = self.content()
        self.update_titles()
        self.refresh()

    def data_changed(self) -> None:
        """Draws again if the new events change what is shown here."""
        content = self.content()
        if content is None or content != self._shown_content:
            self.redraw()

    def content(self) -> object:
        """The values that are drawn, to be compared; None where any event may change them."""
        return None

    def update_titles(self) -> None:
        """Sets the texts in the border."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        """The rows from the top; missing ones stay blank, wider ones are cut."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        made_for = (self.size, self.app.theme)
        if self._rows is None or made_for != self._rows_made_for:
            width, base = self.size.width, self.rich_style
            rows = self.draw_rows(width, self.size.height)
            self._rows = [
                Strip(row).adjust_cell_length(width, ink()).apply_style(base) for row in rows
            ]
            self._blank = Strip.blank(width, base)
            self._rows_made_for = made_for
        return self._rows[y] if y < len(self._rows) else self._blank


class Panel(Drawn, can_focus=True):
    """A framed panel of the main screen or of a run's page.

    A subclass sets the class attributes, returns its border texts from `titles` and its rows from
    `draw_rows`, and joins the table `PANELS`. Layout, number keys and the help page follow.

    Attributes:
        key: the number key that makes the panel fill the screen; empty for none.
        other_keys: more keys that do the same.
        title: at the panel's top.
        place: `charts` (a row below the runs), `more` (a second row, on tall and wide terminals) or
            `side` (a column at the right, on wide terminals).

    Args:
        state: what the dashboard shows.
        only: the one run to show, whatever is selected.
    """

    key: ClassVar[str] = ""
    other_keys: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str]
    place: ClassVar[Place]

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "zoom", "zoom", show=False)]

    class Zoomed(Message):
        """The panel is to fill the screen, or to go back to its place."""

        def __init__(self, panel: Panel) -> None:
            super().__init__()
            self.panel = panel

    def __init__(self, state: MonitorState, *, only: Run | None = None) -> None:
        super().__init__(state)
        self._only = only
        self._titles: tuple[str, str] | None = None

    @property
    def run(self) -> Run | None:
        """The run that a panel of a single run shows."""
        return self._only or self.state.current_run

    @property
    def runs(self) -> list[Run]:
        """The runs that a panel of several runs shows."""
        return [self._only] if self._only else self.state.shown_runs

    def titles(self) -> tuple[str, str]:
        """The text after the title, and the one in the lower border."""
        return "", ""

    def update_titles(self) -> None:
        titles = self.titles()
        if titles == self._titles:
            return  # parsing them again takes longer than asking
        self._titles = titles
        behind, below = titles
        key = f"[b]{self.key}[/b] " if self.key else ""
        detail = " [dim]$behind[/dim]" if behind else ""
        self.border_title = Content.from_markup(
            f"{key}$title{detail}", title=self.title, behind=behind
        )
        self.border_subtitle = Content(below)

    def action_zoom(self) -> None:
        self.post_message(self.Zoomed(self))


class ChartPanel(Panel):
    """A panel with one chart of the selected runs."""

    def plot(self, width: int) -> Plot:
        """The chart for a panel of `width` columns."""
        raise NotImplementedError

    def draw_rows(self, width: int, height: int) -> list[Row]:
        return draw(self.plot(width), width, height, self.state.palette, self.state.glyphs)
