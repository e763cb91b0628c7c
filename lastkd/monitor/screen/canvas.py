"""A grid of terminal cells to draw lines and write text on."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style

from lastkd.monitor.screen.glyphs import Glyphs
from lastkd.monitor.screen.style import Look, ink

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
Row = list[Segment]


class Canvas:
    """A grid of cells.

    A cell is 2 x 4 dots with braille glyphs, and one dot without.

    Args:
        width: in cells.
        height: in cells.
        glyphs: characters to draw with.
    """

    def __init__(self, width: int, height: int, glyphs: Glyphs) -> None:
        self.width, self.height = width, height
        self.glyphs = glyphs
        self.across, self.down = (2, 4) if glyphs.braille else (1, 1)
        self._dots = [[0] * width for _ in range(height)]
        self._text = [[""] * width for _ in range(height)]
        self._inks: list[list[Style | None]] = [[None] * width for _ in range(height)]
        self._grounds: list[str | None] = [None] * height
        self._ground_from = 0

    def dot(self, x: int, y: int, style: Style, char: str) -> None:
        """Sets one dot, counted from the top left.

        Args:
            char: what to write where there are no braille dots.
        """
        column, row = x // self.across, y // self.down
        if 0 <= column < self.width and 0 <= row < self.height:
            if self.glyphs.braille:
                if self._text[row][column]:
                    return  # a mark keeps its colour
                self._dots[row][column] |= _DOTS[x % 2][y % 4]
            else:
                self._text[row][column] = char
            self._inks[row][column] = style

    def line(
        self,
        start: tuple[int, int],
        end: tuple[int, int],
        look: Look,
        style: Style,
        char: str = "",
    ) -> None:
        """Draws a line between two dots, in the pattern of `look`.

        Args:
            char: what to draw with where there are no braille dots; by default the look's mark.
        """
        (x0, y0), (x1, y1) = start, end
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        pattern = look.pattern if self.glyphs.braille else (1,)
        char = char or self.glyphs.marks[look.mark % len(self.glyphs.marks)]
        for step in range(steps + 1):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            if pattern[round(x) % len(pattern)]:
                self.dot(round(x), round(y), style, char)

    def write(self, column: int, row: int, text: str, style: Style) -> None:
        """Writes characters over whatever the cells contain."""
        if not 0 <= row < self.height:
            return
        for offset, char in enumerate(text):
            if 0 <= column + offset < self.width:
                self._text[row][column + offset] = char
                self._inks[row][column + offset] = style

    def covered(self, column: int, row: int, width: int) -> int:
        """How many of `width` cells aren't empty."""
        cells = range(column, min(column + width, self.width))
        return sum(bool(self._dots[row][at] or self._text[row][at]) for at in cells)

    def has_mark(self, column: int, row: int) -> bool:
        """Whether a character was written to the cell, rather than a line drawn through it."""
        return self.glyphs.braille and bool(self._text[row][column])

    def ground(self, row: int, color: str, from_column: int) -> None:
        """Gives one row a background."""
        if 0 <= row < self.height:
            self._grounds[row], self._ground_from = color, from_column

    def rows(self) -> list[Row]:
        """The cells as segments, one for each stretch of cells of the same style."""
        result: list[Row] = []
        blank = ink()
        for dots, text, inks, ground in zip(
            self._dots, self._text, self._inks, self._grounds, strict=True
        ):
            row: Row = []
            pending, pending_style = "", blank
            for column in range(self.width):
                char = text[column] or (chr(0x2800 + dots[column]) if dots[column] else " ")
                style = inks[column] or blank
                if ground and column >= self._ground_from:
                    style = style + ink(on=ground)
                if style is not pending_style and style != pending_style:
                    if pending:
                        row.append(Segment(pending, pending_style))
                    pending, pending_style = "", style
                pending += char
            row.append(Segment(pending, pending_style))
            result.append(row)
        return result
