"""The panels of the dashboard: each draws what the app's selection and view say."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from lastkd.monitor.charts import accuracy_plot, loss_plot, pace_plot, share_plot
from lastkd.monitor.classes import ClassChange, class_changes, class_names
from lastkd.monitor.look import bar, count, fit, ink, span
from lastkd.monitor.plot import Plot, Row, draw
from lastkd.monitor.run import Run

if TYPE_CHECKING:
    from lastkd.monitor.app import MonitorApp


def clock(seconds: float) -> str:
    """The local time of day, with the day where it isn't today."""
    import time

    then = time.localtime(seconds)
    form = "%H:%M:%S" if then[:3] == time.localtime()[:3] else "%d %b %H:%M"
    return time.strftime(form, then)


class Drawn(Widget):
    """A widget that draws rows of segments, again only when something has changed."""

    app: MonitorApp

    def __init__(self, id: str | None = None, *, frame: bool = True) -> None:
        super().__init__(id=id)
        self._rows: list[Strip] | None = None
        self._blank = Strip([])
        self._drawn_for = (Size(0, 0), "")
        self.set_class(frame, "framed")

    def redraw(self) -> None:
        """The data or the view changed."""
        self._rows = None
        self.retitle()
        self.refresh()

    def retitle(self) -> None:
        """Sets the titles in the border."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        drawn_for = (self.size, self.app.theme)
        if self._rows is None or drawn_for != self._drawn_for:
            width, base = self.size.width, self.rich_style
            rows = self.draw_rows(width, self.size.height)
            self._rows = [
                Strip(row).adjust_cell_length(width, ink()).apply_style(base) for row in rows
            ]
            self._blank = Strip.blank(width, base)
            self._drawn_for = drawn_for
        return self._rows[y] if y < len(self._rows) else self._blank


class Panel(Drawn, can_focus=True):
    """A framed panel that fills the screen at a key or a double click."""

    key = ""
    name_shown = ""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "app.zoom", "zoom", show=False)]

    def title_for(self, words: str) -> str:
        return f"[b]{self.key}[/b] {self.name_shown}" + (f" [dim]{words}[/dim]" if words else "")


class ChartPanel(Panel):
    """A panel with one chart of the runs that are shown.

    Args:
        of: the one run to show, in place of the app's choice.
    """

    def __init__(self, id: str | None = None, *, of: Run | None = None) -> None:
        super().__init__(id=id)
        self.of = of

    def plot(self, width: int) -> Plot:
        raise NotImplementedError

    def draw_rows(self, width: int, height: int) -> list[Row]:
        return draw(self.plot(width), width, height, self.app.palette, self.app.glyphs)

    @property
    def runs(self) -> list[Run]:
        return [self.of] if self.of else self.app.shown_runs


class LossPanel(ChartPanel):
    """CE, KL and their total over the steps."""

    key, name_shown = "2", "Loss"

    def retitle(self) -> None:
        runs = self.runs
        name = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
        self.border_title = self.title_for(name if runs else "")
        words = self.app.view.in_words(len(runs) > 1)
        share = runs[0].kl_share() if len(runs) == 1 else None
        if share is not None:
            words += f" {self.app.glyphs.dot} KL is {100 * share:.0f} %"
        self.border_subtitle = words

    def plot(self, width: int) -> Plot:
        return loss_plot(self.runs, self.app.view, self.app.palette)


class AccuracyPanel(ChartPanel):
    """Test top-1 over the epochs."""

    key, name_shown = "3", "Accuracy"

    def retitle(self) -> None:
        runs = self.runs
        self.border_title = self.title_for("top-1 %")
        gains = [
            (run, gain)
            for run in runs
            if (gain := self.app.watcher.compared(run).gain(run)) is not None
        ]
        if len(gains) == 1:
            self.border_subtitle = f"gain {gains[0][1]:+.1f} points"
        else:
            self.border_subtitle = " ".join(f"{run.variant} {gain:+.1f}" for run, gain in gains[:4])

    def plot(self, width: int) -> Plot:
        compared = [self.app.watcher.compared(run) for run in self.runs]
        return accuracy_plot(self.runs, compared, self.app.palette, roomy=width > 60)


class SharePanel(ChartPanel):
    """The share of KL in the loss."""

    name_shown = "KL share of the loss"

    def retitle(self) -> None:
        self.border_title = f"{self.name_shown} [dim]%[/dim]"

    def plot(self, width: int) -> Plot:
        return share_plot(self.runs, self.app.palette)


class PacePanel(ChartPanel):
    """Clips a second."""

    name_shown = "Pace"

    def retitle(self) -> None:
        self.border_title = f"{self.name_shown} [dim]clips/s[/dim]"
        shares = [run.teacher_share for run in self.runs[:1]]
        self.border_subtitle = (
            f"teacher {100 * shares[0]:.0f} % of the step" if shares and shares[0] else ""
        )

    def plot(self, width: int) -> Plot:
        return pace_plot(self.runs, self.app.palette)


class DevicePanel(Panel):
    """Memory, use and temperature of what the run under the cursor trains on."""

    key, name_shown = "4", "Devices"

    def retitle(self) -> None:
        run = self.app.current_run
        device = run.start.device if run and run.start else {}
        self.border_title = self.title_for(run.name if run else "")
        self.border_subtitle = str(device.get("name", ""))

    def draw_rows(self, width: int, height: int) -> list[Row]:
        run, palette, glyphs = self.app.current_run, self.app.palette, self.app.glyphs
        if run is None or not run.devices:
            words = "the run has told nothing of its machine" if run else "no run chosen"
            return [[Segment(fit(words, width, glyphs), ink(palette.dim))]]
        last = run.devices[-1]
        rows: list[Row] = []

        def meter(name: str, share: float | None, words: str, history: list[float]) -> None:
            if share is None:
                return
            # bar and history share what name and words leave
            room = max(width - 7 - 18, 4)
            drawn = room if room < 24 else room // 2
            color = palette.bad if share > 0.95 else palette.warn if share > 0.85 else palette.good
            full, rest = bar(share, drawn - 1, glyphs)
            row: Row = [
                Segment(fit(name, 7, glyphs), ink(palette.dim)),
                Segment(full, ink(color)),
                Segment(rest + " ", ink(palette.faint)),
                Segment(fit(words, 18, glyphs), ink(palette.text)),
            ]
            if room >= 24:
                row.append(Segment(sparkline(history, room - drawn, glyphs.blocks), ink(color)))
            rows.append(row)

        history = list(run.devices)
        for place, gpu in enumerate(last.devices):
            earlier = [d.devices[place] for d in history if place < len(d.devices)]
            rows.append([Segment(fit(f"{gpu.index} {gpu.name}", width, glyphs), ink(bold=True))])
            heat = f" {gpu.temperature_c:.0f} C" if gpu.temperature_c is not None else ""
            use = gpu.use_percent
            meter(
                "use",
                None if use is None else use / 100,
                f"{use or 0:.0f} %{heat}",
                [(g.use_percent or 0) / 100 for g in earlier],
            )
            if gpu.memory_total_mb and gpu.memory_used_mb is not None:
                total = gpu.memory_total_mb
                meter(
                    "memory",
                    gpu.memory_used_mb / total,
                    f"{gpu.memory_used_mb / 1024:.1f}/{total / 1024:.1f} GB",
                    [(g.memory_used_mb or 0) / total for g in earlier],
                )
        if last.cpu_percent is not None:
            meter(
                "CPU",
                last.cpu_percent / 100,
                f"{last.cpu_percent:.0f} %",
                [(d.cpu_percent or 0) / 100 for d in history],
            )
        if last.ram_total_mb and last.ram_used_mb is not None:
            total = last.ram_total_mb
            meter(
                "RAM",
                last.ram_used_mb / total,
                f"{last.ram_used_mb / 1024:.1f}/{total / 1024:.1f} GB",
                [(d.ram_used_mb or 0) / total for d in history],
            )
        if last.disk_free_gb is not None:
            color = palette.bad if last.disk_free_gb < 2 else palette.text
            rows.append(
                [
                    Segment(fit("disk", 7, glyphs), ink(palette.dim)),
                    Segment(
                        fit(f"{last.disk_free_gb:,.0f} GB free", width - 7, glyphs), ink(color)
                    ),
                ]
            )
        rows.append([Segment(fit(f"at {clock(last.time)}", width, glyphs), ink(palette.faint))])
        return rows


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
