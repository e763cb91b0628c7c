"""What went wrong."""

from __future__ import annotations

import textwrap

from rich.segment import Segment

from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.format import clock
from lastkd.monitor.screen.glyphs import fit
from lastkd.monitor.screen.panels.base import Panel
from lastkd.monitor.screen.style import ink


class AlertsPanel(Panel):
    """All alerts, the latest first, and which lines of the logs could not be read."""

    key, other_keys, title, place = "5", ("a",), "Alerts", "side"

    def content(self) -> object:
        watcher = self.state.watcher
        unread = [(run.name, run.unread()) for run in watcher.runs]
        return len(watcher.alert_log.all), unread

    def titles(self) -> tuple[str, str]:
        total = len(self.state.watcher.alert_log.all)
        return str(total) if total else "none", ""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs, watcher = self.state.palette, self.state.glyphs, self.state.watcher
        rows: list[Row] = []

        def add(heading: str, text: str, color: str) -> None:
            rows.append([Segment(fit(heading, width, glyphs), ink(color, bold=True))])
            for line in textwrap.wrap(text, max(width - 2, 10)):
                rows.append([Segment("  " + fit(line, width - 2, glyphs), ink(palette.text))])

        for alert in reversed(watcher.alert_log.all):
            add(f"{glyphs.alert} {clock(alert.time)} {alert.run}", alert.reason, palette.warn)
        for run in watcher.runs:
            for text in run.unread():
                add(f"{glyphs.dot} {run.name}", text, palette.dim)
        if not rows:
            rows.append([Segment(fit("nothing to worry about", width, glyphs), ink(palette.dim))])
        return rows
