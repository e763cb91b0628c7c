"""The dashboard itself: layout, keys, and the clock that reads the logs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.filter import LineFilter
from textual.reactive import reactive
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from lastkd.monitor.log.groups import Group
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.charts import View
from lastkd.monitor.screen.header import HeaderLine, StatusLine
from lastkd.monitor.screen.panels import (
    AccuracyPanel,
    Drawn,
    LossPanel,
    PacePanel,
    Panel,
    SharePanel,
)
from lastkd.monitor.screen.side_panels import AlertPanel, ClassPanel, DevicePanel
from lastkd.monitor.screen.style import ASCII, UNICODE, Glyphs, Palette
from lastkd.monitor.screen.table import RunTable
from lastkd.monitor.screen.themes import THEMES, AsciiOnly, palette_of

POLL_S = 0.25
MOST_SHOWN = 6
"""Runs in one chart: more can't be told apart."""
LEAST_COLUMNS, LEAST_ROWS = 60, 16


class MonitorApp(App[None]):
    """Watches runs.

    Args:
        watcher: what is watched.
        utf8: the terminal shows more than ASCII.
        theme: a theme's name.
        show_clock: the time of day stands in the header.
    """

    CSS_PATH = "monitor.tcss"
    TITLE = "lastkd monitor"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-tiny"),
        (LEAST_COLUMNS, "-narrow"),
        (76, "-medium"),
        (140, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"),
        (LEAST_ROWS, "-short"),
        (22, "-usual"),
        (40, "-tall"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("escape", "step_back", "back", show=False),
        Binding("slash,f", "filter", "filter", key_display="/"),
        Binding("1", "panel('runs')", "panels", key_display="1-5"),
        Binding("2", "panel('loss')", "loss", show=False),
        Binding("3", "panel('accuracy')", "accuracy", show=False),
        Binding("4", "panel('devices')", "devices", show=False),
        Binding("5", "panel('alerts')", "alerts", show=False),
        Binding("a", "panel('alerts')", "alerts", show=False),
        Binding("y", "log_axis", "log"),
        Binding("w", "weighted", "weights"),
        Binding("s", "lines", "raw/smooth", show=False),
        Binding("c", "part", "part", show=False),
        Binding("t", "light_dark", "theme", show=False),
        Binding("ctrl+q", "quit", "quit", show=False),
    ]

    reading: reactive[bool] = reactive(True)

    def __init__(
        self,
        watcher: Watcher,
        *,
        utf8: bool = True,
        theme: str = "lastkd-dark",
        show_clock: bool = True,
    ) -> None:
        # asked for once, for the filter of lines is made before anything else
        self.glyphs: Glyphs = UNICODE if utf8 else ASCII
        self._ascii_only = None if utf8 else AsciiOnly()
        super().__init__()
        self.watcher = watcher
        self.view = View()
        self.show_clock = show_clock
        self.animation_level = "none"  # a slow line has no room for what only moves
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme
        self._zoomed: str | None = None
        self._ticks = 0
        self._checked = False

    # --- layout ---------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield HeaderLine(id="header", frame=False)
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield RunTable(id="runs")
                with Horizontal(id="charts"):
                    yield LossPanel(id="loss")
                    yield AccuracyPanel(id="accuracy")
                with Horizontal(id="more"):
                    yield SharePanel(id="share")
                    yield PacePanel(id="pace")
            with Vertical(id="side"):
                yield DevicePanel(id="devices")
                yield ClassPanel(id="classes")
                yield AlertPanel(id="alerts")
        yield Static(id="small")
        yield Input(placeholder="words to find: a name, a model, a state", id="filter")
        yield StatusLine(id="status", frame=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.main = self.screen
        table = self.table = self.query_one(RunTable)
        table.border_title = "[b]1[/b] Runs"
        self.main.set_class(self.glyphs is ASCII, "ascii")
        table.focus()
        if not self.is_headless and self.console.color_system == "standard":
            self.theme = "lastkd-16"
        self.tick()
        self.redraw(refill=True)
        self.set_interval(POLL_S, self.tick)

    @property
    def palette(self) -> Palette:
        """The colours of the theme."""
        return palette_of(self.current_theme)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What a theme of Textual's own doesn't say."""
        palette = palette_of(self.current_theme)
        return {"line": palette.faint, "words": palette.dim}

    @property
    def wide(self) -> bool:
        """There is room for the side panels."""
        return self.main.has_class("-wide") and not self.main.has_class("-short")

    def get_line_filters(self) -> list[LineFilter]:
        filters = list(super().get_line_filters())
        return [*filters, self._ascii_only] if self._ascii_only else filters

    # --- data -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Reads what is new and draws what that changes."""
        if not self.table.is_attached:
            return  # the screen is being taken down
        changed = self.watcher.poll()
        self._ticks += 1
        second = self._ticks % round(1 / POLL_S) == 1
        if second and not self.watcher.pending:
            at_start, self._checked = not self._checked, True
            for alert in self.watcher.check():
                changed = True
                if not at_start:  # what was there at the start stands in the panel
                    self.notify(
                        alert.reason, title=alert.run, severity="warning", timeout=8, markup=False
                    )
        if changed:
            self.redraw(refill=True, only_changed=True)
        elif second:  # times that pass
            for line in self.main.query("#header, #status").results(Drawn):
                line.redraw()
            self.table.refresh()
        if self.watcher.pending:
            self.call_later(self.tick_on)

    def tick_on(self) -> None:
        """Reads on while a long log isn't read to its end, between keys and frames."""
        if not self.table.is_attached:
            return
        if self.watcher.poll(0.1):
            self.main.query_one("#header", Drawn).redraw()
        if self.watcher.pending:
            self.set_timer(0.001, self.tick_on)
        else:
            self.redraw(refill=True, only_changed=True)

    def redraw(self, *, refill: bool = False, only_changed: bool = False) -> None:
        """Draws again: data, choice or view changed.

        Args:
            refill: the table's rows may be others.
            only_changed: only events came, so panels that show none of them stay as they are.
        """
        table = self.table
        if not table.is_attached:
            return
        if refill:
            table.refill()
        marks, colors = self.glyphs.marks, self.palette.runs
        table.marks = {
            table.key_of(run): (marks[index % len(marks)], colors[index % len(colors)])
            for index, run in enumerate(self.shown_runs)
        }
        table.refresh()
        for screen in self.screen_stack:
            for widget in screen.query(Drawn):
                widget.data_changed() if only_changed else widget.redraw()
        for page in self.screen_stack[1:]:
            if hasattr(page, "data_changed"):
                page.data_changed()

    @property
    def shown_runs(self) -> list[Run]:
        """The runs in the charts: the pinned one, those chosen, and what the cursor rests on."""
        table = self.table
        runs = {table.key_of(run): run for run in self.watcher.runs}
        keys = [table.pinned] if table.pinned else []
        row = table.current
        if row is not None and not table.pinned:
            keys += [table.key_of(run) for run in (row.runs if isinstance(row, Group) else [row])]
        keys += [key for key in runs if key in table.chosen]
        return [runs[key] for key in dict.fromkeys(keys) if key in runs][:MOST_SHOWN]

    @property
    def current_run(self) -> Run | None:
        """The run that single-run panels speak of."""
        row = self.table.current
        if isinstance(row, Run):
            return row
        return self.shown_runs[0] if self.shown_runs else None

    # --- keys -----------------------------------------------------------------------------------

    def on_run_table_moved(self) -> None:
        self.redraw()

    def on_run_table_opened(self, message: RunTable.Opened) -> None:
        from lastkd.monitor.screen.run_page import RunPage

        self.push_screen(RunPage(message.run))

    def action_help(self) -> None:
        from lastkd.monitor.screen.help_page import HelpPage

        self.push_screen(HelpPage())

    def action_step_back(self) -> None:
        """Steps back: from the filter, a panel that fills the screen, or a choice of runs."""
        table = self.table
        entry = self.main.query_one("#filter", Input)
        if entry.display or table.filter:
            entry.value = ""
            entry.display = False
            table.filter = ""
            table.focus()
            self.redraw(refill=True)
        elif self._zoomed:
            self._zoom(None)
        elif table.chosen or table.pinned:
            table.chosen, table.pinned = set(), None
            self.redraw(refill=True)

    def action_panel(self, name: str) -> None:
        """A panel fills the screen; its key again brings the others back."""
        if self.screen is not self.main:
            return
        self._zoom(None if name in (self._zoomed, "runs") else name)

    def action_zoom(self) -> None:
        """The panel that has the focus fills the screen, or doesn't any more."""
        focused = self.focused
        if isinstance(focused, Panel) and focused.id:
            self._zoom(None if self._zoomed else focused.id)

    def _zoom(self, name: str | None) -> None:
        self._zoomed = name
        for widget in self.main.query("#body *"):
            holds = name is None or widget.id == name or bool(widget.query(f"#{name}"))
            widget.set_class(not holds, "aside")
            widget.set_class(name is not None and holds, "zoomed")
        (self.main.query_one(f"#{name}") if name else self.table).focus()
        self.call_after_refresh(self.redraw)

    def action_filter(self) -> None:
        if self.screen is not self.main:
            return
        entry = self.main.query_one("#filter", Input)
        entry.display = True
        entry.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.filter = event.value.strip()
        self.redraw(refill=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.input.display = False
        self.table.focus()

    def action_log_axis(self) -> None:
        self.view.log = not self.view.log
        self.redraw()

    def action_weighted(self) -> None:
        self.view.weighted = not self.view.weighted
        self.redraw()

    def action_lines(self) -> None:
        """Both the raw and the smoothed line, the smoothed alone, the raw alone."""
        order = ("both", "smooth", "raw")
        self.view.lines = order[(order.index(self.view.lines) + 1) % 3]
        self.redraw()

    def action_part(self) -> None:
        """All parts of the loss, or one of them."""
        order = ("all", "total", "ce", "kl")
        self.view.part = order[(order.index(self.view.part) + 1) % 4]
        self.redraw()

    def action_light_dark(self) -> None:
        self.theme = "lastkd-light" if self.current_theme.dark else "lastkd-dark"
        self.redraw()

    def on_resize(self, event: events.Resize) -> None:
        if hasattr(self, "main"):
            self.call_after_refresh(self.redraw)
        small = event.size.width < LEAST_COLUMNS or event.size.height < LEAST_ROWS
        if small and hasattr(self, "main"):
            running = [run for run in self.watcher.runs if run.state() == "running"]
            lines = [
                f"{event.size.width}x{event.size.height} is too small:",
                f"lastkd monitor needs {LEAST_COLUMNS}x{LEAST_ROWS}.",
                "",
                *(f"{run.name} {100 * run.progress:.0f} %" for run in running),
            ]
            self.main.query_one("#small", Static).update("\n".join(lines))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What belongs to the main screen isn't offered on a page above it."""
        if action in ("filter", "panel") and hasattr(self, "main"):
            return self.screen is self.main
        return super().check_action(action, parameters)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        yield SystemCommand(
            "Log axis", "Loss on a logarithmic axis or not (y)", self.action_log_axis
        )
        yield SystemCommand(
            "Weighted parts",
            "CE and KL as they enter the loss or as such (w)",
            self.action_weighted,
        )
        yield SystemCommand("Raw or smoothed", "Which lines are drawn (s)", self.action_lines)
        yield SystemCommand("Loss part", "All parts, or one of them (c)", self.action_part)
        yield SystemCommand("Filter runs", "By name, model or state (/)", self.action_filter)


def theme_for(environment: dict[str, str] | None = None) -> str:
    """Light or dark, as far as the terminal tells (`COLORFGBG` ends in its background's number)."""
    said = (os.environ if environment is None else environment).get("COLORFGBG", "")
    background = said.rpartition(";")[2]
    return "lastkd-light" if background in ("7", "15") else "lastkd-dark"
