"""Runs measured in steps, alone and in a sequence, and the hint that a set is small."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from lastkd.errors import UserError
from lastkd.pipeline.estimate import seconds_left
from lastkd.pipeline.settings import sequence_settings
from lastkd.pipeline.steps import TrainingStep, make_steps
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.training.loop import train

QUICK = {"frames": 8, "batch_size": 10, "log_every": 1, "warmup_epochs": 0}  # of 32 clips


def test_steps_become_whole_epochs(
    tmp_path: Path, store_path: Path, accelerator: Accelerator
) -> None:
    settings = resolve(TrainSettings, {"model": "last_e_nano", "steps": 4, **QUICK})
    kept = {"data": store_path, "teacher": None, "folder": tmp_path, "accelerator": accelerator}
    train(settings, **kept)
    run = Run.read(tmp_path)
    assert run.start["total_steps"] == 6  # two epochs of three
    assert run.start["settings"]["epochs"] == 2
    assert run.start["settings"]["steps"] == 4
    assert run.finished
    train(settings, **kept)  # is the same run, and has nothing left to do
    with pytest.raises(UserError, match="--steps 4 there and 9 here"):
        train(settings.model_copy(update={"steps": 9}), **kept)


def test_teacher_and_student_count_steps_alike(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    given = {"variant": "nano", "steps": 4, "teacher_cache": tmp_path / "soft", **QUICK}
    train(
        resolve(DistillSettings, given),
        data=store_path,
        teacher=teacher,
        folder=tmp_path / "run",
        accelerator=accelerator,
    )
    assert len(list((tmp_path / "soft").glob("epoch-*"))) == 2


@pytest.mark.parametrize(
    ("given", "hinted"), [({}, True), ({"recipe": "small"}, False), ({"lr": 0.02}, False)]
)
def test_a_small_set_with_the_defaults_of_ntu_is_told_of_the_recipe(
    tmp_path: Path,
    store_path: Path,
    accelerator: Accelerator,
    capsys: pytest.CaptureFixture[str],
    given: dict[str, object],
    hinted: bool,
) -> None:
    asked = {"model": "last_e_nano", "time_budget": "1s", "eval_batch_size": 32, **given}
    settings = resolve(TrainSettings, asked).model_copy(update={"frames": 4})
    with pytest.raises(BaseException, match="time budget"):
        train(settings, data=store_path, teacher=None, folder=tmp_path, accelerator=accelerator)
    assert ("--recipe small" in capsys.readouterr().out) is hinted


def test_a_sequence_knows_its_runs_that_count_steps_and_keep_performers_out(
    tmp_path: Path, store_path: Path, accelerator: Accelerator
) -> None:
    given = {"data": store_path, "out": tmp_path, "variant": "nano"}
    given |= {"teacher_model": "last_v2_tiny", "recipe": "small", "steps": 2}
    given |= {"validation": "performers:1", **QUICK}
    steps = make_steps(sequence_settings(given, None))
    alone = next(step for step in steps if "nano standalone" in step.title)
    assert isinstance(alone, TrainingStep)
    assert not alone.status().done
    (settings,) = alone.settings()
    train(settings, data=store_path, teacher=None, folder=alone.folders[0], accelerator=accelerator)
    assert alone.status().done
    part = {"step_s": 2.0, "steps_per_epoch": 1, "eval_s": {"last_e_nano": 0.5}}
    part |= {"evaluated_clips": 10, "test_clips": 16}
    teacher = steps[0]
    # two epochs of one step, of which the last is evaluated, and the test part at the end
    found = {"start_s": 7.0, "parts": {"teacher": part}}
    assert seconds_left(teacher, teacher.status(), found) == 7 + 2 * 2.0 + (10 + 16) * 0.5


def test_hard_labels_of_the_small_recipe_are_alike_with_a_teacher_and_without() -> None:
    alone = resolve(TrainSettings, {"model": "last_e_nano", "recipe": "small"})
    distilled = resolve(DistillSettings, {"variant": "nano", "recipe": "small"})
    assert alone.label_smoothing == distilled.label_smoothing == 0.1
    plain = resolve(DistillSettings, {"variant": "nano"})
    assert plain.label_smoothing == 0, "the design's loss has hard labels as they are"
