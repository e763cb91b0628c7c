"""Panels beside the charts: the machine, the classes and the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.segment import Segment

from lastkd.monitor.log.alerts import DISK_GB
from lastkd.monitor.log.classes import ClassChange, class_changes, class_names
from lastkd.monitor.log.records import Device, Gpu
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.panels import Panel, clock
from lastkd.monitor.screen.style import bar, fit, ink

NAME_WIDTH, WORDS_WIDTH = 7, 18
"""Columns of a meter beside its bar."""


class DevicePanel(Panel):
    """Memory, use and temperature of what the run under the cursor trains on."""

    key, name_shown = "4", "Devices"

    def retitle(self) -> None:
        run = self.app.current_run
        device = run.start.device if run and run.start else {}
        self.border_title = self.title_for(run.name if run else "")
        self.border_subtitle = str(device.get("name", ""))

    def drawn_from(self) -> object:
        run = self.app.current_run
        return (run.name, run.start, list(run.devices)[-1:]) if run else ()

    def draw_rows(self, width: int, height: int) -> list[Row]:
        run, palette, glyphs = self.app.current_run, self.app.palette, self.app.glyphs
        if run is None or not run.devices:
            words = "the run has told nothing of its machine" if run else "no run chosen"
            return [[Segment(fit(words, width, glyphs), ink(palette.dim))]]
        history = list(run.devices)
        last = history[-1]
        rows: list[Row] = []
        for place, gpu in enumerate(last.devices):
            rows.append([Segment(fit(f"{gpu.index} {gpu.name}", width, glyphs), ink(bold=True))])
            told = [device.devices[place] for device in history if place < len(device.devices)]
            rows += [self._meter(meter, width) for meter in gpu_meters(told)]
        rows += [self._meter(meter, width) for meter in machine_meters(history)]
        if last.disk_free_gb is not None:
            color = palette.bad if last.disk_free_gb < DISK_GB else palette.text
            words = fit(f"{last.disk_free_gb:,.0f} GB free", width - NAME_WIDTH, glyphs)
            name = Segment(fit("disk", NAME_WIDTH, glyphs), ink(palette.dim))
            rows.append([name, Segment(words, ink(color))])
        rows.append([Segment(fit(f"at {clock(last.time)}", width, glyphs), ink(palette.faint))])
        return rows

    def _meter(self, meter: Meter, width: int) -> Row:
        palette, glyphs, share = self.app.palette, self.app.glyphs, meter.shares[-1]
        # the bar, and where there is room its history, share what name and words leave
        room = max(width - NAME_WIDTH - WORDS_WIDTH, 4)
        drawn = room if room < 24 else room // 2
        color = palette.bad if share > 0.95 else palette.warn if share > 0.85 else palette.good
        full, rest = bar(share, drawn - 1, glyphs)
        row: Row = [
            Segment(fit(meter.name, NAME_WIDTH, glyphs), ink(palette.dim)),
            Segment(full, ink(color)),
            Segment(rest + " ", ink(palette.faint)),
            Segment(fit(meter.words, WORDS_WIDTH, glyphs), ink(palette.text)),
        ]
        if room > drawn:
            row.append(Segment(sparkline(meter.shares, room - drawn, glyphs.blocks), ink(color)))
        return row


class Meter(NamedTuple):
    """Something that is used up to a share: that of now, in words, and the shares so far."""

    name: str
    words: str
    shares: list[float]


def percent_meter(name: str, percents: Sequence[float | None], more: str = "") -> list[Meter]:
    """One meter, or none where the latest is unknown."""
    now = percents[-1]
    if now is None:
        return []
    return [Meter(name, f"{now:.0f} %{more}", [(percent or 0) / 100 for percent in percents])]


def memory_meter(name: str, used_mb: Sequence[float | None], total_mb: float | None) -> list[Meter]:
    """One meter, or none where the latest or the total is unknown."""
    now = used_mb[-1]
    if now is None or not total_mb:
        return []
    words = f"{now / 1024:.1f}/{total_mb / 1024:.1f} GB"
    return [Meter(name, words, [(used or 0) / total_mb for used in used_mb])]


def gpu_meters(told: Sequence[Gpu]) -> list[Meter]:
    """Use and memory of one GPU, from all that was told of it."""
    last = told[-1]
    heat = "" if last.temperature_c is None else f" {last.temperature_c:.0f} C"
    return [
        *percent_meter("use", [gpu.use_percent for gpu in told], heat),
        *memory_meter("memory", [gpu.memory_used_mb for gpu in told], last.memory_total_mb),
    ]


def machine_meters(told: Sequence[Device]) -> list[Meter]:
    """Use of the processor and of main memory."""
    return [
        *percent_meter("CPU", [device.cpu_percent for device in told]),
        *memory_meter("RAM", [device.ram_used_mb for device in told], told[-1].ram_total_mb),
    ]


def sparkline(shares: list[float], width: int, blocks: str) -> str:
    """The latest `width` values from 0 to 1 as blocks."""
    top = len(blocks) - 1
    shown = [blocks[round(max(0.0, min(share, 1.0)) * top)] for share in shares[-width:]]
    return "".join(shown).rjust(width)


class ClassPanel(Panel):
    """The classes that gained and lost most.

    Args:
        of: the one run to show, in place of the one under the cursor.
    """

    name_shown = "Classes"

    def __init__(self, id: str | None = None, *, of: Run | None = None) -> None:
        super().__init__(id=id)
        self.of = of
        self._names: dict[str, list[str]] = {}

    def _changes(self) -> tuple[str, list[ClassChange]]:
        run = self.of or self.app.current_run
        if run is None:
            return "", []
        key = f"{run.folder} {max(run.epochs, default=0)}"
        if key not in self._names:  # a checkpoint is looked into once an evaluation
            self._names = {key: class_names(run)}
        return class_changes(run, self.app.watcher.compared(run), self._names[key])

    def drawn_from(self) -> object:
        return self._changes()

    def retitle(self) -> None:
        words, _ = self._changes()
        self.border_title = f"{self.name_shown} [dim]top-1 %[/dim]"
        self.border_subtitle = words

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs = self.app.palette, self.app.glyphs
        _, changes = self._changes()
        if not changes:
            return [[Segment(fit("no evaluation yet", width, glyphs), ink(palette.dim))]]
        if len(changes) > height:
            above = (height - 1) // 2
            left_out = len(changes) - height + 1
            shown: list[ClassChange | None] = [*changes[:above], None]
            shown += changes[len(changes) - (height - 1 - above) :]
        else:
            left_out, shown = 0, list(changes)
        roomy = width > 54  # for what it was and is, beside what it gained
        room = max(width - (21 if roomy else 8), 8)
        drawn = max(min(room // 3, 24), 6) // 2 * 2
        name_width = max(room - drawn - 1, 4)
        largest = max(1.0, *(abs(change.gain) for change in changes))
        rows: list[Row] = []
        for change in shown:
            if change is None:
                words = f"{glyphs.ellipsis} {left_out} classes between"
                rows.append([Segment(fit(words, width, glyphs), ink(palette.faint))])
                continue
            gain = change.gain
            color = palette.good if gain > 0 else palette.bad if gain < 0 else palette.faint
            half = drawn // 2
            length = min(round(abs(gain) / largest * half), half)
            bar_ = glyphs.bar[0] * length
            left = bar_.rjust(half) if gain < 0 else " " * half
            right = bar_.ljust(half) if gain > 0 else " " * half
            middle = "│" if glyphs.braille else "|"
            rows.append(
                [
                    Segment(fit(change.name, name_width, glyphs) + " ", ink(palette.text)),
                    Segment(left, ink(color)),
                    Segment(middle, ink(palette.faint)),
                    Segment(right, ink(color)),
                    Segment(
                        f"{change.before:6.1f} {change.now:5.1f}" if roomy else "",
                        ink(palette.dim),
                    ),
                    Segment(f"{gain:+7.1f}", ink(color, bold=True)),
                ]
            )
        return rows


class AlertPanel(Panel):
    """All alerts, the latest first, and what of the logs could not be read."""

    key, name_shown = "5", "Alerts"

    def drawn_from(self) -> object:
        watcher = self.app.watcher
        unread = [(run.name, run.unread()) for run in watcher.runs]
        return len(watcher.alert_log.all), unread

    def retitle(self) -> None:
        total = len(self.app.watcher.alert_log.all)
        self.border_title = self.title_for(str(total) if total else "none")

    def draw_rows(self, width: int, height: int) -> list[Row]:
        import textwrap

        palette, glyphs = self.app.palette, self.app.glyphs
        rows: list[Row] = []

        def tell(head: str, text: str, color: str) -> None:
            rows.append([Segment(fit(head, width, glyphs), ink(color, bold=True))])
            for line in textwrap.wrap(text, max(width - 2, 10)):
                rows.append([Segment("  " + fit(line, width - 2, glyphs), ink(palette.text))])

        for alert in reversed(self.app.watcher.alert_log.all):
            tell(f"{glyphs.alert} {clock(alert.time)} {alert.run}", alert.reason, palette.warn)
        for run in self.app.watcher.runs:
            for words in run.unread():
                tell(f"{glyphs.dot} {run.name}", words, palette.dim)
        if not rows:
            rows.append([Segment(fit("nothing to worry about", width, glyphs), ink(palette.dim))])
        return rows
