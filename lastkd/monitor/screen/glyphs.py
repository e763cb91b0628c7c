"""The characters the dashboard draws with, for terminals with UTF-8 and for those without."""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter


@dataclass(frozen=True)
class Glyphs:
    """One set of characters.

    Attributes:
        braille: charts are drawn with 2 x 4 braille dots a cell, not with one character a cell.
        marks: one for each run or curve of a chart.
        states: by a run's state, the sign in its row.
        bar: done, half done, to do.
        axis: tick, corner, horizontal line.
        frame: vertical line of an axis.
        blocks: of a sparkline, from low to high.
    """

    braille: bool
    marks: str
    states: dict[str, str]
    bar: tuple[str, str, str]
    axis: tuple[str, str, str]
    frame: str
    blocks: str
    cursor: str
    pin: str
    chosen: str
    up: str
    down: str
    ellipsis: str
    dot: str
    alert: str


UNICODE = Glyphs(
    braille=True,
    marks="●▲■◆▼★",
    states={
        "running": "▸",
        "finished": "✓",
        "stopped": "■",
        "failed": "✗",
        "stalled": "!",
        "waiting": "·",
    },
    bar=("━", "╸", "─"),
    axis=("┤", "└", "─"),
    frame="│",
    blocks="▁▂▃▄▅▆▇█",
    cursor="▌",
    pin="↑",
    chosen="+",
    up="▴",
    down="▾",
    ellipsis="…",
    dot="·",
    alert="▲",
)
ASCII = Glyphs(
    braille=False,
    marks="*o+x#%",
    states={
        "running": ">",
        "finished": "=",
        "stopped": "#",
        "failed": "x",
        "stalled": "!",
        "waiting": ".",
    },
    bar=("#", "#", "-"),
    axis=("|", "+", "-"),
    frame="|",
    blocks="._-=+*%#",
    cursor=">",
    pin="^",
    chosen="+",
    up="^",
    down="v",
    ellipsis="~",
    dot="-",
    alert="!",
)


def speaks_utf8(environment: dict[str, str] | None = None) -> bool:
    """Whether the locale says that the terminal shows more than ASCII.

    Reads the environment itself: Python switches the C locale to UTF-8 for its own purposes, which
    says nothing about the terminal.
    """
    env = os.environ if environment is None else environment
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        value = env.get(name)
        if not value:
            continue
        if name == "LC_CTYPE" and value == "C.UTF-8" and env.get("LANG") in (None, "C", "POSIX"):
            continue  # set by Python itself
        _, _, charset = value.partition(".")
        if charset:
            return charset.split("@")[0].lower().replace("-", "") == "utf8"
        if value in ("C", "POSIX"):
            return False
        if environment is None:
            return locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"
    return True


def bar(share: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """A progress bar of `width` columns: the done part and the rest."""
    done, half, rest = glyphs.bar
    halves = round(max(0.0, min(share, 1.0)) * width * 2)
    full = done * (halves // 2) + (half if halves % 2 else "")
    return full, rest * (width - len(full))


def sparkline(shares: list[float], width: int, glyphs: Glyphs) -> str:
    """The latest `width` values from 0 to 1 as blocks."""
    blocks = glyphs.blocks
    top = len(blocks) - 1
    shown = [blocks[round(max(0.0, min(share, 1.0)) * top)] for share in shares[-width:]]
    return "".join(shown).rjust(width)


def fit(text: str, width: int, glyphs: Glyphs) -> str:
    """`text` in exactly `width` columns, cut at its end."""
    if len(text) > width:
        return text[: max(width - 1, 0)] + glyphs.ellipsis[:width]
    return text.ljust(width)


def fit_name(name: str, width: int, glyphs: Glyphs) -> str:
    """A run's name in exactly `width` columns; a path is cut at its beginning."""
    if len(name) <= width or "/" not in name:
        return fit(name, width, glyphs)
    return glyphs.ellipsis[:width] + name[len(name) - max(width - 1, 0) :]


_REPLACED = str.maketrans(
    {
        **dict.fromkeys("─━╌╍┄┅┈═▁▔▬", "-"),
        **dict.fromkeys("│┃║▌▐▏▎▕┆┇▍", "|"),
        **dict.fromkeys("┌┐└┘╭╮╰╯├┤┬┴┼╔╗╚╝┏┓┗┛", "+"),
        **dict.fromkeys("█▀▄▊▋▉■▪▇▆▅▃▂", "#"),
        **dict.fromkeys("●○•·∙◌", "*"),
        **dict.fromkeys("▶▸►→", ">"),
        **dict.fromkeys("◀◂◄←", "<"),
        **dict.fromkeys("▲▴↑⬆", "^"),
        **dict.fromkeys("▼▾↓⬇", "v"),
        "…": "~",
        "\N{EN DASH}": "-",
        "\N{EM DASH}": "-",
        "✓": "=",
        "✗": "x",
        "⏎": "E",
        "↵": "E",
        "␣": " ",
        "°": " ",
        "\N{MULTIPLICATION SIGN}": "x",
    }
)


class AsciiOnly(LineFilter):
    """Replaces whatever isn't ASCII in any widget, Textual's own included."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment(_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def _ascii(text: str) -> str:
    return text.translate(_REPLACED).encode("ascii", "replace").decode()
