"""The picture of a stream in the terminal."""

from __future__ import annotations

import threading
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.filter import LineFilter
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from lastkd.live.screen.panels import (
    ActionPanel,
    FigurePanel,
    HeaderLine,
    LiveLine,
    LivePanel,
    StatusLine,
    TimelinePanel,
)
from lastkd.live.screen.state import LiveState
from lastkd.monitor.screen.glyphs import ASCII, AsciiOnly
from lastkd.monitor.screen.style import THEMES, Palette, palette_of

FRAMES_PER_SECOND = 30
MIN_COLUMNS, MIN_ROWS = 60, 16
TURN_DEGREES = 15

KEYS = (
    ("Space", "stop and go on, where the source is played"),
    ("left right", "look from another side"),
    ("1 2 3", "only the figure, the actions, the last minute; again: all of them"),
    ("Esc", "all of them"),
    ("t", "light or dark"),
    ("?", "this page"),
    ("q", "quit"),
)


class LiveApp(App[None]):
    """One stream.

    Args:
        state: what is drawn; its session is started when the screen is there.
        theme: the name of a theme.
    """

    CSS_PATH = "live.tcss"
    TITLE = "lastkd live"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (MIN_COLUMNS, "-narrow"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (MIN_ROWS, "-short"), (30, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("space", "pause", "stop/go"),
        Binding("left", "turn(-1)", "turn", key_display="←→"),
        Binding("right", "turn(1)", "turn", show=False),
        Binding("1", "panel('1')", "panels", key_display="1-3"),
        Binding("2", "panel('2')", "panels", show=False),
        Binding("3", "panel('3')", "panels", show=False),
        Binding("escape", "panel('')", "back", show=False),
        Binding("t", "light_dark", "theme", show=False),
        Binding("ctrl+q", "quit", "quit", show=False),
    ]

    def __init__(self, state: LiveState, *, theme: str = "lastkd-dark") -> None:
        # Textual asks for the line filters while it initialises
        self._ascii_only = AsciiOnly() if state.glyphs is ASCII else None
        super().__init__()
        self.state = state
        self.animation_level = "none"
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme
        self._zoomed = ""
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run_session, daemon=True)

    def compose(self) -> ComposeResult:
        yield HeaderLine(self.state, id="header")
        with Horizontal(id="body"):
            yield FigurePanel(self.state, id="figure")
            yield ActionPanel(self.state, id="actions")
        yield TimelinePanel(self.state, id="timeline")
        yield Static(id="small")
        yield StatusLine(self.state, id="status")
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.screen.set_class(self.state.glyphs is ASCII, "ascii")
        if not self.is_headless and self.console.color_system == "standard":
            self.theme = "lastkd-16"
        session = self.state.session
        session.on_frame = self.state.take_frame
        session.on_prediction = self.state.take_prediction
        self._thread.start()
        self.set_interval(1 / FRAMES_PER_SECOND, self.redraw)

    def on_unmount(self) -> None:
        self.state.session.stop.set()
        self._thread.join(1)

    def _run_session(self) -> None:
        try:
            self.state.session.run()
        except Exception as error:  # raised again by the command, once the terminal is its own
            self.failure = error
        finally:
            self.state.over = True

    def redraw(self) -> None:
        """Draws what has changed; after a failure there is nothing more to draw."""
        if self.failure is not None:
            self.exit()
        for screen in self.screen_stack[:1]:  # none while the app starts and ends
            for widget in screen.query(LiveLine):
                widget.redraw()

    def watch_theme(self) -> None:
        self.state.palette = palette_of(self.current_theme)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """The variables of the style sheet that Textual's own themes lack."""
        palette = palette_of(self.current_theme)
        return {"line": palette.faint, "words": palette.dim}

    def get_line_filters(self) -> list[LineFilter]:
        filters = list(super().get_line_filters())
        return [*filters, self._ascii_only] if self._ascii_only else filters

    def on_resize(self, event: events.Resize) -> None:
        columns, rows = event.size
        if self.screen_stack and (columns < MIN_COLUMNS or rows < MIN_ROWS):
            note = f"{columns}x{rows} is too small:\nlastkd live needs {MIN_COLUMNS}x{MIN_ROWS}."
            for widget in self.screen_stack[0].query("#small").results(Static):
                widget.update(note)

    # --- keys -----------------------------------------------------------------------------------

    def action_help(self) -> None:
        self.push_screen(HelpPage(self.state.palette, ascii_only=self.state.glyphs is ASCII))

    def action_pause(self) -> None:
        paused = self.state.session.paused
        if self.state.session.source.paced:
            paused.clear() if paused.is_set() else paused.set()

    def action_turn(self, steps: int) -> None:
        self.state.turn = (self.state.turn + steps * TURN_DEGREES) % 360

    def action_panel(self, key: str) -> None:
        """Lets a panel fill the screen; the same key again brings all back."""
        if len(self.screen_stack) > 1:
            return
        self._zoomed = "" if key == self._zoomed else key
        for panel in self.screen.query(LivePanel):
            panel.set_class(bool(self._zoomed) and panel.key != self._zoomed, "aside")
            panel.set_class(panel.key == self._zoomed, "zoomed")
        self.screen.query_one("#body").set_class(self._zoomed == "3", "aside")

    def action_light_dark(self) -> None:
        self.theme = "lastkd-light" if self.current_theme.dark else "lastkd-dark"


class HelpPage(ModalScreen[None]):
    """All keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "close"),
    ]

    def __init__(self, palette: Palette, *, ascii_only: bool) -> None:
        super().__init__()
        self._palette, self._ascii_only = palette, ascii_only

    def compose(self) -> ComposeResult:
        text = Text()
        for key, meaning in KEYS:
            text.append(f"{key:<12}", f"bold {self._palette.runs[0]}")
            text.append(f"{meaning}\n", self._palette.text)
        text.append(
            "\nThe figure: warm on the person's left, cool on the right; others are dotted.\n"
            "late: how much later than the promptest prediction so far this one came.",
            self._palette.text,
        )
        with VerticalScroll(id="help"):
            yield Static(text)

    def on_mount(self) -> None:
        box = self.query_one("#help")
        box.border_title, box.border_subtitle = "Keys", "Esc closes"
        self.set_class(self._ascii_only, "ascii")
        box.focus()
