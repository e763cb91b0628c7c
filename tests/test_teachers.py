"""Several teachers, and teachers of every family: how they are named and what they teach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from checkpoints import untrained

from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Views
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.pipeline.request import find_inputs
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings
from lastkd.settings.teachers import TeacherSource, join_teacher_words, teacher_sources
from lastkd.training.loop import train
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity

CPU = torch.device("cpu")
QUICK = {"epochs": 1, "frames": 8, "batch_size": 16, "log_every": 1, "warmup_epochs": 0}


@pytest.fixture(scope="module")
def other(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained LAST-E nano: a student can teach too."""
    path = tmp_path_factory.mktemp("other") / "nano.safetensors"
    return untrained(path, store_path, model="last_e_nano")


@pytest.mark.parametrize(
    ("text", "sources"),
    [
        ("a.safetensors", [TeacherSource(Path("a.safetensors"))]),
        ("mine.nets:big", [TeacherSource(None, "mine.nets:big")]),
        ("a.st@mine.nets:big", [TeacherSource(Path("a.st"), "mine.nets:big")]),
        ("a.st, m:f", [TeacherSource(Path("a.st")), TeacherSource(None, "m:f")]),
        ("me@home/a.st", [TeacherSource(Path("me@home/a.st"))]),
    ],
)  # fmt: skip
def test_a_teacher_is_a_checkpoint_a_factory_or_several(
    text: str, sources: list[TeacherSource]
) -> None:
    assert list(teacher_sources(text)) == sources


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("--teacher a b --seed 1", "--teacher a,b --seed 1"),
        ("--seed 1 --teacher a b c", "--seed 1 --teacher a,b,c"),
        ("--teacher a,b --data d", "--teacher a,b --data d"),
        ("--teacher=a --data d", "--teacher=a --data d"),
        ("--variant nano", "--variant nano"),
    ],
)
def test_the_command_line_takes_several_words_after_teacher(words: str, joined: str) -> None:
    assert join_teacher_words(words.split()) == joined.split()


def test_a_list_in_a_file_is_an_ensemble_and_a_missing_member_is_named(
    tmp_path: Path, store_path: Path, teacher: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"teacher: [{teacher}, {tmp_path}/no.safetensors]\ndata: {store_path}\n")
    settings = resolve(DistillSettings, {"variant": "nano"}, file=file)
    with pytest.raises(UserError, match=r"no\.safetensors: no such teacher"):
        find_inputs(settings)


def test_an_ensembles_logits_are_the_log_of_the_mean_probability(
    store_path: Path, teacher: Path, other: Path
) -> None:
    store = ClipStore.open(store_path)
    views = Views(store, resolve(DistillSettings, {"variant": "nano", **QUICK}), CPU)
    clips = np.arange(6)
    streams, bodies = views.evaluation(clips), views.bodies(clips)
    alone = [FrozenTeacher(path, store, CPU)(streams, bodies) for path in (teacher, other)]
    both = FrozenTeacher(f"{teacher},{other}", store, CPU)(streams, bodies)
    mean = (alone[0].softmax(dim=1) + alone[1].softmax(dim=1)) / 2
    torch.testing.assert_close(both.exp(), mean)
    torch.testing.assert_close(both.exp().sum(dim=1), torch.ones(6))


def test_an_ensemble_is_the_same_in_any_order_and_another_than_its_members(
    store_path: Path, teacher: Path, other: Path
) -> None:
    store = ClipStore.open(store_path)
    one = TeacherIdentity.of(f"{teacher},{other}", store)
    assert one == TeacherIdentity.of(f"{other},{teacher}", store)
    hashes = {TeacherIdentity.of(path, store).weights_hash for path in (teacher, other)}
    assert one.weights_hash not in hashes
    assert {member.weights_hash for member in one.members} == hashes
    with pytest.raises(UserError, match="twice"):
        TeacherIdentity.of(f"{teacher},{teacher}", store)


def test_an_ensemble_teaches_through_one_cache_that_is_keyed_by_all(
    tmp_path: Path, store_path: Path, teacher: Path, other: Path, accelerator: Accelerator
) -> None:
    both = Path(f"{teacher},{other}")
    asked = {"variant": "nano", "teacher_cache": tmp_path / "soft", **QUICK}
    settings = resolve(DistillSettings, asked)
    kept = {"data": store_path, "accelerator": accelerator}
    train(settings, teacher=both, folder=tmp_path / "first", **kept)
    train(settings, teacher=None, folder=tmp_path / "replayed", **kept)
    weights = {
        read_checkpoint(tmp_path / name / "last.safetensors").weights_hash
        for name in ("first", "replayed")
    }
    assert len(weights) == 1
    start, replayed = (Run.read(tmp_path / name).start["teacher"] for name in ("first", "replayed"))
    assert start["model"].split(" + ") == [member["model"] for member in start["members"]]
    assert replayed == start
    with pytest.raises(UserError, match="holds soft labels of something else"):
        train(settings, teacher=teacher, folder=tmp_path / "alone", **kept)


def test_a_checkpoint_of_a_model_of_ones_own_teaches_with_its_factory_named(
    tmp_path: Path, store_path: Path
) -> None:
    store = ClipStore.open(store_path)
    path = untrained(tmp_path / "own.safetensors", store, "own_models:student")
    views = Views(store, resolve(DistillSettings, {"variant": "nano", **QUICK}), CPU)
    clips = np.arange(4)
    streams, bodies = views.evaluation(clips), views.bodies(clips)
    logits = FrozenTeacher(f"{path}@own_models:student", store, CPU)(streams, bodies)
    model = read_checkpoint(path).build("own_models:student")
    torch.testing.assert_close(logits, model(streams, bodies))
    with pytest.raises(UserError, match="own_models:student"):
        FrozenTeacher(path, store, CPU)
