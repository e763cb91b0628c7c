"""The panels of the dashboard: each draws what the app's selection and view say."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.charts import accuracy_plot, loss_plot, pace_plot, share_plot
from lastkd.monitor.screen.plot import Plot, draw
from lastkd.monitor.screen.style import ink

if TYPE_CHECKING:
    from lastkd.monitor.screen.app import MonitorApp


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
        self._drawn_from: object = None
        self.set_class(frame, "framed")

    def redraw(self) -> None:
        """Draws anew, at a change of any kind."""
        self._rows = None
        self._drawn_from = self.drawn_from()
        self.retitle()
        self.refresh()

    def data_changed(self) -> None:
        """Draws anew if what came is of what is drawn here."""
        facts = self.drawn_from()
        if facts is None or facts != self._drawn_from:
            self.redraw()

    def drawn_from(self) -> object:
        """What of the runs is drawn, to be compared; None where any event may change it."""
        return None

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
        words = self.app.view.describe(split=len(runs) == 1 and runs[0].distilled)
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

    def drawn_from(self) -> object:
        facts = []
        for run in self.runs:
            compared = self.app.watcher.compared(run)
            baseline = compared.baseline
            facts += [
                (run.name, run.total_epochs, run.accuracies),
                (compared.teacher_top1, baseline.accuracies if baseline else None),
            ]
        return facts

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
