"""The picture of a stream: what it shows in each size and style, and what the keys do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_live_predictor import Recorder, person
from textual.pilot import Pilot

from lastkd.data.frames import Frame
from lastkd.errors import UserError
from lastkd.live.predictor import StreamPredictor
from lastkd.live.screen.app import LiveApp
from lastkd.live.screen.panels import FigurePanel
from lastkd.live.screen.state import LiveState
from lastkd.live.session import LiveSession
from lastkd.live.sources import FrameSource
from lastkd.monitor.screen.glyphs import ASCII, UNICODE, Glyphs
from lastkd.monitor.screen.style import DARK

pytestmark = pytest.mark.asyncio


class Waving(FrameSource):
    """Somebody who sways, 90 frames at once, and then waits."""

    name = "camera 0"
    paced = True

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        for number in range(90):
            if number == 50:
                yield Frame(fault="lines that aren't JSON skipped")
            pose = person(0.1 * np.sin(number / 5))
            pose[:, 2] = 0.1 * number
            pose[4, 2] += 0.8  # a hand reaches forward
            yield Frame(pose[None], number / 30)
        while not stop.is_set():
            yield None
            stop.wait(0.01)


def app_of(
    glyphs: Glyphs = UNICODE,
    theme: str = "lastkd-dark",
    threshold: float = 0.3,
    stillness: float = 0.0,
    source: FrameSource | None = None,
) -> LiveApp:
    model = Recorder(bodies=1)
    model.logits = np.float32([3, 0])
    predictor = StreamPredictor(
        model, window=1.0, step=0.1, threshold=threshold, stillness=stillness
    )
    session = LiveSession(predictor, source or Waving(), speed=None)
    return LiveApp(LiveState(session, Path("nano.onnx"), DARK, glyphs), theme=theme)


def lines(app: LiveApp) -> list[str]:
    app.redraw()
    return [strip.text.rstrip() for strip in app.screen._compositor.render_strips()]


async def settled(app: LiveApp, pilot: Pilot[None]) -> list[str]:
    """The screen when all frames were pushed and every widget was drawn."""
    until = time.monotonic() + 30
    screen = lines(app)
    while time.monotonic() < until:
        await pilot.pause(0.05)
        before, screen = screen, lines(app)
        if app.state.session.frames == 90 and screen == before and "quit" in screen[-1]:
            break
    return screen


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (60, 16), (200, 60)])
async def test_everything_is_shown_at_every_size(size: tuple[int, int]) -> None:
    app = app_of()
    async with app.run_test(size=size) as pilot:
        screen = await settled(app, pilot)
    text = "\n".join(screen)
    assert len(screen) == size[1]
    assert "nano.onnx · c" in screen[0] and " ms late" in screen[0]
    for words in ("1 Figure", "2 Actions", "3 Last minute", "95.3 %", "now", "q quit"):
        assert words in text, words
    assert any(0x2800 < ord(char) <= 0x28FF for char in text)
    assert "█" in text
    assert "1 lines that aren't JSON skipped" in text


async def test_a_source_that_fails_ends_the_picture_and_is_not_lost() -> None:
    class Failing(Waving):
        def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
            yield Frame(person()[None], 0.0)
            raise UserError("camera 0: was unplugged")

    app = app_of(source=Failing())
    async with app.run_test(size=(100, 30)) as pilot:
        until = time.monotonic() + 30
        while app.is_running and time.monotonic() < until:
            await pilot.pause(0.05)
    assert str(app.failure) == "camera 0: was unplugged"


async def test_below_the_threshold_the_answer_is_nothing() -> None:
    app = app_of(threshold=0.99)
    async with app.run_test(size=(100, 30)) as pilot:
        text = "\n".join(await settled(app, pilot))
    assert '"nothing"' in text and "│ nothing " in text
    assert "nothing recognised yet" in text


async def test_who_rests_does_nothing_and_that_is_said() -> None:
    app = app_of(stillness=100.0)
    async with app.run_test(size=(100, 30)) as pilot:
        text = "\n".join(await settled(app, pilot))
    assert "nothing: nobody moves" in text


@pytest.mark.parametrize("theme", ["lastkd-dark", "lastkd-light", "lastkd-16"])
async def test_a_terminal_without_utf8_gets_ascii_alone(theme: str) -> None:
    app = app_of(ASCII, theme)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        app.redraw()
        filters = app.get_line_filters()
        for row in app.screen._compositor.render_strips():
            shown = row
            for line in filters:
                shown = shown.apply_filter(line, app.screen.styles.background)
            assert shown.text.isascii(), shown.text


async def test_number_keys_let_a_panel_fill_the_screen() -> None:
    app = app_of()
    async with app.run_test(size=(100, 30)) as pilot:
        await settled(app, pilot)
        for key, shown, hidden in (
            ("3", "Last minute", "1 Figure"),
            ("1", "1 Figure", "2 Actions"),
            ("2", "2 Actions", "Last minute"),
        ):
            await pilot.press(key)
            await pilot.pause()
            text = "\n".join(lines(app))
            assert shown in text and hidden not in text
        await pilot.press("escape")
        await pilot.pause()
        text = "\n".join(lines(app))
        assert "1 Figure" in text and "2 Actions" in text and "Last minute" in text


async def test_keys_turn_the_figure_stop_the_clip_and_show_the_help() -> None:
    app = app_of()
    async with app.run_test(size=(100, 30)) as pilot:
        before = await settled(app, pilot)
        for _ in range(4):
            await pilot.press("right")
        await pilot.pause()
        app.query_one(FigurePanel).redraw()
        assert lines(app) != before
        await pilot.press("space")
        assert "paused" in lines(app)[0]
        await pilot.press("space")
        assert "paused" not in lines(app)[0]
        await pilot.press("t")
        assert app.theme == "lastkd-light"
        await pilot.press("question_mark")
        await pilot.pause()
        assert "look from another side" in "\n".join(lines(app))
        await pilot.press("escape")


async def test_a_small_terminal_is_told_so() -> None:
    app = app_of()
    async with app.run_test(size=(50, 12)) as pilot:
        await pilot.pause()
        assert "50x12 is too small" in "\n".join(lines(app))


async def test_quitting_ends_the_session() -> None:
    app = app_of()
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(app, pilot)
        await pilot.press("q")
    assert app.state.session.stop.is_set() and app.state.over
