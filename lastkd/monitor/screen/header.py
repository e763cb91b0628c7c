"""The lines at the top and at the bottom of the dashboard."""

from __future__ import annotations

import time

from rich.segment import Segment

from lastkd.monitor.log.records import Device
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.format import clock, count, span
from lastkd.monitor.screen.glyphs import fit
from lastkd.monitor.screen.panels.base import Drawn
from lastkd.monitor.screen.style import ink


class HeaderLine(Drawn):
    """The watched folders, the number of runs in each state, and the time of day."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs, watcher = self.state.palette, self.state.glyphs, self.state.watcher
        states = [run.state() for run in watcher.runs]
        counts = [
            f"{states.count(state)} {state}"
            for state in ("running", "stalled", "failed", "stopped", "finished", "waiting")
            if state in states
        ]
        if watcher.pending:
            counts = [f"reading {100 * watcher.read_share:.0f} %"]
        right = f" {glyphs.dot} ".join(counts or ["no runs"])
        if self.state.show_clock:
            right += "  " + time.strftime("%H:%M:%S")
        left = " lastkd monitor  "
        roots = " ".join(str(root) for root in watcher.roots)
        room = max(width - len(left) - len(right) - 2, 0)
        return [
            [
                Segment(left, ink(palette.runs[0], bold=True)),
                Segment(fit(roots, room, glyphs), ink(palette.dim)),
                Segment(" " + right + " ", ink(palette.text)),
            ]
        ]


class StatusLine(Drawn):
    """The machine, where there is no room for its panel, and the latest alert or state."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs, run = self.state.palette, self.state.glyphs, self.state.current_run
        separator = f" {glyphs.dot} "
        row: Row = [Segment(" ", ink())]
        if run and run.devices and not self.state.wide:
            readings = separator.join(_machine(run.devices[-1], roomy=width > 100))
            row.append(Segment(f"{readings}  ", ink(palette.dim)))
        alerts = self.state.watcher.alert_log.all
        if alerts:
            text = f"{glyphs.alert} {clock(alerts[-1].time)} {alerts[-1].run}: {alerts[-1].reason}"
        elif run:
            unread = run.unread()
            text = unread[0] if unread else separator.join(_standing(run, roomy=width > 100))
        else:
            return [row]
        room = max(width - sum(len(segment.text) for segment in row), 0)
        row.append(Segment(fit(text, room, glyphs), ink(palette.warn if alerts else palette.dim)))
        return [row]


def _machine(device: Device, *, roomy: bool) -> list[str]:
    """Load and memory of the first GPUs, of the processor, and the free disk space."""
    readings = [
        f"GPU{gpu.index} {gpu.use_percent:.0f} %"
        for gpu in device.devices[:2]
        if gpu.use_percent is not None
    ]
    readings += [
        f"{gpu.memory_used_mb / 1024:.1f}/{gpu.memory_total_mb / 1024:.0f} GB"
        for gpu in device.devices[:1]
        if gpu.memory_used_mb is not None and gpu.memory_total_mb
    ]
    if device.cpu_percent is not None:
        readings.append(f"CPU {device.cpu_percent:.0f} %")
    if device.ram_used_mb is not None and device.ram_total_mb:
        used, total = device.ram_used_mb / 1024, device.ram_total_mb / 1024
        readings.append(f"RAM {used:.1f}/{total:.0f} GB")
    if device.disk_free_gb is not None and (len(readings) < 3 or roomy):
        readings.append(f"disk {device.disk_free_gb:,.0f} GB")
    return readings


def _standing(run: Run, *, roomy: bool) -> list[str]:
    """State of a run, why it ended, and the time left."""
    state = run.state()
    facts = [f"{run.name}: {state}"]
    if run.end and run.end.reason:
        facts.append(run.end.reason)
    if state == "running" and (left := run.seconds_left()) is not None:
        facts.append(f"{span(left)} left")
    if run.start and roomy:
        facts.append(f"{count(run.start.parameters)} parameters")
    return facts
