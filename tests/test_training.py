"""The training loop: what a run writes, what a seed reproduces, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from checkpoints import untrained

import lastkd
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.views import Views
from lastkd.distributed.accelerator import make_accelerator
from lastkd.errors import UserError
from lastkd.evaluation.checkpoint import evaluate_checkpoint
from lastkd.models.checkpoint import read_checkpoint
from lastkd.models.registry import build_model
from lastkd.pipeline.request import find_inputs
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.training.loop import train
from lastkd.training.optimiser import make_optimizer
from lastkd.training.schedule import learning_rate, make_schedule
from lastkd.training.teacher import FrozenTeacher

SMALL = {"epochs": 2, "frames": 8, "batch_size": 8, "log_every": 1, "warmup_epochs": 1, "lr": 0.05}
CPU = torch.device("cpu")


def standalone(**given: Any) -> TrainSettings:
    return resolve(TrainSettings, SMALL | {"model": "last_e_nano"} | given)


def distilled(**given: Any) -> DistillSettings:
    return resolve(DistillSettings, SMALL | {"variant": "nano"} | given)


def weights(
    settings: RunSettings, store: Path, folder: Path, accelerator: Accelerator, teacher: Path | None
) -> str:
    train(settings, data=store, teacher=teacher, folder=folder, accelerator=accelerator)
    return read_checkpoint(folder / "last.safetensors").weights_hash


def test_a_run_folder_holds_settings_events_and_two_checkpoints(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    settings, folder = distilled(seed=3), tmp_path / "run"
    best = train(settings, data=store_path, teacher=teacher, folder=folder, accelerator=accelerator)
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.safetensors",
        "events.jsonl",
        "last.safetensors",
        "settings.yaml",
    ]
    assert best == [folder / "best.safetensors"]
    again = resolve(DistillSettings, {"variant": "nano"}, file=folder / "settings.yaml")
    assert again == settings

    start, *middle, end = read_events(folder / "events.jsonl")
    assert start["event"] == "start"
    assert start["settings"]["tau"] == 4.0
    assert start["versions"]["torch"] == torch.__version__
    assert start["teacher"]["hash"] == read_checkpoint(teacher).weights_hash
    assert start["global_batch"] == 8
    steps = [event for event in middle if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, start["total_steps"] + 1))
    for event in steps:
        expected = 0.7 * event["ce"] + 0.3 * 16 * event["soft"]
        assert event["total"] == pytest.approx(expected, rel=1e-5)
        assert {"lr", "grad_norm", "clips_per_s", "teacher_ms", "student_ms"} <= event.keys()
    epochs = [event for event in middle if event["event"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2]
    assert all(event["clips"] == 32 and len(event["by_class"]) == 16 for event in epochs)
    assert end["state"] == "finished"

    info = read_checkpoint(best[0]).info
    assert info.architecture.name == "last_e_nano"
    assert info.class_names == ClipStore.open(store_path).class_names
    assert info.teacher_hash == start["teacher"]["hash"]
    assert info.data_hash == start["data"]["hash"]
    assert info.settings["seed"] == 3
    assert "test part" in str(info.chosen_by)
    assert info.accuracy["top1"] == max(event["top1"] for event in epochs)


def test_the_teacher_is_never_in_the_students_checkpoint(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    weights(distilled(epochs=1), store_path, tmp_path / "run", accelerator, teacher)
    keys = set(read_checkpoint(tmp_path / "run" / "last.safetensors").tensors)
    assert keys == set(build_model("last_e_nano", 16).state_dict())


def test_a_seed_gives_the_same_run_byte_for_byte(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    def run(name: str, **given: Any) -> str:
        return weights(
            distilled(epochs=1, **given), store_path, tmp_path / name, accelerator, teacher
        )

    torch.rand(7)  # what was drawn before doesn't matter
    assert run("one", seed=1) == run("two", seed=1) != run("three", seed=2)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_standalone_training_is_distillation_without_a_teacher(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator, smoothing: float
) -> None:
    given = {"epochs": 1, "label_smoothing": smoothing}
    alone = weights(standalone(**given), store_path, tmp_path / "a", accelerator, None)
    hard = weights(distilled(alpha=1, **given), store_path, tmp_path / "b", accelerator, teacher)
    assert alone == hard


def test_evaluate_gives_the_same_accuracy_as_training(
    tmp_path: Path, store_path: Path, accelerator: Accelerator
) -> None:
    weights(standalone(), store_path, tmp_path / "run", accelerator, None)
    path = tmp_path / "run" / "last.safetensors"
    accuracy = evaluate_checkpoint(path, store_path, "xsub", accelerator=accelerator).accuracy
    recorded = read_checkpoint(path).info.accuracy
    assert accuracy.summary() == {k: v for k, v in recorded.items() if k != "split"}


def test_a_loaded_model_takes_a_dict_of_streams(
    tmp_path: Path, store_path: Path, accelerator: Accelerator
) -> None:
    weights(standalone(epochs=1), store_path, tmp_path / "run", accelerator, None)
    model = lastkd.load_model(tmp_path / "run" / "best.safetensors")
    assert not model.training
    views = Views(ClipStore.open(store_path), standalone(), CPU)
    assert model(views.evaluation(views.store.split("xsub")[1][:3])).shape == (3, 16)


def test_the_teacher_is_frozen_and_answers_in_float32(store_path: Path, teacher: Path) -> None:
    store = ClipStore.open(store_path)
    frozen = FrozenTeacher(teacher, store, CPU)
    views = Views(store, standalone(), CPU)
    clips = store.split("xsub")[1][:4]
    first = frozen(views.evaluation(clips), views.bodies(clips))
    assert not first.requires_grad
    assert first.dtype == torch.float32
    assert torch.equal(first, frozen(views.evaluation(clips), views.bodies(clips)))


def test_a_teacher_that_does_not_fit_is_an_error(tmp_path: Path, store_path: Path) -> None:
    store = ClipStore.open(store_path)
    other = ("something else", *store.class_names[1:])
    cases: list[tuple[dict[str, Any], str]] = [
        ({"num_classes": 60, "class_names": ()}, "knows 60 classes"),
        ({"layout": build_model("last_v2_tiny", 16, "uiprmd22").layout}, "another skeleton"),
        ({"class_names": other}, "something else"),
    ]
    for replaced, words in cases:
        path = untrained(tmp_path / "teacher.safetensors", store, **replaced)
        with pytest.raises(UserError, match=words):
            FrozenTeacher(path, store, CPU)
    with pytest.raises(UserError, match="no such checkpoint"):
        FrozenTeacher(tmp_path / "nowhere.safetensors", store, CPU)


def test_without_any_data_the_builtin_set_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_inputs(distilled()) is None


@pytest.mark.parametrize("named", ["data", "teacher"])
def test_a_named_but_missing_input_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "ntu60").mkdir(parents=True)
    (tmp_path / "runs" / "last_v2_base").mkdir(parents=True)
    (tmp_path / "runs" / "last_v2_base" / "best.safetensors").touch()
    assert find_inputs(distilled()) is not None
    with pytest.raises(UserError, match="nowhere"):
        find_inputs(distilled(**{named: tmp_path / "nowhere"}))


def test_a_store_without_a_teacher_is_an_error_and_no_fallback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "ntu60").mkdir(parents=True)
    with pytest.raises(UserError, match="no such teacher"):
        find_inputs(distilled())


def test_learning_rate_warms_up_falls_as_a_cosine_and_scales_with_the_batch() -> None:
    settings = resolve(TrainSettings, {"model": "last_v2_base"})
    rates = [learning_rate(settings, 16, epoch) for epoch in (0, 5, 10, 40, 70)]
    assert rates == pytest.approx([0.001, 0.0055, 0.01, 0.00505, 0.0001])
    assert learning_rate(settings, 64, 10) == pytest.approx(0.04)


def test_weight_decay_spares_norms_biases_and_mixing_weights() -> None:
    for name in ("last_v2_tiny", "last_e_base"):
        model = build_model(name, 5)
        decayed, free = make_optimizer(model, standalone()).param_groups
        assert (decayed["weight_decay"], free["weight_decay"]) == (4e-4, 0)
        names = {id(p): n for n, p in model.named_parameters()}
        assert len(names) == len(decayed["params"]) + len(free["params"])
        leaves = {names[id(p)].rsplit(".", 1)[-1] for p in free["params"]}
        assert {"bias", "alpha"} <= leaves
        assert leaves <= {"weight", "bias", "alpha", "A_learned", "stream_weights"}
        assert all(names[id(p)].endswith("weight") for p in decayed["params"])


def test_the_schedule_states_the_global_batch_and_refuses_an_empty_epoch() -> None:
    plan = make_schedule(standalone(accumulation=2), clips=100, processes=2)
    assert (plan.global_batch, plan.steps_per_epoch) == (32, 3)
    with pytest.raises(UserError, match="batch-size"):
        make_schedule(standalone(), clips=7, processes=1)


def test_more_processes_started_than_join_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="3 processes were started, but 1"):
        make_accelerator()


def test_the_builtin_set_is_a_complete_store(tmp_path: Path) -> None:
    from lastkd.data.synthetic.settings import builtin_set

    prepare(open_source("synthetic", synthetic=builtin_set()), tmp_path / "s")
    train_clips, test_clips = ClipStore.open(tmp_path / "s").split("xsub")
    assert len(train_clips) == len(test_clips)
