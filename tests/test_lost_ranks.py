"""Lost ranks, dead launchers and signals, in processes started as users start them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lastkd.distributed.launch import environment_alone
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.models.checkpoint import read_checkpoint
from lastkd.runs.events import read_events

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
LAUNCH += ["--num_cpu_threads_per_process", "1", "--config_file"]
# started without torch's agent, as one GPU is: the launcher doesn't pass a signal on
ONE_PROCESS = """\
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
use_cpu: true
num_machines: 1
num_processes: 1
mixed_precision: 'no'
"""
PATIENCE_S = 300
LONG, SHORT = 500, 3
"""Epochs: never reached, or soon."""


def train(store: Path, epochs: int) -> list[str]:
    options = ["--frames", "8", "--batch-size", "8", "--warmup-epochs", "1", "--log-every", "1"]
    options += ["--lr", "0.05", "--epochs", str(epochs), "--eval-every", str(epochs)]
    return ["-m", "lastkd.train", "--model", "last_e_nano", "--data", str(store), *options]


def started(command: list[str], folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, "--run", str(folder)],
        env=environment_alone() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    recorded = list(read_events(path)) if path.exists() else []
    return [event for event in recorded if event["event"] == kind]


def wait_for(true: Callable[[], Any]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_process_orphaned_by_its_launcher_stops_with_a_checkpoint(
    tmp_path: Path, store_path: Path
) -> None:
    folder, config = tmp_path / "run", tmp_path / "one.yaml"
    config.write_text(ONE_PROCESS)
    launcher = started([*LAUNCH, str(config), *train(store_path, LONG)], folder)
    wait_for(lambda: len(events(folder, "step")) >= 2)
    second = started([sys.executable, *train(store_path, LONG)], folder)
    out, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 2
    assert out.startswith(f"Error: {folder}: a live run is writing there")
    assert len(out.splitlines()) == 1
    came = events(folder, "step")[-1]["step"]
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=PATIENCE_S)
    wait_for(lambda: events(folder, "end"))
    (end,) = events(folder, "end")
    assert end["state"] == "stopped"
    assert end["reason"] in ("SIGTERM", "launcher gone")  # newer launchers pass it on
    assert events(folder, "checkpoint")[-1]["step"] >= came


def alone(rank: int, port: int) -> dict[str, str]:
    """The environment of one of two processes, without a launcher that would clean up."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_the_remaining_ranks_end_and_name_the_lost_rank(
    tmp_path: Path, store_path: Path, lost: int
) -> None:
    folder = tmp_path / "run"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, *train(store_path, LONG)]
    ranks = [started(command, folder, **alone(rank, port)) for rank in (0, 1)]
    wait_for(lambda: len(events(folder, "step")) >= 2)
    ranks[lost].kill()
    killed = time.monotonic()
    out, _ = ranks[1 - lost].communicate(timeout=PATIENCE_S)
    assert time.monotonic() - killed < 60
    assert ranks[1 - lost].returncode == 1
    assert out.splitlines()[-1].startswith(f"Error: rank {lost} of 2 is lost")
    assert "Traceback" not in out
    if lost == 1:
        (end,) = events(folder, "end")
        assert (end["state"], end["reason"][:16]) == ("failed", "rank 1 of 2 is l")


@pytest.mark.slow
def test_two_processes_stopped_by_sigterm_resume_to_the_same_result(
    tmp_path: Path, store_path: Path
) -> None:
    command = [*LAUNCH, str(LAUNCH_CONFIGS / "cpu.yaml"), *train(store_path, SHORT)]
    whole = started(command, tmp_path / "whole")
    folder = tmp_path / "run"
    first = started(command, folder)
    wait_for(lambda: events(folder, "step"))
    came = events(folder, "step")[-1]["step"]
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate(timeout=PATIENCE_S)
    (end,) = events(folder, "end")
    assert (end["state"], end["reason"]) == ("stopped", "SIGTERM"), out
    assert events(folder, "checkpoint")[-1]["step"] >= came
    again = started(command, folder)
    out, _ = again.communicate(timeout=PATIENCE_S)
    assert (again.returncode, whole.wait(PATIENCE_S)) == (0, 0), out
    (resume,) = events(folder, "resume")
    assert (resume["processes"], resume["reason"]) == (2, "SIGTERM")
    ends = [read_checkpoint(path / "last.safetensors") for path in (folder, tmp_path / "whole")]
    assert ends[0].weights_hash == ends[1].weights_hash
    curves = [
        {e["step"]: e["total"] for e in events(path, "step")}
        for path in (folder, tmp_path / "whole")
    ]
    assert curves[0] == curves[1]
