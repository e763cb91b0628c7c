"""The dashboard: layout, keys, and the timer that reads the logs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.glyphs import ASCII, UNICODE, AsciiOnly
from lastkd.monitor.screen.header import HeaderLine, StatusLine
from lastkd.monitor.screen.help_page import HelpPage
from lastkd.monitor.screen.panels import PANELS
from lastkd.monitor.screen.panels.base import Drawn, Panel
from lastkd.monitor.screen.run_page import RunPage
from lastkd.monitor.screen.state import MonitorState
from lastkd.monitor.screen.style import DARK, THEMES, palette_of
from lastkd.monitor.screen.table import RunTable

POLL_S = 0.25
MIN_COLUMNS, MIN_ROWS = 60, 16


class MonitorApp(App[None]):
    """The dashboard of some runs.

    It makes the `MonitorState` that every widget draws from. Widgets change the selection and the
    view there and post messages; the app answers these by drawing again.

    Args:
        watcher: the runs.
        utf8: the terminal shows more than ASCII.
        theme: the name of a theme.
        show_clock: the header shows the time of day.
        panels: in the order of the layout.
    """

    CSS_PATH = "monitor.tcss"
    TITLE = "lastkd monitor"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-tiny"),
        (MIN_COLUMNS, "-narrow"),
        (76, "-medium"),
        (140, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"),
        (MIN_ROWS, "-short"),
        (22, "-usual"),
        (40, "-tall"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("escape", "step_back", "back", show=False),
        Binding("slash,f", "filter", "filter", key_display="/"),
        Binding("ctrl+q", "quit", "quit", show=False),
    ]
    VIEW_BINDINGS: ClassVar[list[Binding]] = [
        Binding("y", "log_axis", "log"),
        Binding("w", "weighted", "weights"),
        Binding("s", "lines", "raw/smooth", show=False),
        Binding("c", "part", "part", show=False),
        Binding("t", "light_dark", "theme", show=False),
    ]
    """Shown behind the keys of the panels, which are known only when the app is made."""

    def __init__(
        self,
        watcher: Watcher,
        *,
        utf8: bool = True,
        theme: str = "lastkd-dark",
        show_clock: bool = True,
        panels: Sequence[type[Panel]] = PANELS,
    ) -> None:
        # Textual asks for the line filters while it initialises
        self._ascii_only = None if utf8 else AsciiOnly()
        super().__init__()
        self.state = MonitorState(watcher, DARK, UNICODE if utf8 else ASCII, show_clock=show_clock)
        self.panels = panels
        self.animation_level = "none"  # animations only cost bandwidth over a slow connection
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme
        for binding in (*panel_bindings(panels), *self.VIEW_BINDINGS):
            self.bind(
                binding.key,
                binding.action,
                description=binding.description,
                show=binding.show,
                key_display=binding.key_display,
            )
        self._zoomed: Panel | None = None
        self._ticks = 0
        self._checked = False

    # --- layout ---------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        self.table = RunTable(self.state, id="runs")
        yield HeaderLine(self.state, id="header")
        with Horizontal(id="body"):
            with Vertical(id="main"):
                yield self.table
                yield Horizontal(*self._panels_at("charts"), id="charts")
                yield Horizontal(*self._panels_at("more"), id="more")
            yield Vertical(*self._panels_at("side"), id="side")
        yield Static(id="small")
        yield Input(placeholder="words to filter by: a name, a model, a state", id="filter")
        yield StatusLine(self.state, id="status")
        yield Footer(compact=True, show_command_palette=False)

    def _panels_at(self, place: str) -> list[Panel]:
        panels = [panel(self.state) for panel in self.panels if panel.place == place]
        for panel in panels[1:]:
            panel.add_class("beside")
        return panels

    def on_mount(self) -> None:
        self.main.set_class(self.state.glyphs is ASCII, "ascii")
        self.table.focus()
        if not self.is_headless and self.console.color_system == "standard":
            self.theme = "lastkd-16"
        self.tick()
        self.redraw(refill=True)
        self.set_interval(POLL_S, self.tick)

    @property
    def main(self) -> Screen[object]:
        """The screen below all pages."""
        return self.screen_stack[0]

    def watch_theme(self) -> None:
        self.state.palette = palette_of(self.current_theme)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The variables of the style sheet that Textual's own themes lack."""
        palette = palette_of(self.current_theme)
        return {"line": palette.faint, "dim": palette.dim}

    def get_line_filters(self) -> list[LineFilter]:
        filters = list(super().get_line_filters())
        return [*filters, self._ascii_only] if self._ascii_only else filters

    # --- data -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Reads what is new and draws what that changes."""
        if not self.table.is_attached:
            return  # the screen is being taken down
        watcher = self.state.watcher
        changed = watcher.poll()
        self._ticks += 1
        once_a_second = self._ticks % round(1 / POLL_S) == 1
        if once_a_second and not watcher.pending:
            changed |= self._check_alerts()
        if changed:
            self.redraw(refill=True, only_changed=True)
        elif once_a_second:  # for the times that pass
            for line in self.main.query("#header, #status").results(Drawn):
                line.redraw()
            self.table.refresh()
        if watcher.pending:
            self.call_later(self.read_on)

    def _check_alerts(self) -> bool:
        """Announces new alerts, except those that the first check finds; whether there are any."""
        alerts = self.state.watcher.check()
        announce, self._checked = self._checked, True
        for alert in alerts if announce else ():
            self.notify(alert.reason, title=alert.run, severity="warning", timeout=8, markup=False)
        return bool(alerts)

    def read_on(self) -> None:
        """Reads the rest of a long log in parts, between keys and frames."""
        if not self.table.is_attached:
            return
        watcher = self.state.watcher
        if watcher.poll(0.1):
            self.main.query_one("#header", Drawn).redraw()
        if watcher.pending:
            self.set_timer(0.001, self.read_on)
        else:
            self.redraw(refill=True, only_changed=True)

    def redraw(self, *, refill: bool = False, only_changed: bool = False) -> None:
        """Draws again: data, selection or view changed.

        Args:
            refill: the table's rows may have changed.
            only_changed: only events came, so panels that show none of them stay as they are.
        """
        if not self.table.is_attached:
            return
        # the side panels are on screen: the status line needn't show the machine
        self.state.wide = self.main.has_class("-wide") and not self.main.has_class("-short")
        if refill:
            self.table.refill()
        self.table.redraw()
        for screen in self.screen_stack:
            for widget in screen.query(Drawn):
                widget.data_changed() if only_changed else widget.redraw()
            if isinstance(screen, RunPage):
                screen.data_changed()

    # --- messages of the widgets ----------------------------------------------------------------

    def on_run_table_moved(self) -> None:
        self.redraw()

    def on_run_table_opened(self, message: RunTable.Opened) -> None:
        self.push_screen(RunPage(self.state, message.run))

    def on_run_page_view_changed(self) -> None:
        self.redraw()

    def on_run_page_closed(self) -> None:
        self.pop_screen()
        self.redraw(refill=True)

    def on_panel_zoomed(self, message: Panel.Zoomed) -> None:
        if message.panel.screen is self.main:
            self._zoom(None if self._zoomed else message.panel)

    def on_input_changed(self, event: Input.Changed) -> None:
        self.table.filter = event.value.strip()
        self.redraw(refill=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.input.display = False
        self.table.focus()

    def on_resize(self, event: events.Resize) -> None:
        if not self.screen_stack:
            return
        self.call_after_refresh(self.redraw)
        columns, rows = event.size
        if columns < MIN_COLUMNS or rows < MIN_ROWS:
            running = [run for run in self.state.watcher.runs if run.state() == "running"]
            lines = [
                f"{columns}x{rows} is too small:",
                f"lastkd monitor needs {MIN_COLUMNS}x{MIN_ROWS}.",
                "",
                *(f"{run.name} {100 * run.progress:.0f} %" for run in running),
            ]
            for note in self.main.query("#small").results(Static):
                note.update("\n".join(lines))

    # --- keys -----------------------------------------------------------------------------------

    def action_help(self) -> None:
        self.push_screen(HelpPage(self.state, self.panels))

    def action_step_back(self) -> None:
        """Leaves the filter, else a panel that fills the screen, else the selection of runs."""
        entry = self.main.query_one("#filter", Input)
        if entry.display or self.table.filter:
            entry.value = ""
            entry.display = False
            self.table.filter = ""
            self.table.focus()
            self.redraw(refill=True)
        elif self._zoomed:
            self._zoom(None)
        elif self.state.clear_selection():
            self.redraw(refill=True)

    def action_panel(self, key: str) -> None:
        """Lets the panel of a key fill the screen; the same key or the table's brings all back."""
        panel = next((one for one in self.main.query(Panel) if one.key == key), None)
        self._zoom(None if panel is self._zoomed else panel)

    def _zoom(self, panel: Panel | None) -> None:
        self._zoomed = panel
        around = panel.ancestors_with_self if panel else []
        for widget in self.main.query("#body *"):
            widget.set_class(panel is not None and widget not in around, "aside")
            widget.set_class(widget in around, "zoomed")
        (panel or self.table).focus()
        self.call_after_refresh(self.redraw)

    def action_filter(self) -> None:
        entry = self.main.query_one("#filter", Input)
        entry.display = True
        entry.focus()

    def action_log_axis(self) -> None:
        self.state.view.log = not self.state.view.log
        self.redraw()

    def action_weighted(self) -> None:
        self.state.view.weighted = not self.state.view.weighted
        self.redraw()

    def action_lines(self) -> None:
        self.state.view.next_lines()
        self.redraw()

    def action_part(self) -> None:
        self.state.view.next_part()
        self.redraw()

    def action_light_dark(self) -> None:
        self.theme = "lastkd-light" if self.current_theme.dark else "lastkd-dark"
        self.redraw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers the keys of the main screen only there."""
        if action in ("filter", "panel", "step_back"):
            return len(self.screen_stack) <= 1
        return super().check_action(action, parameters)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for title, help_, action in (
            ("Log axis", "Draw the loss on a logarithmic or a linear axis (y)", "log_axis"),
            (
                "Weighted parts",
                "CE and soft term as they enter the loss, or unweighted (w)",
                "weighted",
            ),
            ("Raw or smoothed", "Which lines are drawn (s)", "lines"),
            ("Loss part", "All parts, or one of them (c)", "part"),
            ("Filter runs", "By name, model or state (/)", "filter"),
        ):
            yield SystemCommand(title, help_, getattr(self, f"action_{action}"))


def panel_bindings(panels: Sequence[type[Panel]]) -> list[Binding]:
    """A key for each panel that has one; the table's key stands for all of them in the footer."""
    keys = [RunTable.key, *(panel.key for panel in panels if panel.key)]
    first = Binding(keys[0], f"panel('{keys[0]}')", "panels", key_display=f"{keys[0]}-{keys[-1]}")
    return [first] + [
        Binding(",".join((panel.key, *panel.other_keys)), f"panel('{panel.key}')", show=False)
        for panel in panels
        if panel.key
    ]


def theme_for(environment: dict[str, str] | None = None) -> str:
    """The dark or the light theme, by the terminal's `COLORFGBG`, which ends in the background."""
    colors = (os.environ if environment is None else environment).get("COLORFGBG", "")
    background = colors.rpartition(";")[2]
    return "lastkd-light" if background in ("7", "15") else "lastkd-dark"
