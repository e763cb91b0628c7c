"""Training on a pretended GPU: from views to resume, nothing mixes and the host never waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pretended_cuda
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from stopping import stopped_after
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lastkd.distributed.accelerator import make_accelerator
from lastkd.distributed.replica import Replica
from lastkd.losses import LOSSES
from lastkd.models.checkpoint import read_checkpoint
from lastkd.models.registry import build_model
from lastkd.runs.events import read_events
from lastkd.runs.folder import Position
from lastkd.settings.architecture import STREAMS, get_architecture
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.training import student
from lastkd.training.loop import TrainingRun, train
from lastkd.training.run_control import RunControl

pytestmark = pretended_cuda.needed
Waits = dict[int, Counter[tuple[str, str]]]
# 32 training clips: four steps an epoch, of which the last one logs
SMALL: dict[str, Any] = {"epochs": 1, "frames": 8, "batch_size": 8, "warmup_epochs": 0, "seed": 3}
SMALL |= {"log_every": 1000}


def fresh_accelerator(accumulation: int = 1) -> Accelerator:
    """As if no other test of this process had made one."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    return make_accelerator(accumulation, mixed_precision="fp16")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[pretended_cuda.Counts]:
    # a loss scale that these runs of a few steps needn't find first
    monkeypatch.setattr(student, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**8))
    try:
        with pretended_cuda.device() as counts:
            yield counts
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


@pytest.fixture
def waits(device: pretended_cuda.Counts, monkeypatch: pytest.MonkeyPatch) -> Waits:
    """By step, counted from 1, the waits since the step before; 0 has those before the first."""
    by_step: Waits = {}
    check, train_epoch = RunControl.check, TrainingRun.train_epoch

    def take(step: int) -> None:
        by_step[step] = by_step.get(step, Counter()) + device.waits
        device.reset()

    def counting_check(control: RunControl, position: Position) -> None:
        check(control, position)
        take(position.step)

    def counting_epoch(run: TrainingRun, *more: Any) -> None:
        take(run.position.step)
        train_epoch(run, *more)

    monkeypatch.setattr(RunControl, "check", counting_check)
    monkeypatch.setattr(TrainingRun, "train_epoch", counting_epoch)
    return by_step


def distilled(**given: Any) -> DistillSettings:
    return resolve(DistillSettings, SMALL | {"variant": "nano"} | given)


def weights(folder: Path) -> str:
    return read_checkpoint(folder / "last.safetensors").weights_hash


def test_live_and_replayed_steps_of_every_loss_never_wait(
    tmp_path: Path, store_path: Path, teacher: Path, waits: Waits
) -> None:
    """And replay equals live, and a student in company equals itself alone, in fp16 too."""
    settings = [distilled(loss=loss, teacher_cache=tmp_path / "cache") for loss in LOSSES]
    folders = [tmp_path / loss for loss in LOSSES]
    kept: dict[str, Any] = {"data": store_path, "teacher": teacher}
    train(settings, folder=folders, accelerator=fresh_accelerator(), **kept)
    assert [waits[step] for step in (1, 2, 3)] == 3 * [Counter()]
    start, *_, end = read_events(folders[0] / "events.jsonl")
    assert (start["device"]["type"], start["device"]["precision"]) == ("cuda", "fp16")
    assert end["state"] == "finished"
    for folder in folders:
        events = list(read_events(folder / "events.jsonl"))
        (logged,) = (event for event in events if event["event"] == "step")
        assert logged["total"] > 0
        assert logged["grad_norm"] > 0
        assert not any(event["event"] == "skipped" for event in events)

    waits.clear()
    replayed = tmp_path / "replayed"
    train(settings[0], folder=replayed, accelerator=fresh_accelerator(), **kept)
    assert [waits[step] for step in (1, 2, 3)] == 3 * [Counter()]
    assert weights(replayed) == weights(folders[0])


@pytest.mark.slow
def test_accumulated_steps_without_a_teacher_never_wait_and_resume_exactly(
    tmp_path: Path, store_path: Path, waits: Waits
) -> None:
    """A teacher's model and a student side by side, stopped within an epoch."""
    given = SMALL | {"batch_size": 4, "accumulation": 2, "ema": 0.9}
    models = ("last_v2_tiny", "last_e_nano")
    settings = [resolve(TrainSettings, given | {"model": model}) for model in models]

    def run(name: str) -> list[str]:
        folders = [tmp_path / name / model for model in models]
        train(
            settings,
            data=store_path,
            teacher=None,
            folder=folders,
            accelerator=fresh_accelerator(2),
        )
        return [weights(folder) for folder in folders]

    undisturbed = run("undisturbed")
    assert [waits[step] for step in (1, 2, 3)] == 3 * [Counter()]
    with stopped_after(2):
        run("stopped")
    assert run("stopped") == undisturbed


def test_views_made_in_main_memory_arrive_without_a_wait(
    tmp_path: Path,
    store_path: Path,
    waits: Waits,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = resolve(TrainSettings, SMALL | {"model": "last_e_nano"})
    kept: dict[str, Any] = {"data": store_path, "teacher": None}
    train(settings, folder=tmp_path / "device", accelerator=fresh_accelerator(), **kept)
    waits.clear()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (0, 16 << 30))
    train(settings, folder=tmp_path / "memory", accelerator=fresh_accelerator(), **kept)
    assert "held in main memory" in capsys.readouterr().out
    assert weights(tmp_path / "memory") == weights(tmp_path / "device")
    assert [waits[step] for step in (1, 2, 3)] == 3 * [Counter()]


@pytest.mark.parametrize("name", ["last_e_nano", "last_e_large", "last_v2_base"])
def test_processes_add_at_most_ten_launches_a_step(
    name: str, device: pretended_cuda.Counts
) -> None:
    with pretended_cuda.two_processes() as accelerator:
        model = build_model(get_architecture(name).for_training(), 60)
        replica = Replica(accelerator, model)
        assert isinstance(replica.module, DistributedDataParallel)
        streams = {stream: torch.randn(2, 3, 8, 25, 2).to("cuda") for stream in STREAMS}

        def passes(forward: Callable[..., Tensor]) -> tuple[Counter[str], list[Tensor]]:
            """Launches of a forward and backward pass, and the gradients."""
            model.zero_grad()
            device.reset()
            # in float32, as the gradients are: float16 is slow to compute without a GPU
            forward(streams, np.ones(2, dtype=np.int64)).square().sum().backward()
            return device.launches.copy(), [
                x.grad for x in model.parameters() if x.grad is not None
            ]

        torch.manual_seed(0)
        passes(replica)
        replica.average_gradients()  # the first step exchanges buffers and compares processes
        torch.manual_seed(0)
        launches_alone, expected = passes(model)
        torch.manual_seed(0)
        launches, gradients = passes(replica)
        assert launches == launches_alone
        assert all(map(torch.equal, gradients, expected))
        device.reset()
        replica.average_gradients()
        joining = -(-len(expected) // 128) - 1  # a kernel that concatenates takes 128 tensors
        assert device.launches["allreduce_"] == 1
        assert device.launches.total() + joining <= 10
        assert not device.waits
        # the group has this process alone, so that the mean of two is half of its gradient
        halves = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert all(torch.equal(half, one / 2) for half, one in zip(halves, expected, strict=True))
