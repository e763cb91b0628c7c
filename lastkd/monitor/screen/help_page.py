"""The help page: every key, and what the signs mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

if TYPE_CHECKING:
    from lastkd.monitor.screen.app import MonitorApp

KEYS = (
    ("Move", ""),
    ("up down j k", "another run; on a group's title the charts show all of its runs"),
    ("PgUp PgDn Home End", "faster"),
    ("Enter", "the run's own page: settings, checkpoints, classes, log"),
    ("Esc", "a step back: page, panel, filter, choice"),
    ("Tab", "to the next panel; Enter there fills the screen with it"),
    ("2 3 4 5", "loss, accuracy, devices, alerts alone; again or 1: all"),
    ("Runs", ""),
    ("Space", "keep the run in the charts, beside the one under the cursor"),
    ("p", "pin: the charts stay with this run"),
    ("/ f", "filter by words: name, model, state"),
    ("o O", "sort by the next column; the other way round"),
    ("Loss", ""),
    ("y", "logarithmic axis"),
    ("w", "CE and KL as they enter the loss, or as such"),
    ("s", "raw and smoothed, smoothed alone, raw alone"),
    ("c", "all parts, total, CE, KL; of several runs one part is drawn"),
    ("Else", ""),
    ("t", "light or dark; more themes in the command palette (ctrl+p)"),
    ("?", "this page"),
    ("q", "quit; the runs go on"),
)


class HelpPage(ModalScreen[None]):
    """All keys."""

    app: MonitorApp

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close"),
    ]

    def compose(self) -> ComposeResult:
        from rich.text import Text

        palette, glyphs = self.app.palette, self.app.glyphs
        text = Text()
        for key, words in KEYS:
            if not words:
                text.append(f"\n{key}\n" if text else f"{key}\n", f"bold {palette.runs[1]}")
            else:
                text.append(f"{key:<20}", f"bold {palette.runs[0]}")
                text.append(f"{words}\n", palette.text)
        text.append("\nSigns\n", f"bold {palette.runs[1]}")
        signs = "   ".join(f"{sign} {state}" for state, sign in glyphs.states.items())
        text.append(f"{signs}\n", palette.text)
        text.append(
            f"{glyphs.marks}  a run's mark in the charts and in the table\n"
            "gain: points of the best top-1 over the standalone run of the same model and data\n"
            "left: steps and evaluations to come at the last pace",
            palette.text,
        )
        with VerticalScroll(id="help"):
            yield Static(text)

    def on_mount(self) -> None:
        box = self.query_one("#help")
        box.border_title = "Keys"
        box.border_subtitle = "Esc closes"
        self.set_class(not self.app.glyphs.braille, "ascii")
        box.focus()
