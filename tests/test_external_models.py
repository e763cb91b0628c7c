"""A student and a teacher of one's own, by `package.module:factory`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import lastkd
from lastkd.cli.options import Variants, settings_command
from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.accelerator import make_accelerator
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.pipeline.request import find_inputs
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.training.loop import train

SMALL = {"epochs": 1, "frames": 8, "batch_size": 8, "warmup_epochs": 0}
STUDENT, TEACHER = "own_models:student", "own_models:teacher"


def distilled_own(folder: Path, store_path: Path) -> Path:
    settings = resolve(
        DistillSettings, SMALL | {"variant": STUDENT, "teacher": Path(TEACHER), "loss": "dkd"}
    )
    inputs = find_inputs(settings.model_copy(update={"data": store_path}))
    assert inputs == (store_path, Path(TEACHER))
    best = train(
        settings,
        data=store_path,
        teacher=inputs[1],
        folder=folder,
        accelerator=make_accelerator(),
    )
    return best[0]


def test_own_student_and_teacher_train_and_load_again(tmp_path: Path, store_path: Path) -> None:
    best = distilled_own(tmp_path / "run", store_path)
    start, *_ = read_events(tmp_path / "run" / "events.jsonl")
    assert start["model"] == STUDENT
    assert start["teacher"]["model"] == TEACHER
    assert start["settings"]["loss"] == "dkd"
    model = lastkd.load_model(best, factory=STUDENT)
    again = resolve(DistillSettings, {}, file=tmp_path / "run" / "settings.yaml")
    assert again.model_name == STUDENT
    streams = {name: torch.randn(2, 3, 8, 25, 2) for name in ("joint", "velocity", "bone")}
    assert model(streams, torch.tensor([1, 2])).shape == (2, 16)


def test_a_checkpoint_never_chooses_the_code_that_is_run(tmp_path: Path, store_path: Path) -> None:
    best = distilled_own(tmp_path / "run", store_path)
    assert read_checkpoint(best).info.architecture.name == STUDENT
    for factory in (None, "own_models:other"):
        with pytest.raises(UserError, match=f"--model {STUDENT}"):
            lastkd.load_model(best, factory=factory)


def test_standalone_training_takes_a_factory_too(tmp_path: Path, store_path: Path) -> None:
    settings = resolve(TrainSettings, SMALL | {"model": STUDENT})
    accelerator = make_accelerator()
    train(settings, data=store_path, teacher=None, folder=tmp_path / "run", accelerator=accelerator)
    assert read_checkpoint(tmp_path / "run" / "last.safetensors").info.num_classes == 16


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.at.all:student", "there is no module 'nowhere'"),
        ("own_models:missing", "has no function 'missing'"),
        ("own_models:no_module", "gives a str, and no torch.nn.Module"),
    ],
)
def test_a_factory_that_does_not_do_its_part_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        lastkd.build_model(name, 16)


def test_logits_of_another_width_are_an_error_at_the_first_step(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    model = lastkd.build_model("own_models:too_narrow", store.num_classes, store.layout)
    streams = {name: torch.randn(2, 3, 8, 25, 1) for name in ("joint", "velocity", "bone")}
    with pytest.raises(UserError, match=r"gives \(2, 15\) where logits of shape \(2, 16\)"):
        model(streams)


def test_dropout_of_ones_own_model_is_its_own_affair() -> None:
    with pytest.raises(UserError, match="takes no --dropout"):
        lastkd.build_model(STUDENT, 16, dropout=0.1)


def test_variants_and_factories_go_together_on_the_command_line() -> None:
    asked = Variants().convert(f"{STUDENT},large,nano", None, None)
    assert asked == ("nano", "large", STUDENT)
    from lastkd.distill import run

    command = settings_command(DistillSettings, run, {"variant": Variants()})
    result = CliRunner().invoke(command, ["--variant", "nanoo"])
    assert "did you mean 'nano'?" in result.output.replace("\n", " ")
