"""What ends a run early, from a time budget to a full disk, leaves what it has done intact."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
from short_runs import Start, events, same_end, standalone

from lastkd.distributed.stop_requests import Stopped
from lastkd.errors import UserError
from lastkd.settings.durations import in_seconds
from lastkd.training.loop import TrainingRun


def test_a_time_budget_stops_with_a_checkpoint_and_exit_code_0(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, undisturbed: Path
) -> None:
    from lastkd import process_start
    from lastkd.distributed import stop_requests

    clock = {"now": process_start.STARTED}
    monkeypatch.setattr(stop_requests.time, "monotonic", lambda: clock["now"])

    def pass_time(run: TrainingRun) -> None:
        clock["now"] += 900

    folder = tmp_path / "run"
    with pytest.raises(Stopped) as caught:
        start(standalone(time_budget="1h"), folder, pass_time)
    assert caught.value.exit_code == 0
    (end,) = events(folder, "end")
    assert (end["state"], end["reason"]) == ("stopped", "time budget")
    assert events(folder, "checkpoint")[-1]["step"] == 3  # 45 of 60 minutes; the reserve is 30 s
    monkeypatch.undo()
    start(standalone(), folder)
    assert same_end(folder, undisturbed)


def test_durations_need_their_units() -> None:
    assert [in_seconds(said) for said in ("11h", "10h30m", "90m", "45s")] == [
        39600,
        37800,
        5400,
        45,
    ]
    for said in ("11", "h", "", "eleven hours"):
        with pytest.raises(UserError, match=r"time_budget.*11h"):
            standalone(time_budget=said)


def test_a_second_interrupt_stops_at_once(tmp_path: Path, start: Start) -> None:
    asked: list[int] = []

    def interrupt(run: TrainingRun) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        asked.append(1)
        run.control.requests._interrupted = -10.0  # as if it had been some seconds ago
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        start(standalone(), tmp_path / "run", interrupt)
    assert asked == [1]
    (end,) = events(tmp_path / "run", "end")
    assert end["state"] == "stopped"
    assert not events(tmp_path / "run", "checkpoint")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_leaves_the_last_checkpoint_and_the_log_intact(
    tmp_path: Path, start: Start, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(run: TrainingRun) -> None:
        if run.position.step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            run.control.save(run.position)

    try:
        with pytest.raises(UserError, match=r"step-00000005.*cannot be written"):
            start(standalone(), folder, fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert events(folder, "end")[-1]["state"] == "failed"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [
        "step-00000003-epoch-0001"
    ]
    start(standalone(), folder)
    assert same_end(folder, undisturbed)


def test_a_quota_error_at_sync_loses_nothing(
    tmp_path: Path, start: Start, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems accept a write and refuse it at the sync."""
    folder = tmp_path / "run"

    def refuse(file: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    def use_up(run: TrainingRun) -> None:
        if run.position.step == 5:
            with monkeypatch.context() as patched:
                patched.setattr(os, "fsync", refuse)
                run.control.save(run.position)

    with pytest.raises(UserError, match=r"cannot be written \(Disk quota exceeded\); free"):
        start(standalone(), folder, use_up)
    assert events(folder, "end")[-1]["state"] == "failed"
    start(standalone(), folder)
    assert same_end(folder, undisturbed)


def test_a_log_that_cannot_grow_ends_the_run_with_whole_lines(
    tmp_path: Path, start: Start, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(run: TrainingRun) -> None:
        if run.position.step == 4:
            # room for a part of the next line
            size = (folder / "events.jsonl").stat().st_size + 50
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    try:
        with pytest.raises(UserError, match=r"events.jsonl: cannot be written"):
            start(standalone(log_every=1), folder, fill_up)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (folder / "events.jsonl").read_bytes().endswith(b"}\n")
    start(standalone(log_every=1), folder)
    assert same_end(folder, undisturbed)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_sentence(tmp_path: Path, start: Start) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        start(standalone(), tmp_path / "run")
