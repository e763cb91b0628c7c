"""A run's own page: how it stands, its settings, checkpoints, classes and log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, RichLog, Static, TabbedContent, TabPane

from lastkd.monitor.log.classes import checkpoint_about
from lastkd.monitor.log.groups import expected
from lastkd.monitor.log.records import Decoded, Event, Step, decode
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.tail import LogTail
from lastkd.monitor.screen.header import HeaderLine
from lastkd.monitor.screen.panels import AccuracyPanel, Drawn, LossPanel, clock
from lastkd.monitor.screen.side_panels import ClassPanel
from lastkd.monitor.screen.style import span

if TYPE_CHECKING:
    from lastkd.monitor.screen.app import MonitorApp

RECENT = 128 << 10
"""Bytes of the log's end that its page begins with."""
TABS = ("overview", "settings", "checkpoints", "classes", "log")

Facts = list[tuple[str, str]]


def _accuracy(pair: tuple[int, float] | None) -> str:
    return f"{pair[1]:.2f} % at epoch {pair[0]}" if pair else "not evaluated yet"


def overview(run: Run, app: MonitorApp) -> Facts:
    """How the run stands, as names and words."""
    compared, start, last = app.watcher.compared(run), run.start, run.last
    reason = f": {run.end.reason}" if run.end and run.end.reason else ""
    told: Facts = [("state", run.state() + reason)]
    if start:
        told += [
            ("model", f"{start.model}, {start.parameters:,} parameters"),
            (
                "data",
                f"{start.data.source or 'unnamed'}, {run.settings.get('split', '')}: "
                f"{start.data.train:,} training and {start.data.test:,} test clips, "
                f"{start.data.classes} classes",
            ),
        ]
        device = start.device
        told.append(
            (
                "on",
                f"{start.processes} x {device.get('type', '')} {device.get('name', '')}, "
                f"global batch {start.global_batch}, "
                + ("float32" if device.get("precision") == "no" else str(device.get("precision"))),
            )
        )
    told.append(("epoch", f"{run.epoch} of {run.total_epochs}"))
    told.append(("step", f"{run.step:,} of {run.total_steps:,} ({100 * run.progress:.0f} %)"))
    if start and run.last_time:
        ran = f"{span(run.last_time - start.time)} since {clock(start.time)}"
        left = run.seconds_left()
        told.append(("time", ran + (f", {span(left)} left" if left is not None else "")))
    if run.clips_per_s:
        share = run.teacher_share
        words = f", teacher {100 * share:.0f} % of the step" if share is not None else ""
        told.append(("pace", f"{run.clips_per_s:,.0f} clips/s{words}"))
    told += [("best", _accuracy(run.best)), ("last", _accuracy(run.final))]
    if start and start.teacher:
        top1 = compared.teacher_top1
        told.append(("teacher", start.teacher.model + (f", {top1:.2f} %" if top1 else "")))
    baseline = compared.baseline
    if baseline:
        told.append(("baseline", f"{baseline.name}: {_accuracy(baseline.best)}"))
        gain = compared.gain(run)
        if gain is not None and run.final and baseline.final:
            words = f"{gain:+.2f} points best to best"
            told.append(("gain", f"{words}, {run.final[1] - baseline.final[1]:+.2f} last to last"))
    elif run.distilled:
        told.append(("baseline", "no standalone run of this model on this data is watched"))
    if pair := expected(run):
        told.append(("expected", f"{pair[0]:.0f} to {pair[1]:.0f} % (an estimate of the design)"))
    if last:
        ce_weight, kl_weight = run.weights()
        if run.distilled and last.ce is not None and last.kl is not None:
            told.append(
                ("loss", f"{ce_weight:g} x CE {last.ce:.4g} + {kl_weight:g} x KL {last.kl:.4g}")
            )
        elif last.total is not None:
            told.append(("loss", f"{last.total:.4g}"))
    if run.resumes:
        told.append(("resumed", f"{len(run.resumes)} times, last at step {run.resumes[-1].step:,}"))
    told += [("skipped", f"{n:,} steps: {why}") for why, n in sorted(run.skipped.items())]
    told += [("log", words) for words in run.unread()]
    told += [(f"warning {clock(w.time)}", w.text) for w in list(run.warnings)[-5:]]
    return told


def settings(run: Run) -> Facts:
    """Every setting and version."""
    told = [(key, "none" if value is None else str(value)) for key, value in run.settings.items()]
    told.sort(key=lambda pair: pair[0] not in ("alpha", "tau", "variant", "model", "teacher"))
    if run.start:
        told += [(f"version of {key}", str(value)) for key, value in run.start.versions.items()]
        told += [("run id", run.start.run_id), ("data hash", run.start.data.hash)]
        if run.start.teacher:
            told.append(("teacher hash", run.start.teacher.hash))
    return told


def checkpoints(run: Run) -> Facts:
    """The weights in the run's folder, and the run states that its log tells of."""
    told: Facts = []
    for file in sorted(run.folder.glob("*.safetensors")):
        about = checkpoint_about(file).get("info") or {}
        try:
            status = file.stat()
        except OSError:
            continue
        accuracy = about.get("accuracy") or {}
        top1 = accuracy.get("top1")
        words = [f"{status.st_size / 1e6:.1f} MB, {clock(status.st_mtime)}"]
        if about.get("epoch") is not None:
            words.append(f"epoch {about['epoch']}")
        if top1 is not None:
            words.append(f"top-1 {top1:.2f} %")
        if about.get("chosen_by"):
            words.append(f"chosen by {about['chosen_by']}")
        told.append((file.name, ", ".join(words)))
    for event in reversed(run.checkpoints):
        size = f", {event.mb:.1f} MB" if event.mb is not None else ""
        took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
        told.append((f"step {event.step:,}", f"{event.path}{size}{took}, {clock(event.time)}"))
    return told or [("none", "no checkpoint was written yet")]


def event_text(event: Event, palette: Any) -> Text:
    """One event on one line."""
    import msgspec

    fields = msgspec.to_builtins(event)
    kind = fields.pop("event")
    when = time.strftime("%H:%M:%S", time.localtime(fields.pop("time")))
    colors = {"step": palette.dim, "warning": palette.warn, "epoch": palette.good}
    text = Text(f"{when} ", palette.dim)
    text.append(f"{kind:<10} ", f"bold {colors.get(kind, palette.runs[0])}")
    if isinstance(event, Step):
        fields = {k: v for k, v in fields.items() if v not in (None, [])}
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


class RunPage(Screen[None]):
    """One run."""

    app: MonitorApp

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"),
        (100, "-roomy"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back", key_display="Esc"),
        Binding("left", "tab(-1)", "tabs", key_display="Left/Right", priority=True),
        Binding("right", "tab(1)", "next tab", show=False, priority=True),
        *[Binding(str(n), f"show('{tab}')", tab, show=False) for n, tab in enumerate(TABS, 1)],
        Binding("r", "raw", "raw log"),
        Binding("y", "app.log_axis", "log axis"),
        Binding("w", "app.weighted", "weights"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run_shown = run
        self.raw = False
        self._lines = LogTail(run.tail.path)
        # held here: events come also before the page stands, and while it is taken down
        self._texts = {name: Static() for name in ("overview", "settings", "checkpoints")}
        self._event_log = RichLog(max_lines=2000, wrap=True, min_width=20, id="events")

    def compose(self) -> ComposeResult:
        run = self.run_shown
        yield HeaderLine(frame=False)
        with TabbedContent(initial="overview"):
            with TabPane(f"1 {run.name}", id="overview"), Horizontal():
                with VerticalScroll(id="facts"):
                    yield self._texts["overview"]
                with VerticalScroll(id="page-charts", can_focus=False):
                    yield LossPanel(of=run)
                    yield AccuracyPanel(of=run)
            with TabPane("2 settings", id="settings"), VerticalScroll():
                yield self._texts["settings"]
            with TabPane("3 checkpoints", id="checkpoints"), VerticalScroll():
                yield self._texts["checkpoints"]
            with TabPane("4 classes", id="classes"):
                yield ClassPanel(of=run)
            with TabPane("5 log", id="log"):
                yield self._event_log
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_class(not self.app.glyphs.braille, "ascii")
        self._lines.start_near_end(RECENT)
        self.data_changed()
        for panel in self.query(Drawn):
            panel.redraw()
        self.query_one("#facts").focus()

    def data_changed(self) -> None:
        """The run's log has grown, or colours changed."""
        run = self.run_shown
        for name, facts in (
            ("overview", overview(run, self.app)),
            ("settings", settings(run)),
            ("checkpoints", checkpoints(run)),
        ):
            self._texts[name].update(self._table(facts))
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
        palette = self.app.palette
        decoded: Decoded = decode(line)
        if decoded.events and not self.raw:
            for event in decoded.events:
                self._event_log.write(event_text(event, palette))
        else:
            color = palette.text if decoded.events or decoded.unknown else palette.bad
            self._event_log.write(Text(line[:4000].decode(errors="replace"), color))

    def _table(self, facts: Facts) -> Any:
        from rich.table import Table

        palette = self.app.palette
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style=palette.dim, no_wrap=True)
        table.add_column(style=palette.text, overflow="fold")
        for name, words in facts:
            table.add_row(Text(name), Text(words))
        return table

    def action_leave(self) -> None:
        self.app.pop_screen()
        self.app.redraw(refill=True)

    def action_show(self, tab: str) -> None:
        self.query_one(TabbedContent).active = tab
        target = {"overview": "#facts", "log": "#events"}.get(tab)
        pane = self.query_one(f"#{tab}", TabPane)
        (self.query_one(target) if target else pane.children[0]).focus()

        if tab == "log":  # its height is known only now
            self.call_after_refresh(self._event_log.scroll_end, animate=False)

    def action_tab(self, by: int) -> None:
        active = self.query_one(TabbedContent).active
        self.action_show(TABS[(TABS.index(active) + by) % len(TABS)])

    def action_raw(self) -> None:
        """The log's own JSON, or its events in words."""
        self.raw = not self.raw
        self._event_log.clear()
        self._lines = LogTail(self.run_shown.tail.path)
        self._lines.start_near_end(RECENT)
        self.action_show("log")
        self.data_changed()
