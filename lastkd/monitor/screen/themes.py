"""Light, dark and sixteen colours; and the filter that leaves nothing but ASCII."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from lastkd.monitor.screen.style import DARK, LIGHT, SIXTEEN, Palette

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
            "words": palette.dim,
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
    """A theme's colours for lines; a foreign theme gets those for its kind of background."""
    return _PALETTES.get(theme.name) or (DARK if theme.dark else LIGHT)


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
    """The last word for a terminal without UTF-8: whatever is drawn, ASCII is what gets out."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment(_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]


def _ascii(text: str) -> str:
    return text.translate(_REPLACED).encode("ascii", "replace").decode()
