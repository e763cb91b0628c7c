"""Steps whose loss or gradient isn't finite: skipped and counted; ten in a row end a run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from short_runs import Start, events, standalone

from lastkd.distributed.stop_requests import Stopped
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.training.loop import TrainingRun
from lastkd.training.nonfinite import HALVINGS, IN_A_ROW, SkippedSteps


def poison(run: TrainingRun, what: str) -> None:
    """Makes the loss or the gradient of the next step NaN."""
    (student,) = run.students
    parameter = next(student.model.parameters())
    if what == "loss":
        loss = student.loss

        def spoilt(*given: Any) -> Any:
            student.loss = loss  # type: ignore[method-assign]
            parts = loss(*given)
            return parts._replace(total=parts.total * torch.inf)

        student.loss = spoilt  # type: ignore[method-assign]
    else:

        def hook(gradient: torch.Tensor) -> torch.Tensor:
            handle.remove()
            return gradient * torch.nan

        handle = parameter.register_hook(hook)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_non_finite_step_is_skipped_counted_and_leaves_no_trace(
    tmp_path: Path, start: Start, what: str
) -> None:
    states: list[dict[str, Any]] = []

    def spoil(run: TrainingRun) -> None:
        (student,) = run.students
        kept = {
            name: tensor.clone()
            for name, tensor in student._carried().items()
            if "num_batches" not in name
        }
        states.append(kept)
        if run.position.step == 4:
            poison(run, what)

    folder = tmp_path / "run"
    start(standalone(log_every=1, eval_every=3, eval_batch_size=99), folder, spoil)
    assert all(torch.equal(states[4][name], states[3][name]) for name in states[3])
    assert not all(torch.equal(states[5][name], states[4][name]) for name in states[3])
    (skipped,) = events(folder, "skipped")
    assert (skipped["step"], skipped["epoch"], skipped["reason"]) == (5, 2, what)
    assert skipped["count"] == 1
    by_step = {event["step"]: event for event in events(folder, "step")}
    assert (by_step[5]["total"] is None) is (what == "loss")
    assert by_step[6]["total"] > 0
    assert all(
        torch.isfinite(t).all()
        for t in read_checkpoint(folder / "last.safetensors").tensors.values()
    )


def test_ten_skipped_steps_in_a_row_stop_the_run_with_the_clips_names(
    tmp_path: Path, start: Start
) -> None:
    seen: list[list[str]] = []

    def spoil(run: TrainingRun) -> None:
        if run.position.step >= 2:
            poison(run, "loss")
            seen.append(run.clip_names(run.position.step + 1))

    settings = standalone(epochs=5, eval_every=5)
    with pytest.raises(UserError, match="10 steps in a row had a loss that isn't finite") as caught:
        start(settings, tmp_path / "run", spoil)
    assert all(name in str(caught.value) for name in seen[9])
    (end,) = events(tmp_path / "run", "end")
    assert end["state"] == "failed"
    skipped = events(tmp_path / "run", "skipped")
    assert [event["step"] for event in skipped] == list(range(3, 13))
    assert [event["count"] for event in skipped] == list(range(1, 11))


def test_skips_in_a_row_are_counted_across_a_stop(tmp_path: Path, start: Start) -> None:
    def stop(run: TrainingRun) -> None:
        poison(run, "loss")
        if run.position.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    settings = standalone(epochs=5, eval_every=5)
    with pytest.raises(Stopped):
        start(settings, tmp_path / "run", stop, before=lambda run: poison(run, "loss"))
    with pytest.raises(UserError, match="the last of them step 10"):
        start(settings, tmp_path / "run", stop, before=lambda run: poison(run, "loss"))


def test_fp16_overflows_are_distinguished_and_do_not_stop_the_run() -> None:
    skips = SkippedSteps(scaled=True)
    reasons = [skips.record(loss=False, gradient=True) for _ in range(HALVINGS + IN_A_ROW)]
    assert reasons == ["overflow"] * HALVINGS + ["gradient"] * IN_A_ROW
    assert skips.in_a_row == IN_A_ROW
    assert skips.record(loss=False, gradient=False) is None
    assert skips.in_a_row == 0
    assert skips.record(loss=True, gradient=True) == "loss"
    assert SkippedSteps(scaled=False).record(loss=False, gradient=True) == "gradient"


def test_the_loss_scale_is_found_and_survives_a_resume(tmp_path: Path, start: Start) -> None:
    """As fp16 on a GPU, with a scaler for the CPU."""
    scales: dict[int, float] = {}

    def scale(run: TrainingRun) -> None:
        (student,) = run.students
        student.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        student.skips.scaled = True
        loss = student.loss

        def larger(*given: Any) -> Any:
            parts = loss(*given)
            return parts._replace(total=16 * parts.total)

        student.loss = larger  # type: ignore[method-assign]

    def see(run: TrainingRun) -> None:
        scales[run.position.step] = run.students[0].scaler.get_scale()
        if run.position.step == 4 and len(scales) == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        start(standalone(), folder, see, before=scale)
    start(standalone(), folder, see, before=scale)
    skipped = events(folder, "skipped")
    assert {event["reason"] for event in skipped} == {"overflow"}
    assert 1 <= len(skipped) < 9
    assert scales[9] == scales[len(skipped)] == 2.0 ** (127 - len(skipped))
    assert [event["count"] for event in skipped] == list(range(1, len(skipped) + 1))
