"""The dashboard while runs go on: their pages, new events, alerts, and the terminal it is in."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
from monitor_pilot import app_of, opened, runs, screen, shown, utc
from run_logs import BEGAN, TEACHER, Log
from textual.widgets import TabbedContent

from lastkd.monitor.screen.app import theme_for
from lastkd.monitor.screen.glyphs import speaks_utf8
from lastkd.monitor.screen.panels import (
    PANELS,
    AccuracyPanel,
    AlertsPanel,
    ClassesPanel,
    LossPanel,
    PacePanel,
    Panel,
    SharePanel,
)
from lastkd.monitor.screen.run_page import RunPage

pytestmark = pytest.mark.asyncio
__all__ = ["runs", "utc"]


# --- a run's page ---------------------------------------------------------------------------------


async def test_a_runs_page_has_settings_checkpoints_classes_and_log(runs: Path) -> None:
    (runs / "distilled" / "best.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    async with opened(runs, (100, 30)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        text = screen(pilot)
        assert "+4.00 points best to best" in text
        assert "0.7 x CE" in text
        for key, words in (
            ("2", ["alpha", "0.7", "tau", "run id"]),
            ("3", ["best.safetensors"]),
            ("4", ["class 0", "+4.0"]),
            ("5", ["epoch", "top1 76.5", "end"]),
        ):
            await pilot.press(key)
            await pilot.pause()
            text = screen(pilot)
            assert all(word in text for word in words), (key, text)
        await pilot.press("r")
        await pilot.pause()
        assert '{"event": "end"' in screen(pilot)
        await pilot.press("right")
        assert pilot.app.screen.query_one(TabbedContent).active == "overview"
        await pilot.press("escape")
        assert pilot.app.screen is app_of(pilot).main


async def test_events_while_a_runs_page_comes_and_goes_are_harmless(runs: Path) -> None:
    async with opened(runs) as pilot:
        app = app_of(pilot)
        page = RunPage(app.state, app.state.watcher.runs[0])
        app.push_screen(page)
        app.redraw(refill=True)  # before the page is made
        await pilot.pause()
        await page.query("TabbedContent").remove()
        app.redraw(refill=True)  # and when a part of it is gone
        await pilot.pause()


async def test_a_runs_log_is_followed(tmp_path: Path) -> None:
    log = Log(tmp_path / "r", began=time.time() - 5).run([50.0], until=40)
    async with opened(tmp_path, (100, 30)) as pilot:
        await pilot.press("enter", "5")
        log.write("warning", 41, text="the sky is falling")
        app_of(pilot).tick()
        await pilot.pause()
        assert "the sky is falling" in screen(pilot)


# --- live -----------------------------------------------------------------------------------------


async def test_a_running_run_is_followed_from_start_to_end(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    async with opened(root) as pilot:
        app = app_of(pilot)
        assert "waiting for a run" in screen(pilot)
        log = Log(root / "nano", teacher=TEACHER, began=time.time())
        app.state.watcher.scan()
        app.tick()
        await pilot.pause()
        assert "0/4" in screen(pilot)
        log.run([50.0, 60.0], until=100)
        app.tick()
        await pilot.pause()
        text = screen(pilot)
        assert "1 running" in text
        assert "2/4" in text
        assert " 60.0" in text
        log.run([50.0, 60.0, 70.0, 75.0]).end()
        app.tick()
        await pilot.pause()
        assert "1 finished" in screen(pilot)


async def test_new_events_redraw_the_panels_that_show_them(tmp_path: Path) -> None:
    log = Log(tmp_path / "nano", began=time.time()).run([50.0], until=50)
    log.device(50)
    async with opened(tmp_path, size=(160, 40)) as pilot:
        app = app_of(pilot)
        redrawn: set[type[Panel]] = set()
        for panel in app.main.query(Panel):
            panel.update_titles = partial(redrawn.add, type(panel))  # type: ignore[method-assign]
        log.step(55)
        app.tick()
        assert redrawn == {LossPanel, SharePanel, PacePanel}
        log.epoch(2, 60.0)
        app.tick()
        assert redrawn == {LossPanel, SharePanel, PacePanel, AccuracyPanel, ClassesPanel}
        log.device(100)
        app.tick()
        assert redrawn == set(PANELS) - {AlertsPanel}


async def test_the_cursor_follows_the_running_run_until_it_is_moved(tmp_path: Path) -> None:
    Log(tmp_path / "a", seed=1).run([50.0]).end()
    async with opened(tmp_path) as pilot:
        app = app_of(pilot)
        assert shown(pilot) == ["a"]
        for seed, name in ((2, "b"), (3, "c")):
            log = Log(tmp_path / name, began=time.time(), seed=seed).run([50.0], until=20)
            app.state.watcher.scan()
            app.tick()
            assert shown(pilot) == [name]
            log.end()
            app.tick()
        await pilot.press("up")
        before = shown(pilot)
        Log(tmp_path / "d", began=time.time()).run([50.0], until=20)
        app.state.watcher.scan()
        app.tick()
        assert shown(pilot) == before


async def test_a_new_alert_is_shown_once_with_its_reason(tmp_path: Path) -> None:
    log = Log(tmp_path / "nano", began=time.time() - 4).run([50.0], until=40)
    async with opened(tmp_path) as pilot:
        app = app_of(pilot)
        notified: list[str] = []
        app.notify = lambda message, **_: notified.append(message)  # type: ignore[method-assign]
        log.step(41, ce=None, total=None, not_finite=["total"])
        for _ in range(12):
            app.tick()
        await pilot.pause()
        assert notified == ["total not finite at step 41; try a smaller learning rate"]
        assert "total not finite at step 41" in screen(pilot)


async def test_alerts_of_the_past_are_listed_and_not_announced(tmp_path: Path) -> None:
    Log(tmp_path / "nano").run([50.0]).end("failed", reason="out of memory")
    async with opened(tmp_path, (200, 60)) as pilot:
        assert "failed: out of memory" in screen(pilot)
        assert not pilot.app._notifications


async def test_a_stalled_run_is_marked(tmp_path: Path) -> None:
    Log(tmp_path / "nano", began=BEGAN).run([50.0], until=40)
    async with opened(tmp_path) as pilot:
        assert "1 stalled" in screen(pilot)
        assert "no event for" in screen(pilot)


async def test_garbage_in_a_log_is_said(tmp_path: Path) -> None:
    log = Log(tmp_path / "nano").run([50.0]).end()
    with log.path.open("ab") as file:
        file.write(b"garbage\n" * 3)
    async with opened(tmp_path) as pilot:
        assert "3 unreadable lines skipped" in screen(pilot)


async def test_many_runs_scroll(tmp_path: Path) -> None:
    for number in range(40):
        Log(tmp_path / f"r{number:02}", seed=number).run([50.0], until=20).end()
    async with opened(tmp_path) as pilot:
        await pilot.press("end")
        await pilot.pause()
        assert "r39" in screen(pilot)
        assert "r00" not in screen(pilot)
        await pilot.press("home")
        await pilot.pause()
        assert "r00" in screen(pilot)


# --- terminals ------------------------------------------------------------------------------------


async def test_the_locale_says_whether_there_is_utf8() -> None:
    assert speaks_utf8({"LANG": "en_GB.UTF-8"})
    assert speaks_utf8({})
    assert speaks_utf8({"LC_CTYPE": "C.UTF-8"})
    assert not speaks_utf8({"LANG": "en_GB.ISO-8859-1"})
    assert not speaks_utf8({"LANG": "en_GB.UTF-8", "LC_ALL": "C"})
    assert not speaks_utf8({"LANG": "C", "LC_CTYPE": "C.UTF-8"})


async def test_the_terminal_says_light_or_dark() -> None:
    assert theme_for({"COLORFGBG": "0;15"}) == "lastkd-light"
    assert theme_for({"COLORFGBG": "15;0"}) == "lastkd-dark"
    assert theme_for({}) == "lastkd-dark"
