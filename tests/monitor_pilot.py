"""The dashboard in a terminal of any size, steered by a pilot."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from run_logs import three_runs
from textual.pilot import Pilot

from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.app import MonitorApp
from lastkd.monitor.screen.snapshot import screen_lines
from lastkd.monitor.screen.table import RunTable


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
