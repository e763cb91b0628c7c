"""Colours, line patterns and glyphs: three ways to tell lines apart, of which each is enough."""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style

SOLID, DASHED, DOTTED, MIXED = (1,), (1, 1, 1, 1, 0, 0, 0), (1, 0, 0), (1, 1, 1, 1, 0, 0, 1, 0, 0)
"""Which dots of a line are set, over and over."""


@dataclass(frozen=True)
class Palette:
    """Colours for one kind of background."""

    text: str
    dim: str
    faint: str
    band: str
    cursor: str
    good: str
    bad: str
    warn: str
    ce: str
    kl: str
    total: str
    teacher: str
    baseline: str
    runs: tuple[str, ...]


DARK = Palette(
    text="#e6e9ef",
    dim="#8b94a7",
    faint="#4a5266",
    band="#1d3327",
    cursor="#26304a",
    good="#7bd88f",
    bad="#ff6b7f",
    warn="#ffc857",
    ce="#5ccfe6",
    kl="#ffa657",
    total="#e6e9ef",
    teacher="#c792ea",
    baseline="#9aa5b8",
    runs=("#5ccfe6", "#ffa657", "#c792ea", "#7bd88f", "#ff7eb6", "#6ea8fe"),
)
LIGHT = Palette(
    text="#1f2430",
    dim="#5c6578",
    faint="#b4bccb",
    band="#dcf0e2",
    cursor="#d6e2fb",
    good="#1b7f3b",
    bad="#c4223a",
    warn="#9a6400",
    ce="#00788f",
    kl="#b75400",
    total="#1f2430",
    teacher="#7a35b8",
    baseline="#5c6578",
    runs=("#00788f", "#b75400", "#7a35b8", "#1b7f3b", "#b3206e", "#1f5fd1"),
)
# names that a terminal of 16 colours has: what is taken from its own scheme can always be read
SIXTEEN = Palette(
    text="#ffffff",
    dim="#c0c0c0",
    faint="#555555",
    band="#000000",
    cursor="#000080",
    good="#00ff00",
    bad="#ff0000",
    warn="#ffff00",
    ce="#00ffff",
    kl="#ffff00",
    total="#ffffff",
    teacher="#ff00ff",
    baseline="#c0c0c0",
    runs=("#00ffff", "#ffff00", "#ff00ff", "#00ff00", "#ff0000", "#c0c0c0"),
)


@dataclass(frozen=True)
class Look:
    """How one line is drawn: any of the three tells it from the others."""

    color: str
    pattern: tuple[int, ...] = SOLID
    mark: int = 0
    bold: bool = False


def run_look(palette: Palette, index: int) -> Look:
    """The look of the so many-th run among those that are drawn together."""
    patterns = (SOLID, DASHED, DOTTED, MIXED)
    return Look(palette.runs[index % len(palette.runs)], patterns[index % 4], index, index == 0)


@dataclass(frozen=True)
class Glyphs:
    """The characters that are drawn with."""

    braille: bool
    marks: str
    samples: tuple[str, ...]  # of the four patterns, for a legend
    states: dict[str, str]
    bar: tuple[str, str, str]  # done, half, to do
    axis: tuple[str, str, str, str]  # tick, corner, line, tick below
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
    samples=("━━", "╍╍", "··", "━·"),
    states={
        "running": "▸",
        "finished": "✓",
        "stopped": "■",
        "failed": "✗",
        "stalled": "!",
        "waiting": "·",
    },
    bar=("━", "╸", "─"),
    axis=("┤", "└", "─", "┬"),
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
    samples=("**", "oo", "++", "xx"),
    states={
        "running": ">",
        "finished": "=",
        "stopped": "#",
        "failed": "x",
        "stalled": "!",
        "waiting": ".",
    },
    bar=("#", "#", "-"),
    axis=("|", "+", "-", "+"),
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


@lru_cache(maxsize=512)
def ink(
    color: str | None = None,
    *,
    bold: bool = False,
    on: str | None = None,
    underline: bool = False,
) -> Style:
    """A style, made once."""
    return Style(color=color, bgcolor=on, bold=bold, underline=underline)


def speaks_utf8(environment: dict[str, str] | None = None) -> bool:
    """Whether the terminal is said to show more than ASCII.

    Asked of the environment itself: Python turns the C locale into UTF-8 for its own sake, which
    says nothing of the terminal.
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


def count(value: float) -> str:
    """576, 12.3k, 1.2M: four characters or so."""
    if abs(value) < 10_000:
        return f"{value:.0f}"
    if abs(value) < 999_500:
        return f"{value / 1000:.3g}k"
    return f"{value / 1e6:.3g}M"


def span(seconds: float | None) -> str:
    """42s, 12m, 3h05, 2d04: a time in at most five characters."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f}s"
    if seconds < 6000:
        return f"{seconds / 60:.0f}m"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60:02}"
    return f"{minutes // 1440}d{minutes % 1440 // 60:02}"


def bar(share: float, width: int, glyphs: Glyphs) -> tuple[str, str]:
    """A bar's done part and the rest."""
    done, half, rest = glyphs.bar
    halves = round(max(0.0, min(share, 1.0)) * width * 2)
    full = done * (halves // 2) + (half if halves % 2 else "")
    return full, rest * (width - len(full))


def fit_name(name: str, width: int, glyphs: Glyphs) -> str:
    """A run's name in exactly `width` columns; of one with folders above it the end stays."""
    if len(name) <= width or "/" not in name:
        return fit(name, width, glyphs)
    return glyphs.ellipsis[:width] + name[len(name) - max(width - 1, 0) :]


def fit(text: str, width: int, glyphs: Glyphs) -> str:
    """`text` in exactly `width` columns."""
    if len(text) > width:
        return text[: max(width - 1, 0)] + glyphs.ellipsis[:width]
    return text.ljust(width)
