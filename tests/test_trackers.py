"""Device events, and events forwarded to a tracker."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lastkd.errors import UserError
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training import trackers
from lastkd.training.device_watch import DeviceWatch, gpu_state
from lastkd.training.loop import train
from lastkd.training.trackers import RunTracker, require_tracker

SMALL = {"epochs": 1, "frames": 8, "batch_size": 16, "log_every": 1, "warmup_epochs": 0, "lr": 0.05}

WITH_WANDB = resolve(TrainSettings, SMALL | {"model": "last_e_nano", "log_with": "wandb"})


def test_a_run_records_its_machine_and_feeds_its_tracker(
    store_path: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    settings = resolve(TrainSettings, SMALL | {"model": "last_e_nano", "log_with": "tensorboard"})
    train(settings, data=store_path, teacher=None, folder=tmp_path / "r", accelerator=accelerator)
    events = list(read_events(tmp_path / "r" / "events.jsonl"))
    machine = next(event for event in events if event["event"] == "device")
    assert machine["devices"] == []  # on a CPU
    assert 0 < machine["ram_used_mb"] < machine["ram_total_mb"]
    assert 0 <= machine["cpu_percent"] <= 100
    assert machine["disk_free_gb"] > 0

    board = EventAccumulator(str(tmp_path / "r" / "tensorboard"))
    board.Reload()
    steps = [event for event in events if event["event"] == "step"]
    told = board.Scalars("train/ce")
    assert [(t.step, t.value) for t in told] == [
        (s["step"], pytest.approx(s["ce"], rel=1e-5)) for s in steps
    ]
    (epoch,) = [event for event in events if event["event"] == "epoch"]
    assert board.Scalars("test/top1")[0].value == pytest.approx(epoch["top1"], rel=1e-5)
    assert "train/soft" not in board.Tags()["scalars"]  # there is no teacher


def test_a_tracker_that_is_not_installed_is_a_mistake(
    store_path: Path, tmp_path: Path, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb"):
        train(
            WITH_WANDB,
            data=store_path,
            teacher=None,
            folder=tmp_path / "r",
            accelerator=accelerator,
        )
    assert not (tmp_path / "r").exists()


def test_a_tracker_that_is_unknown_is_a_mistake() -> None:
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        require_tracker("tensorbord")
    with pytest.raises(UserError, match="log_with"):
        resolve(TrainSettings, {"model": "last_e_nano", "log_with": "comet"})


class Broken:
    """A tracker whose service fails."""

    def __init__(self, *, starts: bool) -> None:
        self.starts = starts

    def start(self) -> None:
        if not self.starts:
            raise RuntimeError("no key")

    def log(self, values: dict[str, float], step: int) -> None:
        raise ConnectionError("gone")


def test_a_tracker_that_cannot_start_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "_make_tracker", lambda *_: Broken(starts=False))
    tracker = RunTracker(WITH_WANDB, tmp_path, "run", lambda _, **fields: None)
    with pytest.raises(UserError, match="no key"):
        tracker.event("start", {})


def test_a_failing_tracker_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "_make_tracker", lambda *_: Broken(starts=True))
    told: list[tuple[str, dict[str, Any]]] = []
    tracker = RunTracker(
        WITH_WANDB, tmp_path, "run", lambda event, **fields: told.append((event, fields))
    )
    tracker.event("start", {})
    for step in (1, 2):
        tracker.event("step", {"step": step, "ce": 1.0})
    assert told == [("warning", {"text": "wandb failed and gets no more events: gone"})]


def test_the_machine_is_sampled_at_most_every_ten_seconds(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    cpu = torch.device("cpu")
    for every_s, times in ((60.0, 1), (0.0, 3)):
        told.clear()
        watch = DeviceWatch(tmp_path, lambda _, **fields: told.append(fields), cpu, every_s)
        watch.event("epoch", {})
        for _ in range(3):
            watch.event("step", {})
        assert len(told) == times


def test_runs_of_one_process_each_see_the_processor_at_work(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    cpu = torch.device("cpu")
    watches = [DeviceWatch(tmp_path, lambda _, **f: told.append(f), cpu) for _ in range(2)]
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    for watch in watches:
        watch.event("step", {})
    first, second = (fields["cpu_percent"] for fields in told)
    assert first > 0
    assert second > 0


def test_a_gpu_that_hides_its_figures_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 16 << 30

    def hidden(index: int) -> int:
        raise RuntimeError("not supported")

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "device_memory_used", lambda index: 5 << 30)
    monkeypatch.setattr(torch.cuda, "utilization", lambda index: 97)
    monkeypatch.setattr(torch.cuda, "temperature", hidden)
    assert gpu_state(0) == {
        "index": 0,
        "name": "Tesla T4",
        "memory_used_mb": 5 * 1024,
        "memory_total_mb": 16 * 1024,
        "use_percent": 97,
        "temperature_c": None,
    }
