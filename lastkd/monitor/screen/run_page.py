"""A run's page: overview, settings, checkpoints, classes and log."""

from __future__ import annotations

import time
from typing import ClassVar

import msgspec
from rich.table import Table
from rich.text import Text
from textual import widgets  # which loads each class when it is first used
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.screen import Screen

from lastkd.monitor.log.records import Event, Step, decode
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.tail import LogTail
from lastkd.monitor.screen.header import HeaderLine
from lastkd.monitor.screen.panels.base import Drawn
from lastkd.monitor.screen.panels.classes import ClassesPanel
from lastkd.monitor.screen.panels.training import AccuracyPanel, LossPanel
from lastkd.monitor.screen.run_facts import Facts, checkpoints, overview, settings
from lastkd.monitor.screen.state import MonitorState
from lastkd.monitor.screen.style import Palette

RECENT = 128 << 10
"""Bytes at the end of the log that the page starts with."""
TABS = ("overview", "settings", "checkpoints", "classes", "log")


class RunPage(Screen[None]):
    """Everything known about one run.

    Args:
        state: what the dashboard shows.
        run: the run of the page.
    """

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"),
        (100, "-roomy"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "back", key_display="Esc"),
        Binding("left", "tab(-1)", "tabs", key_display="Left/Right", priority=True),
        Binding("right", "tab(1)", "next tab", show=False, priority=True),
        *[Binding(str(n), f"show('{tab}')", tab, show=False) for n, tab in enumerate(TABS, 1)],
        Binding("r", "raw", "raw log"),
        Binding("y", "log_axis", "log axis"),
        Binding("w", "weighted", "weights"),
    ]

    class Closed(Message):
        """The page is to be taken off the screen."""

    class ViewChanged(Message):
        """The charts are to be drawn in another way."""

    def __init__(self, state: MonitorState, run: Run) -> None:
        super().__init__()
        self.state, self.run = state, run
        self.raw = False
        self._lines = LogTail(run.tail.path)
        # held here because events also come before the page is composed and while it is removed
        self._texts = {name: widgets.Static() for name in ("overview", "settings", "checkpoints")}
        self._event_log = widgets.RichLog(max_lines=2000, wrap=True, min_width=20, id="events")

    def compose(self) -> ComposeResult:
        state, run = self.state, self.run
        yield HeaderLine(state)
        with widgets.TabbedContent(initial="overview"):
            with widgets.TabPane(f"1 {run.name}", id="overview"), Horizontal():
                with VerticalScroll(id="facts"):
                    yield self._texts["overview"]
                with VerticalScroll(id="page-charts", can_focus=False):
                    yield LossPanel(state, only=run)
                    yield AccuracyPanel(state, only=run)
            with widgets.TabPane("2 settings", id="settings"), VerticalScroll():
                yield self._texts["settings"]
            with widgets.TabPane("3 checkpoints", id="checkpoints"), VerticalScroll():
                yield self._texts["checkpoints"]
            with widgets.TabPane("4 classes", id="classes"):
                yield ClassesPanel(state, only=run)
            with widgets.TabPane("5 log", id="log"):
                yield self._event_log
        yield widgets.Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_class(not self.state.glyphs.braille, "ascii")
        self._lines.start_near_end(RECENT)
        self.data_changed()
        for panel in self.query(Drawn):
            panel.redraw()
        self.query_one("#facts").focus()

    def data_changed(self) -> None:
        """Updates the texts and appends to the log: events came, or colours changed."""
        for name, facts in (
            ("overview", overview(self.run, self.state.watcher.compared(self.run))),
            ("settings", settings(self.run)),
            ("checkpoints", checkpoints(self.run)),
        ):
            self._texts[name].update(facts_table(facts, self.state.palette))
        while True:
            data, replaced = self._lines.read(RECENT)
            if replaced:
                self._event_log.clear()
            if not data:
                return
            for line in data.split(b"\n"):
                self._write(line)

    def _write(self, line: bytes) -> None:
        if not line.strip():
            return
        palette = self.state.palette
        decoded = decode(line)
        if decoded.events and not self.raw:
            for event in decoded.events:
                self._event_log.write(event_text(event, palette))
        else:
            color = palette.text if decoded.events or decoded.unknown else palette.bad
            self._event_log.write(Text(line[:4000].decode(errors="replace"), color))

    def action_close(self) -> None:
        self.post_message(self.Closed())

    def action_log_axis(self) -> None:
        self.state.view.log = not self.state.view.log
        self.post_message(self.ViewChanged())

    def action_weighted(self) -> None:
        self.state.view.weighted = not self.state.view.weighted
        self.post_message(self.ViewChanged())

    def action_show(self, tab: str) -> None:
        """Opens a tab of `TABS`."""
        self.query_one(widgets.TabbedContent).active = tab
        target = {"overview": "#facts", "log": "#events"}.get(tab)
        pane = self.query_one(f"#{tab}", widgets.TabPane)
        (self.query_one(target) if target else pane.children[0]).focus()
        if tab == "log":  # its height isn't known before it is laid out
            self.call_after_refresh(self._event_log.scroll_end, animate=False)

    def action_tab(self, by: int) -> None:
        """Opens the next tab or the one before."""
        active = self.query_one(widgets.TabbedContent).active
        self.action_show(TABS[(TABS.index(active) + by) % len(TABS)])

    def action_raw(self) -> None:
        """Shows the log's JSON, or its events as text again."""
        self.raw = not self.raw
        self._event_log.clear()
        self._lines = LogTail(self.run.tail.path)
        self._lines.start_near_end(RECENT)
        self.action_show("log")
        self.data_changed()


def facts_table(facts: Facts, palette: Palette) -> Table:
    """Names and texts in two columns."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style=palette.dim, no_wrap=True)
    table.add_column(style=palette.text, overflow="fold")
    for name, text in facts:
        table.add_row(Text(name), Text(text))
    return table


def event_text(event: Event, palette: Palette) -> Text:
    """One event on one line."""
    fields = msgspec.to_builtins(event)
    kind = fields.pop("event")
    when = time.strftime("%H:%M:%S", time.localtime(fields.pop("time")))
    colors = {"step": palette.dim, "warning": palette.warn, "epoch": palette.good}
    text = Text(f"{when} ", palette.dim)
    text.append(f"{kind:<10} ", f"bold {colors.get(kind, palette.runs[0])}")
    if isinstance(event, Step):
        fields = {key: value for key, value in fields.items() if value not in (None, [])}
    shown = []
    for key, value in fields.items():
        if isinstance(value, float):
            shown.append(f"{key} {value:.4g}" if abs(value) < 1e4 else f"{key} {value:,.0f}")
        elif isinstance(value, dict | list):
            shown.append(f"{key} {'{...}' if isinstance(value, dict) else '[...]'}")
        elif value is not None:
            shown.append(f"{key} {value}")
    text.append("  ".join(shown), palette.text)
    return text
