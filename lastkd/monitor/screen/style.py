"""Colours and line patterns, for dark and light backgrounds and for sixteen colours.

Curves differ in colour, in pattern and in mark, so that each of the three alone tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.style import Style
from textual.theme import Theme

SOLID, DASHED, DOTTED, MIXED = (1,), (1, 1, 1, 1, 0, 0, 0), (1, 0, 0), (1, 1, 1, 1, 0, 0, 1, 0, 0)
"""Which dots of a line are set, repeated along it."""


@dataclass(frozen=True)
class Palette:
    """Colours as `#rrggbb`, chosen for one kind of background."""

    text: str
    dim: str
    faint: str
    band: str
    cursor: str
    good: str
    bad: str
    warn: str
    ce: str
    soft: str
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
    soft="#ffa657",
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
    soft="#b75400",
    total="#1f2430",
    teacher="#7a35b8",
    baseline="#5c6578",
    runs=("#00788f", "#b75400", "#7a35b8", "#1b7f3b", "#b3206e", "#1f5fd1"),
)
# exact matches of the 16 ANSI colours: taken from the terminal's own scheme, they stay legible
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
    soft="#ffff00",
    total="#ffffff",
    teacher="#ff00ff",
    baseline="#c0c0c0",
    runs=("#00ffff", "#ffff00", "#ff00ff", "#00ff00", "#ff0000", "#c0c0c0"),
)


@dataclass(frozen=True)
class Look:
    """How one curve is drawn."""

    color: str
    pattern: tuple[int, ...] = SOLID
    mark: int = 0
    bold: bool = False


def run_look(palette: Palette, index: int) -> Look:
    """The look of run number `index` among those in one chart."""
    patterns = (SOLID, DASHED, DOTTED, MIXED)
    return Look(palette.runs[index % len(palette.runs)], patterns[index % 4], index, index == 0)


@lru_cache(maxsize=512)
def ink(
    color: str | None = None,
    *,
    bold: bool = False,
    on: str | None = None,
) -> Style:
    """A text style; equal arguments give the same object, which is faster to compare."""
    return Style(color=color, bgcolor=on, bold=bold)


_PALETTES = {"lastkd-dark": DARK, "lastkd-light": LIGHT, "lastkd-16": SIXTEEN}


def _theme(name: str, palette: Palette, grounds: tuple[str, str, str], *, dark: bool) -> Theme:
    background, surface, panel = grounds
    return Theme(
        name=name,
        primary=palette.runs[0],
        secondary=palette.runs[2],
        accent=palette.runs[1],
        foreground=palette.text,
        background=background,
        surface=surface,
        panel=panel,
        success=palette.good,
        warning=palette.warn,
        error=palette.bad,
        dark=dark,
        variables={
            "line": palette.faint,
            "dim": palette.dim,
            "footer-background": background,
            "footer-item-background": background,
            "footer-description-background": background,
            "footer-key-background": background,
            "footer-key-foreground": palette.runs[0],
            "footer-description-foreground": palette.dim,
        },
    )


THEMES = (
    _theme("lastkd-dark", DARK, ("#12151c", "#12151c", "#1c212c"), dark=True),
    _theme("lastkd-light", LIGHT, ("#fbfbfd", "#fbfbfd", "#eef1f6"), dark=False),
    _theme("lastkd-16", SIXTEEN, ("#000000", "#000000", "#000000"), dark=True),
)


def palette_of(theme: Theme) -> Palette:
    """The palette for a theme; Textual's own themes get the one for their kind of background."""
    return _PALETTES.get(theme.name) or (DARK if theme.dark else LIGHT)
