"""Progress as people see it: a bar on a terminal, lines in a log file, nothing where not asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lastkd import terminal
from lastkd.terminal import Progress, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What `time.monotonic` returns; tests set its only element."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_so_often_with_rate_and_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("store", 2000, unit="clips") as progress:
        for clock[0], done in ((10, 100), (20, 600), (30, 1100)):
            progress.update(done)
    # the start-up before the first update isn't part of the rate
    assert capsys.readouterr().out == "store | 600 of 2,000 clips | 50 clips/s | 0:28 left\n"


def test_what_an_earlier_process_did_took_no_time(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("nano", 1000) as progress:
        progress.resume_at(900)
        clock[0] = 20.0
        progress.update(950, "epoch 2/2")
    assert capsys.readouterr().out == "nano | 950 of 1,000 steps | epoch 2/2 | 0:20 left\n"


def test_it_counts_what_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("files", 3, stderr=True) as progress:
        assert list(progress.each("abc")) == ["a", "b", "c"]
    assert progress.done == 3
    assert capsys.readouterr() == ("", "")


def test_processes_that_are_not_the_first_stay_silent(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress("nano", 10, shown=False) as progress:
        clock[0] = 60.0
        progress.update(5)
        progress.echo("hello")
    assert capsys.readouterr().out == ""


def test_durations() -> None:
    assert [duration(s) for s in (5, 65, 3661)] == ["0:05", "1:05", "1:01:01"]


def test_native_libraries_are_muted_and_python_is_not() -> None:
    lines = (
        "import os, sys",
        "from lastkd.terminal import mute_native_libraries",
        "os.write(2, b'native before\\n')",
        "mute_native_libraries()",
        "os.write(2, b'native after\\n')",
        "print('python', file=sys.stderr)",
        "sys.__stderr__.write('textual\\n')",
        "raise SystemExit('the end')",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == ["native before", "python", "textual", "the end"]
