"""Dots and lines of a terminal's picture as shapes, the same in whatever font the viewer has.

Few fonts draw braille dots and box lines in the width of their letters, so that a chart falls apart
where a picture is looked at with another font than it was made for.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

CELL_WIDTH, CELL_HEIGHT = 12.2, 24.4
_ASCENT = 18.5
"""From a row's top to the line that its letters stand on, as Rich's pictures have it."""
_DOT, _LIGHT, _HEAVY = 3.2, 1.5, 3.2
_BRAILLE = {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 0), 4: (1, 1), 5: (1, 2), 6: (0, 3), 7: (1, 3)}
# by character: thickness, and the arms to the left, right, top and bottom as shares of half a cell
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
_CORNERS = {"╭": (1, 1), "╮": (-1, 1), "╰": (1, -1), "╯": (-1, -1)}
_BLOCKS = "▁▂▃▄▅▆▇█"
_TEXT = re.compile(
    r'<text class="(?P<style>[^"]+)" x="(?P<x>[\d.]+)" y="(?P<y>[\d.]+)"[^>]*>'
    r"(?P<text>[^<]*)</text>"
)


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


def drawn(svg: str) -> str:
    """The picture with its dots, lines and blocks as paths in place of letters."""

    def replaced(match: re.Match[str]) -> str:
        text = html.unescape(match["text"])
        left, top = float(match["x"]), float(match["y"]) - _ASCENT
        outlines, letters = [], []
        for index, char in enumerate(text):
            found = list(_shape(char, left + index * CELL_WIDTH, top))
            outlines += found
            letters.append("\xa0" if found else char)
        if not outlines:
            return match[0]
        path = f'<path class="{match["style"]}" d="{"".join(outlines)}"/>'
        rest = "".join(letters)
        if not rest.strip("\xa0"):
            return path
        start = match[0].index(">") + 1
        return path + match[0][:start] + html.escape(rest) + "</text>"

    return _TEXT.sub(replaced, svg)
