"""One screen of the dashboard without a terminal: as text, or as an SVG picture.

In the picture, braille dots, box lines and blocks become shapes: few fonts draw them in the width
of their letters, so with the viewer's font a chart of characters would fall apart.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator

from rich.console import Console
from rich.segment import Segment, Segments
from textual.strip import Strip

from lastkd.monitor.screen.app import MonitorApp

CELL_WIDTH, CELL_HEIGHT = 12.2, 24.4
"""Of one character in Rich's pictures."""
_ASCENT = 18.5
"""From a row's top to its baseline, in Rich's pictures."""
_DOT, _LIGHT, _HEAVY = 3.2, 1.5, 3.2
_BRAILLE = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 0), 4: (1, 1), 5: (1, 2), 6: (0, 3), 7: (1, 3)}
"""By bit of the code point: column and row of the dot."""
_LINES = {
    "─": (_LIGHT, 1, 1, 0, 0),
    "│": (_LIGHT, 0, 0, 1, 1),
    "┤": (_LIGHT, 1, 0, 1, 1),
    "├": (_LIGHT, 0, 1, 1, 1),
    "└": (_LIGHT, 0, 1, 1, 0),
    "┬": (_LIGHT, 1, 1, 0, 1),
    "━": (_HEAVY, 1, 1, 0, 0),
    "╸": (_HEAVY, 1, 0, 0, 0),
    "╺": (_HEAVY, 0, 1, 0, 0),
}
"""By character: thickness, and the arms to the left, right, top and bottom in half cells."""
_CORNERS = {"╭": (1, 1), "╮": (-1, 1), "╰": (1, -1), "╯": (-1, -1)}
"""By character: to which side and up or down its ends point."""
_BLOCKS = "▁▂▃▄▅▆▇█"
_TEXT = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)"[^>]*>'
    r"(?P<text>[^<]*)</text>"
)


def text(app: MonitorApp, size: tuple[int, int], *, color: bool | None = None) -> str:
    """The screen as lines of text.

    Args:
        size: columns and rows.
        color: with ANSI colours; by default only if standard output is a terminal that shows them.
    """
    strips = asyncio.run(_strips(app, size))
    console = Console(width=size[0], force_terminal=color, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        for strip in strips:
            console.print(Segments([*strip, Segment.line()]), end="")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def picture(app: MonitorApp, size: tuple[int, int], keys: tuple[str, ...] = ()) -> str:
    """The screen as SVG, in the viewer's monospaced font.

    Args:
        size: columns and rows.
        keys: to press first.
    """
    svg = asyncio.run(_svg(app, size, keys))
    # web fonts aren't loaded inside an image, and a picture shouldn't call a server
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = svg.replace("Fira Code, monospace", "'DejaVu Sans Mono', Menlo, Consolas, monospace")
    # some renderers drop the spaces at the beginning of a text
    start = '<svg class="rich-terminal"'
    return with_shapes(svg.replace(start, start.replace(" ", ' xml:space="preserve" ', 1)))


def screen_strips(app: MonitorApp) -> list[Strip]:
    """The rows of a running app's screen, as they would be written to the terminal."""
    return app.screen._compositor.render_strips()


def screen_lines(app: MonitorApp) -> list[str]:
    """The rows of a running app's screen, as plain text."""
    return [strip.text.rstrip() for strip in screen_strips(app)]


async def _svg(app: MonitorApp, size: tuple[int, int], keys: tuple[str, ...]) -> str:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.redraw()  # with all sizes known
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        return app.export_screenshot(title="lastkd monitor")


async def _strips(app: MonitorApp, size: tuple[int, int]) -> list[Strip]:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.redraw()  # with all sizes known
        await pilot.pause()
        return screen_strips(app)


def with_shapes(svg: str) -> str:
    """The picture with its dots, lines and blocks as paths in place of letters."""

    def replaced(match: re.Match[str]) -> str:
        text = html.unescape(match["text"])
        left, top = float(match["x"]), float(match["y"]) - _ASCENT
        outlines, letters = [], []
        for index, char in enumerate(text):
            shape = list(_shape(char, left + index * CELL_WIDTH, top))
            outlines += shape
            letters.append("\xa0" if shape else char)
        if not outlines:
            return match[0]
        path = f'<path class="{match["style"]}" d="{"".join(outlines)}"/>'
        rest = "".join(letters)
        if not rest.strip("\xa0"):
            return path
        start = match[0].index(">") + 1
        return path + match[0][:start] + html.escape(rest) + "</text>"

    return _TEXT.sub(replaced, svg)


def _box(left: float, top: float, width: float, height: float) -> str:
    return f"M{left:.1f} {top:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"


def _shape(char: str, left: float, top: float) -> Iterator[str]:
    """The outlines of one character in its cell; none for a letter."""
    middle, centre = left + CELL_WIDTH / 2, top + CELL_HEIGHT / 2
    if 0x2800 < ord(char) <= 0x28FF:
        for bit, (column, row) in _BRAILLE.items():
            if ord(char) - 0x2800 & 1 << bit:
                x = left + CELL_WIDTH * (0.25 + 0.5 * column) - _DOT / 2
                y = top + CELL_HEIGHT * (0.125 + 0.25 * row) - _DOT / 2
                yield _box(x, y, _DOT, _DOT)
    elif char in _LINES:
        thick, to_left, to_right, to_top, to_bottom = _LINES[char]
        if to_left or to_right:
            start = left if to_left else middle
            length = CELL_WIDTH / 2 * (to_left + to_right)
            yield _box(start, centre - thick / 2, length, thick)
        if to_top or to_bottom:
            start = top if to_top else centre
            length = CELL_HEIGHT / 2 * (to_top + to_bottom)
            yield _box(middle - thick / 2, start, thick, length)
    elif char in _CORNERS:
        across, down = _CORNERS[char]
        half, radius = _LIGHT / 2, CELL_WIDTH / 2 - _LIGHT / 2
        edge_x = left + CELL_WIDTH if across > 0 else left
        edge_y = top + CELL_HEIGHT if down > 0 else top
        turn = int(across * down > 0)
        inner = radius - half
        yield (
            f"M{middle - across * half:.1f} {edge_y:.1f}V{centre + down * radius:.1f}"
            f"A{radius + half:.1f} {radius + half:.1f} 0 0 {turn} "
            f"{middle + across * radius:.1f} {centre - down * half:.1f}H{edge_x:.1f}"
            f"V{centre + down * half:.1f}H{middle + across * radius:.1f}"
            f"A{inner:.1f} {inner:.1f} 0 0 {1 - turn} "
            f"{middle + across * half:.1f} {centre + down * radius:.1f}V{edge_y:.1f}z"
        )
    elif char in _BLOCKS:
        height = CELL_HEIGHT * (_BLOCKS.index(char) + 1) / 8
        yield _box(left, top + CELL_HEIGHT - height, CELL_WIDTH, height)
    elif char == "▌":
        yield _box(left, top, CELL_WIDTH / 2, CELL_HEIGHT)
