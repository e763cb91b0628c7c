"""The dashboard as it is used: every key, every panel, and how it looks at three sizes."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from rich.segment import Segment
from run_logs import BEGAN, NTU60, TEACHER, Log, three_runs
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension
from textual.pilot import Pilot
from textual.widgets import Input, TabbedContent

from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.app import MonitorApp, theme_for
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.glyphs import speaks_utf8
from lastkd.monitor.screen.help_page import HelpPage
from lastkd.monitor.screen.panels import (
    PANELS,
    AccuracyPanel,
    AlertsPanel,
    ClassesPanel,
    DevicesPanel,
    LossPanel,
    PacePanel,
    Panel,
    SharePanel,
)
from lastkd.monitor.screen.run_page import RunPage
from lastkd.monitor.screen.snapshot import screen_lines
from lastkd.monitor.screen.table import RunTable

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times of day in the pictures are those of one place."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The teacher, the student alone and the distilled one, seen from the folder above."""
    three_runs(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs")


@asynccontextmanager
async def opened(
    root: Path, size: tuple[int, int] = (80, 24), *, utf8: bool = True, theme: str = "lastkd-dark"
) -> AsyncIterator[Pilot[None]]:
    app = MonitorApp(Watcher([root]), utf8=utf8, theme=theme, show_clock=False)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.redraw()  # once all sizes are known, however busy the machine
        await pilot.pause()
        yield pilot


def app_of(pilot: Pilot[None]) -> MonitorApp:
    assert isinstance(pilot.app, MonitorApp)
    return pilot.app


def table(pilot: Pilot[None]) -> RunTable:
    return app_of(pilot).main.query_one(RunTable)


def screen(pilot: Pilot[None]) -> str:
    return "\n".join(screen_lines(app_of(pilot)))


def shown(pilot: Pilot[None]) -> list[str]:
    return [run.name for run in app_of(pilot).state.shown_runs]


# --- how it looks ---------------------------------------------------------------------------------


class TextFile(SingleFileSnapshotExtension):
    """A screen as a text file, which a diff shows line by line."""

    file_extension = "txt"


@pytest.fixture
def looks_like(snapshot: SnapshotAssertion) -> Callable[[str], bool]:
    """Whether a screen is as it was; `pytest --snapshot-update` takes over a new look."""
    expected = snapshot.use_extension(TextFile)
    return lambda text: expected == f"{text}\n".encode()


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (200, 60)], ids=lambda s: f"{s[0]}x{s[1]}")
async def test_the_main_screen(
    runs: Path, looks_like: Callable[[str], bool], size: tuple[int, int]
) -> None:
    async with opened(runs, size) as pilot:
        assert looks_like(screen(pilot))


async def test_the_main_screen_in_ascii(runs: Path, looks_like: Callable[[str], bool]) -> None:
    async with opened(runs, utf8=False) as pilot:
        text = screen(pilot)
        assert text.isascii()
        assert looks_like(text)


async def test_the_page_of_a_run(runs: Path, looks_like: Callable[[str], bool]) -> None:
    async with opened(runs, (120, 40)) as pilot:
        await pilot.press("enter")
        await pilot.pause()
        assert looks_like(screen(pilot))


async def test_the_help_page(runs: Path, looks_like: Callable[[str], bool]) -> None:
    async with opened(runs, (100, 40)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        assert looks_like(screen(pilot))


async def test_a_student_on_ntu60_with_what_is_expected_of_it(
    tmp_path: Path, looks_like: Callable[[str], bool]
) -> None:
    log = Log(tmp_path / "nano", teacher=TEACHER, data=NTU60, epochs=6, steps_per_epoch=100)
    log.run([80.0, 84.0, 86.0, 87.0, 87.9, 88.2]).end()
    async with opened(tmp_path, (100, 30)) as pilot:
        await pilot.press("3")
        await pilot.pause()
        text = screen(pilot)
        assert "expected 87-89" in text
        assert "teacher 91.5" in text
        assert looks_like("\n".join(text.splitlines()[1:]))


async def test_accuracy_on_a_validation_part_is_marked(tmp_path: Path) -> None:
    data = {**NTU60, "validation": 4000, "validation_hash": "v"}
    Log(tmp_path / "nano", data=data).run([50.0, 76.5]).end()
    async with opened(tmp_path, (100, 30)) as pilot:
        text = screen(pilot)
        assert "76.5v" in text
        assert "Accuracy top-1 % on validation" in text


async def test_too_small_a_window_says_so(runs: Path) -> None:
    async with opened(runs, (50, 12)) as pilot:
        assert "50x12 is too small" in screen(pilot)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert "too small" not in screen(pilot)
        assert "nano" not in screen(pilot)
        assert "distilled" in screen(pilot)


@pytest.mark.parametrize("theme", ["lastkd-light", "lastkd-16", "ansi-dark", "nord"])
async def test_every_theme_draws(runs: Path, theme: str) -> None:
    async with opened(runs, (200, 60), theme=theme) as pilot:
        await pilot.press("up", "up", "up")
        assert "distilled" in screen(pilot)
        assert pilot.app.export_screenshot()


async def test_no_color_draws_without_colour(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(runs, (200, 60)) as pilot:
        strips = pilot.app.screen._compositor.render_strips()
        colors = {
            segment.style.color.triplet
            for strip in strips
            for segment in strip
            if segment.style and segment.style.color and segment.style.color.triplet
        }
        assert colors
        assert all(color.red == color.green == color.blue for color in colors)
        # lines are told apart by their marks all the same
        text = screen(pilot)
        assert all(mark in text for mark in ("● total", "▲ CE", "■ KL"))


# --- keys -----------------------------------------------------------------------------------------


async def test_the_cursor_starts_at_the_distilled_run_and_moves(runs: Path) -> None:
    async with opened(runs) as pilot:
        assert shown(pilot) == ["distilled"]
        await pilot.press("up")
        assert shown(pilot) == ["alone"]
        await pilot.press("k")
        assert shown(pilot) == ["teacher"]
        await pilot.press("j", "down")
        assert shown(pilot) == ["distilled"]
        await pilot.press("home")
        assert shown(pilot) == ["teacher", "alone", "distilled"]  # the group's title
        await pilot.press("end")
        assert shown(pilot) == ["distilled"]
        await pilot.press("pageup")
        assert table(pilot).cursor == 0
        await pilot.press("pagedown")
        assert shown(pilot) == ["distilled"]


async def test_space_keeps_runs_in_the_charts(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("space", "up")
        assert shown(pilot) == ["alone", "distilled"]
        text = screen(pilot)
        assert "● alone" in text
        assert "▲ distilled" in text
        await pilot.press("down", "space", "up")
        assert shown(pilot) == ["alone"]


async def test_p_pins_a_run(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("p", "up", "up")
        assert shown(pilot) == ["distilled"]
        assert table(pilot).rows[1].name == "distilled"  # above the others
        await pilot.press("escape")
        assert shown(pilot) != ["distilled"]


async def test_slash_filters(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("slash", *"alone fin", "enter")
        assert [row.name for row in table(pilot).rows[1:]] == ["alone"]
        assert shown(pilot) == ["alone"]
        assert not pilot.app.query_one("#filter", Input).display
        await pilot.press("escape")
        assert len(table(pilot).rows) == 4
        await pilot.press("f", *"nothing")
        assert "no run matches 'nothing'" in screen(pilot)


async def test_o_sorts_and_shift_o_reverses(runs: Path) -> None:
    def names() -> list[str]:
        return [row.name for row in table(pilot).rows[1:]]

    async with opened(runs) as pilot:
        assert names() == ["teacher", "alone", "distilled"] or names()[0] == "teacher"
        await pilot.press("o")
        assert names() == ["alone", "distilled", "teacher"]
        assert "run▴" in screen(pilot)
        await pilot.press("O")
        assert names() == ["teacher", "distilled", "alone"]
        assert "run▾" in screen(pilot)
        for _ in range(20):
            await pilot.press("o")
            if table(pilot).sorted_by == "gain":
                break
        assert names() == ["distilled", "teacher", "alone"]  # only one has a gain


@pytest.mark.parametrize(
    ("key", "panel", "text"),
    [
        ("2", LossPanel, "Loss distilled"),
        ("3", AccuracyPanel, "standalone 72.5"),
        ("4", DevicesPanel, "Tesla T4"),
        ("5", AlertsPanel, "nothing to worry about"),
        ("a", AlertsPanel, "nothing to worry about"),
    ],
)
async def test_a_number_fills_the_screen_with_its_panel(
    runs: Path, key: str, panel: type[Panel], text: str
) -> None:
    async with opened(runs) as pilot:
        await pilot.press(key)
        await pilot.pause()
        assert text in screen(pilot)
        assert pilot.app.query_one(panel).size.height > 15
        assert not table(pilot).is_on_screen or table(pilot).size.height == 0
        await pilot.press(key)
        await pilot.pause()
        assert table(pilot).size.height > 0
        await pilot.press(key)
        await pilot.press("escape")
        await pilot.pause()
        assert "alone" in screen(pilot)


class LearningRatePanel(Panel):
    """A panel that the dashboard doesn't have."""

    key, title, place = "6", "Learning rate", "more"

    def titles(self) -> tuple[str, str]:
        return "latest", ""

    def draw_rows(self, width: int, height: int) -> list[Row]:
        rates = self.run.series.recent("lr", 1) if self.run else []
        return [[Segment(f"lr {rate:g}")] for rate in rates]


async def test_a_panel_says_its_key_title_and_place_and_the_rest_follows(runs: Path) -> None:
    watcher = Watcher([runs])
    app = MonitorApp(watcher, show_clock=False, panels=[*PANELS, LearningRatePanel])
    async with app.run_test(size=(200, 60)) as pilot:
        await pilot.pause()
        app.redraw()
        await pilot.pause()
        assert "6 Learning rate latest" in screen(pilot)  # its place
        assert "lr 0.01" in screen(pilot)
        assert "1-6 panels" in screen(pilot)
        await pilot.resize_terminal(80, 24)
        await pilot.press("6")  # its key
        await pilot.pause()
        assert "lr 0.01" in screen(pilot)
        assert pilot.app.query_one(LearningRatePanel).size.height > 15
        await pilot.resize_terminal(100, 40)
        await pilot.press("question_mark")
        await pilot.pause()
        assert "2 3 4 5 6" in screen(pilot)
        assert "only loss, accuracy, devices, alerts, learning rate" in screen(pilot)


async def test_tab_goes_to_the_next_panel_and_enter_fills_the_screen(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("tab")
        assert isinstance(pilot.app.focused, LossPanel)
        await pilot.press("enter")
        await pilot.pause()
        assert pilot.app.query_one(LossPanel).size.width > 70
        await pilot.press("1")
        await pilot.pause()
        assert pilot.app.focused is table(pilot)


async def test_y_w_s_and_c_change_the_loss_chart(runs: Path) -> None:
    async with opened(runs, (120, 30)) as pilot:
        seen = {screen(pilot)}
        assert "CE + KL, weighted" in screen(pilot)
        await pilot.press("y")
        assert "weighted, log" in screen(pilot)
        seen.add(screen(pilot))
        await pilot.press("y", "w")
        assert "CE + KL, unweighted" in screen(pilot)
        seen.add(screen(pilot))
        await pilot.press("w", "s")
        assert app_of(pilot).state.view.lines == "smooth"
        seen.add(screen(pilot))
        await pilot.press("s")
        assert app_of(pilot).state.view.lines == "raw"
        seen.add(screen(pilot))
        await pilot.press("s", "c", "c")
        assert "CE, weighted" in screen(pilot)
        seen.add(screen(pilot))
        assert len(seen) == 6  # each drew something else
        assert "KL is" in screen(pilot)


async def test_t_turns_light_and_dark(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("t")
        assert pilot.app.theme == "lastkd-light"
        await pilot.press("t")
        assert pilot.app.theme == "lastkd-dark"


async def test_help_opens_and_closes(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("question_mark")
        assert isinstance(pilot.app.screen, HelpPage)
        await pilot.press("escape")
        assert pilot.app.screen is app_of(pilot).main


async def test_the_command_palette_knows_the_charts(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("ctrl+p", *"log axis", "enter", "enter")
        await pilot.pause(0.3)
        assert app_of(pilot).state.view.log


async def test_q_quits(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.press("q")
        assert pilot.app._exit


@pytest.mark.parametrize("seed", range(3))
async def test_no_row_of_keys_and_sizes_ends_it(runs: Path, seed: int) -> None:
    rng = random.Random(seed)
    keys = [*"jkpoO/f12345aywsctr?", "up", "home", "enter", "escape", "space", "tab", "ctrl+p"]
    async with opened(runs) as pilot:
        for _ in range(60):
            await pilot.press(rng.choice(keys))
            if rng.random() < 0.1:
                await pilot.resize_terminal(*rng.choice([(80, 24), (200, 60), (60, 16), (1, 1)]))
            if rng.random() < 0.2:
                app_of(pilot).tick()


async def test_the_mouse_picks_sorts_and_opens(runs: Path) -> None:
    async with opened(runs) as pilot:
        await pilot.click(RunTable, offset=(8, 3))
        assert shown(pilot) == ["teacher"]
        await pilot.click(RunTable, offset=(6, 1))
        assert table(pilot).sorted_by == "run"
        await pilot.click(RunTable, offset=(8, 4), times=2)
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunPage)


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
