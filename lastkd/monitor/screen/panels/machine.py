"""The machine that a run trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.segment import Segment

from lastkd.monitor.log.alerts import DISK_GB
from lastkd.monitor.log.records import Device, Gpu
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.format import clock
from lastkd.monitor.screen.glyphs import bar, fit, sparkline
from lastkd.monitor.screen.panels.base import Panel
from lastkd.monitor.screen.style import ink

NAME_WIDTH, VALUE_WIDTH = 7, 18
"""Columns of a meter's name and value beside its bar."""


class DevicesPanel(Panel):
    """Memory, load and temperature of the devices that the run under the cursor trains on."""

    key, title, place = "4", "Devices", "side"

    def titles(self) -> tuple[str, str]:
        run = self.run
        device = run.start.device if run and run.start else {}
        return run.name if run else "", str(device.get("name", ""))

    def content(self) -> object:
        run = self.run
        return (run.name, run.start, list(run.devices)[-1:]) if run else ()

    def draw_rows(self, width: int, height: int) -> list[Row]:
        run, palette, glyphs = self.run, self.state.palette, self.state.glyphs
        if run is None or not run.devices:
            text = "no device events in the log yet" if run else "no run chosen"
            return [[Segment(fit(text, width, glyphs), ink(palette.dim))]]
        history = list(run.devices)
        last = history[-1]
        rows: list[Row] = []
        for place, gpu in enumerate(last.devices):
            rows.append([Segment(fit(f"{gpu.index} {gpu.name}", width, glyphs), ink(bold=True))])
            readings = [event.devices[place] for event in history if place < len(event.devices)]
            rows += [self._meter(meter, width) for meter in gpu_meters(readings)]
        rows += [self._meter(meter, width) for meter in machine_meters(history)]
        if last.disk_free_gb is not None:
            color = palette.bad if last.disk_free_gb < DISK_GB else palette.text
            text = fit(f"{last.disk_free_gb:,.0f} GB free", width - NAME_WIDTH, glyphs)
            name = Segment(fit("disk", NAME_WIDTH, glyphs), ink(palette.dim))
            rows.append([name, Segment(text, ink(color))])
        rows.append([Segment(fit(f"at {clock(last.time)}", width, glyphs), ink(palette.faint))])
        return rows

    def _meter(self, meter: Meter, width: int) -> Row:
        palette, glyphs, share = self.state.palette, self.state.glyphs, meter.shares[-1]
        # the bar, and where it fits the history, share the columns that name and value leave
        room = max(width - NAME_WIDTH - VALUE_WIDTH, 4)
        bar_width = room if room < 24 else room // 2
        color = palette.bad if share > 0.95 else palette.warn if share > 0.85 else palette.good
        full, rest = bar(share, bar_width - 1, glyphs)
        row: Row = [
            Segment(fit(meter.name, NAME_WIDTH, glyphs), ink(palette.dim)),
            Segment(full, ink(color)),
            Segment(rest + " ", ink(palette.faint)),
            Segment(fit(meter.value, VALUE_WIDTH, glyphs), ink(palette.text)),
        ]
        if room > bar_width:
            row.append(Segment(sparkline(meter.shares, room - bar_width, glyphs), ink(color)))
        return row


class Meter(NamedTuple):
    """Something that can be used up.

    Attributes:
        value: how much is used now, as text.
        shares: the shares in use so far, from 0 to 1.
    """

    name: str
    value: str
    shares: list[float]


def percent_meter(name: str, percents: Sequence[float | None], suffix: str = "") -> list[Meter]:
    """One meter, or none where the latest reading is unknown."""
    now = percents[-1]
    if now is None:
        return []
    return [Meter(name, f"{now:.0f} %{suffix}", [(percent or 0) / 100 for percent in percents])]


def memory_meter(name: str, used_mb: Sequence[float | None], total_mb: float | None) -> list[Meter]:
    """One meter, or none where the latest reading or the total is unknown."""
    now = used_mb[-1]
    if now is None or not total_mb:
        return []
    value = f"{now / 1024:.1f}/{total_mb / 1024:.1f} GB"
    return [Meter(name, value, [(used or 0) / total_mb for used in used_mb])]


def gpu_meters(readings: Sequence[Gpu]) -> list[Meter]:
    """Load and memory of one GPU, from all readings so far."""
    last = readings[-1]
    heat = "" if last.temperature_c is None else f" {last.temperature_c:.0f} C"
    return [
        *percent_meter("use", [gpu.use_percent for gpu in readings], heat),
        *memory_meter("memory", [gpu.memory_used_mb for gpu in readings], last.memory_total_mb),
    ]


def machine_meters(readings: Sequence[Device]) -> list[Meter]:
    """Load of the processor and use of main memory, from all readings so far."""
    return [
        *percent_meter("CPU", [device.cpu_percent for device in readings]),
        *memory_meter(
            "RAM", [device.ram_used_mb for device in readings], readings[-1].ram_total_mb
        ),
    ]
