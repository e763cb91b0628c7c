"""The parts of the picture: figure, likeliest actions, the last minute, header and status."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget

from lastkd.live.prediction import NOTHING
from lastkd.live.screen.figure import Figure
from lastkd.live.screen.state import MINUTE_S, LiveState, Spell
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.glyphs import bar, fit
from lastkd.monitor.screen.style import ink

SHOWN_ACTIONS = 5


class LiveLine(Widget):
    """A widget that draws rows of segments from the state.

    Args:
        state: of the stream.
    """

    def __init__(self, state: LiveState, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.state = state
        self._strips: list[Strip] = []

    def redraw(self) -> None:
        """Draws again."""
        width, height, base = self.size.width, self.size.height, self.rich_style
        if not width or not height:
            return
        strips = [
            Strip(row).adjust_cell_length(width, ink()).apply_style(base)
            for row in self.draw_rows(width, height)[:height]
        ]
        strips += [Strip.blank(width, base)] * (height - len(strips))
        if strips != self._strips:
            self._strips = strips
            self.refresh()

    def on_resize(self) -> None:
        self.redraw()

    def draw_rows(self, width: int, height: int) -> list[Row]:
        """The rows from the top."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)


class LivePanel(LiveLine, can_focus=True):
    """A framed part with a number key.

    Attributes:
        key: that makes it fill the screen.
        title: in its border.
    """

    key: ClassVar[str]
    title: ClassVar[str]

    def on_mount(self) -> None:
        self.border_title = Content.from_markup(f"[b]{self.key}[/b] $title", title=self.title)


class FigurePanel(LivePanel):
    """The moving skeleton."""

    key, title = "1", "Figure"

    def __init__(self, state: LiveState, *, id: str | None = None) -> None:
        super().__init__(state, id=id)
        self._figure = Figure(state.layout)

    def draw_rows(self, width: int, height: int) -> list[Row]:
        state = self.state
        return self._figure.rows(
            state.pose, state.turn, (width, height), state.palette, state.glyphs
        )


class ActionPanel(LivePanel):
    """What is going on, and the likeliest actions as bars."""

    key, title = "2", "Actions"

    def draw_rows(self, width: int, height: int) -> list[Row]:
        palette, glyphs, prediction = self.state.palette, self.state.glyphs, self.state.prediction
        if prediction is None:
            wait = self.state.session.predictor.shortest
            return [[Segment(f"waiting for {wait:.1f} s of frames", ink(palette.dim))]]
        known = prediction.label is not None
        headline = ink(palette.good if known else palette.dim, bold=known)
        predictor = self.state.session.predictor
        name = prediction.action
        if not prediction.frames:
            name = f"{NOTHING}: nobody is there"
        elif prediction.speed < predictor.stillness:
            name = f"{NOTHING}: nobody moves"
        rows: list[Row] = [[Segment(fit(name, width, glyphs), headline)], []]
        names = min(28, max(width - 24, width // 2))
        for action, share in prediction.top(SHOWN_ACTIONS):
            room = max(width - names - 8, 0)
            done, rest = bar(share, room, glyphs)
            best = known and action == prediction.action
            rows.append(
                [
                    Segment(
                        fit(action, names, glyphs) + " ",
                        ink(palette.text if best else palette.dim, bold=best),
                    ),
                    Segment(done, ink(palette.good if best else palette.runs[0])),
                    Segment(rest, ink(palette.faint)),
                    Segment(f"{100 * share:5.1f} %", ink(palette.text)),
                ]
            )
        if predictor.threshold:
            text = f'an action from {100 * predictor.threshold:.0f} % on, else "{NOTHING}"'
        else:
            text = "not calibrated: no threshold"
        rows += [[], [Segment(fit(text, width, glyphs), ink(palette.dim))]]
        return rows


class TimelinePanel(LivePanel):
    """The last minute: what was recognised when, the latest action first."""

    key, title = "3", "Last minute"

    def draw_rows(self, width: int, height: int) -> list[Row]:
        state = self.state
        palette, glyphs = state.palette, state.glyphs
        spells = list(state.spells)
        names = min(24, width // 3)
        room = max(width - names - 1, 1)
        latest: dict[int, list[Spell]] = {}
        for spell in reversed(spells):
            latest.setdefault(spell.label, []).append(spell)
        class_names = state.session.predictor.facts.class_names
        rows: list[Row] = []
        for label, own in list(latest.items())[: height - 1]:
            color = palette.runs[label % len(palette.runs)]
            cells = _cells(own, state.now, room)
            line = "".join("█" if cell else glyphs.dot for cell in cells)
            if not glyphs.braille:
                line = line.replace("█", "#").replace(glyphs.dot, ".")
            rows.append(
                [
                    Segment(fit(class_names[label], names, glyphs) + " ", ink(palette.text)),
                    *_runs(line, cells, color, palette.faint),
                ]
            )
        if not rows:
            rows.append([Segment("nothing recognised yet", ink(palette.dim))])
        rows += [[] for _ in range(height - 1 - len(rows))]
        rows.append([Segment(" " * (names + 1) + _axis(room), ink(palette.dim))])
        return rows


def _cells(spells: list[Spell], now: float, room: int) -> list[bool]:
    """For each column of the last minute, whether one of the spells is in it."""
    cells = [False] * room
    for spell in spells:
        first = int((spell.start - now + MINUTE_S) / MINUTE_S * room)
        last = int((spell.end - now + MINUTE_S) / MINUTE_S * room)
        for column in range(max(first, 0), min(last, room - 1) + 1):
            cells[column] = True
    return cells


def _runs(line: str, cells: list[bool], on: str, off: str) -> Row:
    """Segments of the same ink together."""
    row: Row = []
    start = 0
    for column in range(1, len(line) + 1):
        if column == len(line) or cells[column] != cells[start]:
            row.append(Segment(line[start:column], ink(on if cells[start] else off)))
            start = column
    return row


def _axis(room: int) -> str:
    """Seconds before now, in `room` columns."""
    text = [" "] * room
    for seconds in (60, 45, 30, 15, 0):
        label = "now" if seconds == 0 else f"-{seconds} s"
        at = round((1 - seconds / MINUTE_S) * room)
        at = min(max(at - (len(label) // 2 if 0 < seconds < 60 else 0), 0), room - len(label))
        if at >= 0:
            text[at : at + len(label)] = label
    return "".join(text)


class HeaderLine(LiveLine):
    """Model, source and pace."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        state = self.state
        palette, glyphs, session = state.palette, state.glyphs, state.session
        if state.over:
            pace = "over"
        elif session.paused.is_set():
            pace = "paused"
        else:
            pace = f"{state.frames_per_second:.0f} frames/s"
        separator = f" {glyphs.dot} "
        facts = [pace, f"{state.recent_milliseconds:.1f} ms", f"{1000 * state.late_s:.0f} ms late"]
        right = separator.join(facts if width >= 76 else facts[::2])
        left = " lastkd live  "
        middle = f"{state.model.name}{separator}{session.source.name}"
        room = max(width - len(left) - len(right) - 2, 0)
        return [
            [
                Segment(left, ink(palette.runs[0], bold=True)),
                Segment(fit(middle, room, glyphs), ink(palette.dim)),
                Segment(f" {right} ", ink(palette.text)),
            ]
        ]


class StatusLine(LiveLine):
    """What of the source wasn't used, else how the stream is looked at."""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        state = self.state
        palette, glyphs, predictor = state.palette, state.glyphs, state.session.predictor
        skipped = state.session.skipped
        separator = f" {glyphs.dot} "
        if skipped:
            text = f"{glyphs.alert} " + separator.join(
                f"{count:,} {reason}" for reason, count in skipped.most_common()
            )
        else:
            text = separator.join(
                (
                    f"window {predictor.window:.2g} s",
                    f"a prediction every {predictor.step:.2g} s",
                    f"smoothed over {predictor.smoothing:.2g} s",
                )
            )
        ink_ = ink(palette.warn if skipped else palette.dim)
        return [[Segment(" " + fit(text, max(width - 1, 0), glyphs), ink_)]]
