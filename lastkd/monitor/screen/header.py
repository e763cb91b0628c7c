"""The lines at the top and the bottom of the dashboard."""

from __future__ import annotations

from rich.segment import Segment

from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.panels import Drawn, clock
from lastkd.monitor.screen.style import count, fit, ink, span


class HeaderLine(Drawn):
    """What is watched, how many runs are how, and the time."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        import time

        palette, glyphs, watcher = self.app.palette, self.app.glyphs, self.app.watcher
        states = [run.state() for run in watcher.runs]
        told = [
            f"{states.count(state)} {state}"
            for state in ("running", "stalled", "failed", "stopped", "finished", "waiting")
            if state in states
        ]
        if watcher.pending:
            told = [f"reading {100 * watcher.read_share:.0f} %"]
        right = f" {glyphs.dot} ".join(told or ["no runs"])
        if self.app.show_clock:
            right += "  " + time.strftime("%H:%M:%S")
        left = " lastkd monitor  "
        places = " ".join(str(root) for root in watcher.roots)
        room = max(width - len(left) - len(right) - 2, 0)
        return [
            [
                Segment(left, ink(palette.runs[0], bold=True)),
                Segment(fit(places, room, glyphs), ink(palette.dim)),
                Segment(" " + right + " ", ink(palette.text)),
            ]
        ]


class StatusLine(Drawn):
    """The machine in one line where there is no room for its panel, and the latest alert."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs = self.app.palette, self.app.glyphs
        run = self.app.current_run
        row: Row = [Segment(" ", ink())]
        if run and run.devices and not self.app.wide:
            last = run.devices[-1]
            told = [
                f"GPU{gpu.index} {gpu.use_percent:.0f} %"
                for gpu in last.devices[:2]
                if gpu.use_percent is not None
            ]
            told += [
                f"{gpu.memory_used_mb / 1024:.1f}/{gpu.memory_total_mb / 1024:.0f} GB"
                for gpu in last.devices[:1]
                if gpu.memory_used_mb is not None and gpu.memory_total_mb
            ]
            if last.cpu_percent is not None:
                told.append(f"CPU {last.cpu_percent:.0f} %")
            if last.ram_used_mb is not None and last.ram_total_mb:
                told.append(f"RAM {last.ram_used_mb / 1024:.1f}/{last.ram_total_mb / 1024:.0f} GB")
            if last.disk_free_gb is not None and (len(told) < 3 or width > 100):
                told.append(f"disk {last.disk_free_gb:,.0f} GB")
            row.append(Segment(f" {glyphs.dot} ".join(told) + "  ", ink(palette.dim)))
        log = self.app.watcher.alert_log.all
        used = sum(len(segment.text) for segment in row)
        if log:
            text = f"{glyphs.alert} {clock(log[-1].time)} {log[-1].run}: {log[-1].reason}"
            row.append(Segment(fit(text, max(width - used, 0), glyphs), ink(palette.warn)))
        elif run and run.unread():
            row.append(
                Segment(fit(run.unread()[0], max(width - used, 0), glyphs), ink(palette.dim))
            )
        elif run:
            told = [f"{run.name}: {run.state()}"]
            if run.end and run.end.reason:
                told.append(run.end.reason)
            if run.state() == "running" and run.seconds_left() is not None:
                told.append(f"{span(run.seconds_left())} left")
            if run.start and width > 100:
                told.append(f"{count(run.start.parameters)} parameters")
            text = f" {glyphs.dot} ".join(told)
            row.append(Segment(fit(text, max(width - used, 0), glyphs), ink(palette.dim)))
        return [row]
