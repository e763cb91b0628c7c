"""The dashboard as it is used: every key, every panel, and how it looks at three sizes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from monitor_pilot import app_of, opened, runs, screen, shown, table, utc
from rich.segment import Segment
from run_logs import NTU60, TEACHER, Log
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension
from textual.widgets import Input

from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.app import MonitorApp
from lastkd.monitor.screen.canvas import Row
from lastkd.monitor.screen.help_page import HelpPage
from lastkd.monitor.screen.panels import (
    PANELS,
    AccuracyPanel,
    AlertsPanel,
    DevicesPanel,
    LossPanel,
    Panel,
)
from lastkd.monitor.screen.run_page import RunPage
from lastkd.monitor.screen.table import RunTable

pytestmark = pytest.mark.asyncio
__all__ = ["runs", "utc"]


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
