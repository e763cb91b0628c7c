"""A clip in the terminal, as braille dots in the colours of the limbs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from lastkd.data.clip import USUAL_FPS
from lastkd.data.layouts import Layout
from lastkd.show.limbs import FAINT, FLOOR_EDGE, Colour, colour_of, lighter, limbs
from lastkd.show.poses import PoseSequence
from lastkd.show.projection import Vectors, evenly_spaced, project

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_ON_DARK = 0.25  # share of white added, because the colours are made for white paper


class Dots:
    """A grid of dots, two across and four down for each character."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._bits: NDArray[np.int64] = np.zeros((rows, columns), np.int64)
        self._colours: dict[tuple[int, int], Colour] = {}

    def line(self, start: Vectors, end: Vectors, colour: Colour) -> None:
        """Draws a line between two points, given in dots."""
        steps = int(np.abs(end - start).max()) + 1
        for x, y in np.linspace(start, end, steps + 1).round().astype(int).tolist():
            column, row = x // 2, y // 4
            if 0 <= column < self.columns and 0 <= row < self.rows:
                self._bits[row, column] |= _BITS[y % 4, x % 2]
                self._colours[row, column] = colour

    def text(self) -> list[Text]:
        """A `Text` for each row of characters."""
        lines = []
        for row, bits in enumerate(self._bits.tolist()):
            line = Text(no_wrap=True)
            for column, bit in enumerate(bits):
                if bit:
                    red, green, blue = self._colours[row, column]
                    line.append(chr(0x2800 + bit), f"rgb({red},{green},{blue})")
                else:
                    line.append(" ")
            lines.append(line)
        return lines


class TerminalCanvas:
    """Draws the poses of one sequence as text, all to the same scale."""

    def __init__(
        self, sequence: PoseSequence, layout: Layout, turn: float, columns: int, rows: int
    ) -> None:
        self._projected = project(sequence, layout, turn)
        self._layout = layout
        self._limbs = limbs(layout)
        span = self._projected.high - self._projected.low
        self._scale = min((2 * columns - 4) / max(span[0], 0.5), (4 * rows - 4) / max(span[1], 0.5))
        self._columns = min(columns, int(span[0] * self._scale / 2) + 3)
        self._rows = rows

    def frame(self, frame: int) -> list[Text]:
        """The bodies of one frame, a `Text` for each row."""
        dots = Dots(self._columns, self._rows)
        floor = self._placed(self._projected.floor)
        if len(floor) == 4:  # a line through its middle, where the feet stand
            floor = np.stack([floor[[0, 3]].mean(0), floor[[1, 2]].mean(0)])
        dots.line(floor[0], floor[1], FLOOR_EDGE)
        for body in range(self._projected.visible.shape[1]):
            visible = self._projected.visible[frame, body]
            places = self._placed(self._projected.points[frame, body])
            for child, parent in self._layout.bones:
                if visible[child] and visible[parent]:
                    colour = lighter(colour_of(self._limbs[child], body), _ON_DARK)
                    dots.line(places[parent], places[child], colour)
            if self._projected.tips is not None:
                tips = self._placed(self._projected.tips[frame, body])
                for joint in np.flatnonzero(visible).tolist():
                    dots.line(places[joint], tips[joint], FAINT)
        return dots.text()

    def _placed(self, places: Vectors) -> Vectors:
        x = (places[..., 0] - self._projected.low[0]) * self._scale + 1
        y = (self._projected.high[1] - places[..., 1]) * self._scale + 1
        placed: Vectors = np.stack([x, y], axis=-1)
        return placed


def print_strip(
    console: Console,
    sequences: Sequence[PoseSequence],
    layout: Layout,
    *,
    title: str,
    subtitle: str,
    poses: int,
    turn: float,
) -> None:
    """Prints a few poses side by side, for a file or a pipe."""
    console.print(Text(title, "bold"), Text(subtitle), sep="\n")
    frames = evenly_spaced(len(sequences[0].joints), poses)
    columns = max((console.width - 2) // len(frames) - 1, 8)
    for sequence in sequences:
        drawn = TerminalCanvas(sequence, layout, turn, columns, min(columns, 20))
        shown = [drawn.frame(frame) for frame in frames]
        if len(sequences) > 1:
            console.print(sequence.stream)
        rows = list(zip(*shown, strict=True))
        while rows and not any(part.plain.strip() for part in rows[-1]):
            rows.pop()
        for parts in rows:
            line = Text(no_wrap=True)
            for part in parts:
                part.pad_right(max(columns + 1 - len(part), 0))
                line.append(part)
            console.print(line)
    console.print("".join(f"frame {frame}".ljust(columns + 1) for frame in frames))


def play(
    console: Console,
    sequences: Sequence[PoseSequence],
    layout: Layout,
    *,
    title: str,
    subtitle: str,
    speed: float,
    turn: float,
    fps: float = USUAL_FPS,
    rounds: int | None,
) -> None:
    """Plays the clip on the whole screen, `rounds` times or until Ctrl-C.

    Args:
        speed: 1 is `fps` frames per second.
    """
    total = len(sequences[0].joints)
    columns = (console.width - 2 * len(sequences)) // len(sequences)
    drawn = [TerminalCanvas(one, layout, turn, columns, console.height - 4) for one in sequences]
    done = 0
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while rounds is None or done < rounds:
            for frame in range(total):
                due = time.monotonic() + 1 / (fps * speed)
                lines = []
                for parts in zip(*(one.frame(frame) for one in drawn), strict=True):
                    lines.append(Text("  ", no_wrap=True).join(parts))
                state = f"{subtitle} · frame {frame + 1}/{total} · Ctrl-C ends"
                live.update(Group(Text(title, "bold"), Text(state), *lines), refresh=True)
                time.sleep(max(due - time.monotonic(), 0))
            done += 1
