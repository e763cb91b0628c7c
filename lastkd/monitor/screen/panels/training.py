"""How the training goes: the parts of the loss, accuracy, and speed."""

from __future__ import annotations

from collections.abc import Sequence

from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.charts import accuracy_plot, loss_plot, pace_plot, share_plot
from lastkd.monitor.screen.panels.base import ChartPanel
from lastkd.monitor.screen.plot import Plot


def soft_title(runs: Sequence[Run]) -> str:
    """The short name of the soft term if all distilled runs share it, else `soft`."""
    titles = {run.soft_title for run in runs if run.distilled}
    return titles.pop() if len(titles) == 1 else "soft"


class LossPanel(ChartPanel):
    """CE, soft term and total over the steps."""

    key, title, place = "2", "Loss", "charts"

    def titles(self) -> tuple[str, str]:
        runs = self.runs
        name = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
        split = len(runs) == 1 and runs[0].distilled
        term = soft_title(runs)
        below = self.state.view.describe(split=split, soft_title=term)
        share = runs[0].soft_share() if len(runs) == 1 else None
        if share is not None:
            below += f" {self.state.glyphs.dot} {term} is {100 * share:.0f} %"
        return name if runs else "", below

    def plot(self, width: int) -> Plot:
        return loss_plot(self.runs, self.state.view, self.state.palette)


class AccuracyPanel(ChartPanel):
    """Top-1 over the epochs."""

    key, title, place = "3", "Accuracy", "charts"

    def titles(self) -> tuple[str, str]:
        compared = self.state.watcher.compared
        choosers = {run.chooser for run in self.runs}
        unit = "top-1 %" if choosers <= {"test"} else f"top-1 % on {' and '.join(sorted(choosers))}"
        gains = [(run, gain) for run in self.runs if (gain := compared(run).gain(run)) is not None]
        if len(gains) == 1:
            return unit, f"gain {gains[0][1]:+.1f} points"
        return unit, " ".join(f"{run.variant} {gain:+.1f}" for run, gain in gains[:4])

    def content(self) -> object:
        drawn: list[object] = []
        for run in self.runs:
            compared = self.state.watcher.compared(run)
            baseline = compared.baseline
            drawn += [
                (run.name, run.total_epochs, run.accuracies),
                (compared.teacher_top1, baseline.accuracies if baseline else None),
            ]
        return drawn

    def plot(self, width: int) -> Plot:
        compared = [self.state.watcher.compared(run) for run in self.runs]
        return accuracy_plot(self.runs, compared, self.state.palette, roomy=width > 60)


class SharePanel(ChartPanel):
    """The share of the soft term in the loss."""

    title, place = "Soft share of the loss", "more"

    def titles(self) -> tuple[str, str]:
        return f"{soft_title(self.runs)}, %", ""

    def plot(self, width: int) -> Plot:
        return share_plot(self.runs, self.state.palette)


class PacePanel(ChartPanel):
    """Clips per second."""

    title, place = "Pace", "more"

    def titles(self) -> tuple[str, str]:
        share = self.runs[0].teacher_share if self.runs else None
        return "clips/s", f"teacher {100 * share:.0f} % of the step" if share else ""

    def plot(self, width: int) -> Plot:
        return pace_plot(self.runs, self.state.palette)
