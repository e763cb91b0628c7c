"""The help page: every key, and what the signs mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from lastkd.monitor.screen.panels.base import Panel
from lastkd.monitor.screen.state import MonitorState


def key_rows(panels: Sequence[type[Panel]]) -> Iterator[tuple[str, str]]:
    """Keys with what they do; a heading comes with an empty text."""
    with_key = [panel for panel in panels if panel.key]
    keys = " ".join(panel.key for panel in with_key)
    names = ", ".join(panel.title.lower() for panel in with_key)
    yield "Move", ""
    yield "up down j k", "another run; on a group's title the charts show all of its runs"
    yield "PgUp PgDn Home End", "ten rows up or down; the first or last row"
    yield "Enter", "the run's page: settings, checkpoints, classes, log"
    yield "Esc", "one step back: page, panel, filter, selection"
    yield "Tab", "to the next panel; Enter there makes it fill the screen"
    yield keys, f"only {names}; again or 1: all panels"
    yield "Runs", ""
    yield "Space", "keep the run in the charts, beside the one under the cursor"
    yield "p", "pin: the charts stay with this run"
    yield "/ f", "filter by words: name, model, state"
    yield "o O", "sort by the next column; reverse the order"
    yield "Loss", ""
    yield "y", "logarithmic axis"
    yield "w", "CE and soft term as they enter the loss, or unweighted"
    yield "s", "raw and smoothed, only smoothed, only raw"
    yield "c", "all parts, total, CE, soft term; several runs show one part"
    yield "Other", ""
    yield "t", "light or dark; more themes in the command palette (ctrl+p)"
    yield "?", "this page"
    yield "q", "quit; the runs go on"


class HelpPage(ModalScreen[None]):
    """All keys and signs.

    Args:
        state: for the glyphs and colours in use.
        panels: those of the dashboard.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close"),
    ]

    def __init__(self, state: MonitorState, panels: Sequence[type[Panel]]) -> None:
        super().__init__()
        self.state, self.panels = state, panels

    def compose(self) -> ComposeResult:
        palette, glyphs = self.state.palette, self.state.glyphs
        text = Text()
        for key, meaning in key_rows(self.panels):
            if not meaning:
                text.append(f"\n{key}\n" if text else f"{key}\n", f"bold {palette.runs[1]}")
            else:
                text.append(f"{key:<20}", f"bold {palette.runs[0]}")
                text.append(f"{meaning}\n", palette.text)
        text.append("\nSigns\n", f"bold {palette.runs[1]}")
        signs = "   ".join(f"{sign} {state}" for state, sign in glyphs.states.items())
        text.append(f"{signs}\n", palette.text)
        text.append(
            f"{glyphs.marks}  a run's mark in the charts and in the table\n"
            "top-1: the best epoch on the test part, with v on the validation part\n"
            "gain: best top-1 minus that of the standalone run of the same model and data, points\n"
            "left: steps and evaluations still to come, at the latest pace",
            palette.text,
        )
        with VerticalScroll(id="help"):
            yield Static(text)

    def on_mount(self) -> None:
        box = self.query_one("#help")
        box.border_title = "Keys"
        box.border_subtitle = "Esc closes"
        self.set_class(not self.state.glyphs.braille, "ascii")
        box.focus()
