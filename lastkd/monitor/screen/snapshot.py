"""One screen of the dashboard without a terminal: as text, or as a picture."""

from __future__ import annotations

import asyncio
import re

from rich.console import Console
from rich.segment import Segment, Segments
from textual.strip import Strip

from lastkd.monitor.screen.app import MonitorApp
from lastkd.monitor.screen.shapes import drawn


async def _settled(app: MonitorApp, size: tuple[int, int], keys: tuple[str, ...]) -> str:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.redraw()  # all sizes are known now
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
        await pilot.pause()
        return app.export_screenshot(title="lastkd monitor")


def picture(app: MonitorApp, size: tuple[int, int], keys: tuple[str, ...] = ()) -> str:
    """The screen as SVG, in the fonts that the viewer has.

    Args:
        size: columns and rows.
        keys: pressed before.
    """
    svg = asyncio.run(_settled(app, size, keys))
    # fonts from the web are neither loaded inside an image nor anyone's wish
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = svg.replace("Fira Code, monospace", "'DejaVu Sans Mono', Menlo, Consolas, monospace")
    # some renderers drop the spaces that a piece of text begins with
    start = '<svg class="rich-terminal"'
    return drawn(svg.replace(start, start.replace(" ", ' xml:space="preserve" ', 1)))


def screen_strips(app: MonitorApp) -> list[Strip]:
    """The rows of the screen as they would be written."""
    return app.screen._compositor.render_strips()


def screen_lines(app: MonitorApp) -> list[str]:
    """The rows of the screen as plain text."""
    return [strip.text.rstrip() for strip in screen_strips(app)]


def text(app: MonitorApp, size: tuple[int, int], *, color: bool | None = None) -> str:
    """The screen as lines of text.

    Args:
        size: columns and rows.
        color: in colour; where left out, if standard output is a terminal that shows it.
    """
    return asyncio.run(_lines(app, size, color))


async def _lines(app: MonitorApp, size: tuple[int, int], color: bool | None) -> str:
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.redraw()  # all sizes are known now
        await pilot.pause()
        strips = screen_strips(app)
    console = Console(width=size[0], force_terminal=color, highlight=False, soft_wrap=True)
    with console.capture() as captured:
        for strip in strips:
            console.print(Segments([*strip, Segment.line()]), end="")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
