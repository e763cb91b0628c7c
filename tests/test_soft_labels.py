"""Several students on one teacher pass, and soft labels replayed from a cache."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from checkpoints import untrained
from click.testing import CliRunner
from safetensors import safe_open

from lastkd.cli.app import cli
from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.accelerator import make_accelerator
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.pipeline.request import find_inputs, resolve_all
from lastkd.runs.events import read_events
from lastkd.settings.resolve import TeacherCacheSettings, resolve
from lastkd.settings.runs import DistillSettings
from lastkd.training import teacher_cache
from lastkd.training.cache_builder import CacheBuilder
from lastkd.training.loop import train
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache

# 32 training clips in batches of 10: two clips an epoch are in no batch
SMALL = {"epochs": 2, "frames": 8, "batch_size": 10, "log_every": 1, "warmup_epochs": 1, "lr": 0.05}
SAME = ("frames", "seed", "epochs", "batch_size")


def settings(**given: Any) -> DistillSettings:
    return resolve(DistillSettings, SMALL | {"variant": "nano"} | given)


def filler(
    folder: Path, store: Path, teacher: Path, accelerator: Accelerator, **given: Any
) -> CacheBuilder:
    known = {name: SMALL[name] for name in SAME if name in SMALL} | given
    return CacheBuilder(folder, resolve(TeacherCacheSettings, known), store, teacher, accelerator)


def weights(folder: Path) -> str:
    return read_checkpoint(folder / "last.safetensors").weights_hash


@pytest.mark.parametrize("dropout", [None, 0.0])
def test_students_trained_together_end_as_they_would_alone(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator, dropout: float | None
) -> None:
    given = SMALL | {"epochs": 1, "variant": ("nano", "small", "large"), "dropout": dropout}
    given = {name: value for name, value in given.items() if value is not None}
    cohort = resolve_all(given, None)
    assert [own.loss.weights()[0] for own in cohort] == [0.7, 0.6, 0.5]
    folders = [tmp_path / own.variant for own in cohort]
    kept = {"data": store_path, "teacher": teacher, "accelerator": accelerator}
    train(cohort, folder=folders, **kept)
    for own, folder in zip(cohort, folders, strict=True):
        train(own, folder=tmp_path / f"{own.variant}-alone", **kept)
        assert weights(folder) == weights(tmp_path / f"{own.variant}-alone")
        events = list(read_events(folder / "events.jsonl"))
        assert events[0]["model"] == f"last_e_{own.variant}"
        assert events[-1]["state"] == "finished"
        steps = [event for event in events if event["event"] == "step"]
        assert all({"student_ms", "teacher_ms", "soft"} <= step.keys() for step in steps)


def test_replayed_and_live_runs_end_in_the_same_weights(
    tmp_path: Path,
    store_path: Path,
    teacher: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = {"data": store_path, "accelerator": accelerator}
    train(settings(), teacher=teacher, folder=tmp_path / "live", **kept)
    cached = settings(teacher_cache=tmp_path / "soft")
    train(cached, teacher=teacher, folder=tmp_path / "filling", **kept)

    def never(*_: object) -> None:
        raise AssertionError("the teacher was computed")

    monkeypatch.setattr(FrozenTeacher, "__init__", never)
    train(cached, teacher=teacher, folder=tmp_path / "replayed", **kept)
    train(cached, teacher=None, folder=tmp_path / "teacherless", **kept)
    folders = [tmp_path / name for name in ("live", "filling", "replayed", "teacherless")]
    assert len({weights(folder) for folder in folders}) == 1
    hashes = {read_checkpoint(f / "last.safetensors").info.teacher_hash for f in folders}
    assert hashes == {read_checkpoint(teacher).weights_hash}


def test_a_cache_holds_a_float16_row_for_every_training_clip(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    folder = tmp_path / "soft"
    cached = settings(teacher_cache=folder)
    train(
        cached, data=store_path, teacher=teacher, folder=tmp_path / "run", accelerator=accelerator
    )
    assert [p.name for p in sorted(folder.glob("*.safetensors"))] == [
        "epoch-0001.safetensors",
        "epoch-0002.safetensors",
    ]
    with safe_open(folder / "epoch-0001.safetensors", "pt") as file:
        logits = file.get_tensor("logits")
    assert (logits.dtype, tuple(logits.shape)) == (torch.float16, (32, 16))
    assert logits.any(dim=1).all()  # also the clips that no batch held
    assert (folder / "epoch-0001.safetensors").stat().st_size < 32 * 16 * 2 + 1000


def test_a_cache_built_ahead_equals_one_filled_by_a_run(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    cached = settings(teacher_cache=tmp_path / "by_run")
    train(
        cached, data=store_path, teacher=teacher, folder=tmp_path / "run", accelerator=accelerator
    )
    # another batch size too: on a CPU a clip's logits don't depend on its batch
    ahead = filler(tmp_path / "ahead", store_path, teacher, accelerator, batch_size=7)
    ahead.fill()
    for epoch in (1, 2):
        name = f"epoch-{epoch:04d}.safetensors"
        a, b = (tmp_path / folder / name for folder in ("by_run", "ahead"))
        assert a.read_bytes() == b.read_bytes()
    compared, difference = ahead.verify(20)
    assert compared == 20
    assert difference < 1e-3


def test_a_partly_filled_cache_is_continued(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    cached = settings(teacher_cache=tmp_path / "soft")
    kept = {"data": store_path, "accelerator": accelerator}
    train(cached, teacher=teacher, folder=tmp_path / "whole", **kept)
    second = tmp_path / "soft" / "epoch-0002.safetensors"
    before = second.read_bytes()
    second.unlink()
    with pytest.raises(UserError, match="lacks epoch 2"):
        train(cached, teacher=None, folder=tmp_path / "refused", **kept)
    assert not (tmp_path / "refused").exists()
    train(cached, teacher=teacher, folder=tmp_path / "continued", **kept)
    assert second.read_bytes() == before
    assert weights(tmp_path / "continued") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 9}, "seed .* 0 there and 9 here"),
        ({"frames": 9}, "--frames"),
        ({"crop_min": 0.9}, "--crop-min"),
        ({"turn_degrees": 3}, "--turn-degrees"),
        ({"scale": 0.3}, "--scale"),
    ],
)
def test_a_cache_of_other_views_is_refused_naming_the_difference(
    tmp_path: Path,
    store_path: Path,
    teacher: Path,
    accelerator: Accelerator,
    changed: dict[str, Any],
    words: str,
) -> None:
    filler(tmp_path / "soft", store_path, teacher, accelerator, epochs=1).fill()
    with pytest.raises(UserError, match=words):
        filler(tmp_path / "soft", store_path, teacher, accelerator, epochs=1, **changed)


def test_a_cache_of_another_teacher_or_store_is_refused(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    filler(tmp_path / "soft", store_path, teacher, accelerator, epochs=1).fill()
    other = untrained(tmp_path / "other.safetensors", store_path, seed=1, accuracy={"top1": 12.5})
    with pytest.raises(UserError, match="teacher's weights"):
        filler(tmp_path / "soft", store_path, other, accelerator, epochs=1)
    from lastkd.data.store.prepare import open_source, prepare
    from lastkd.data.synthetic.settings import SyntheticSettings

    larger = SyntheticSettings(subjects=6, clips_per_subject_and_action=1)
    prepare(open_source("synthetic", synthetic=larger), tmp_path / "larger")
    with pytest.raises(UserError, match="content hash"):
        filler(tmp_path / "soft", tmp_path / "larger", teacher, accelerator, epochs=1)


def test_a_damaged_or_foreign_epoch_is_named(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    one = filler(tmp_path / "soft", store_path, teacher, accelerator, epochs=1)
    one.fill()
    path = one.cache.path(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"epoch-0001\.safetensors: is damaged"):
        one.cache.read(1)
    two = filler(tmp_path / "other", store_path, teacher, accelerator, epochs=1, seed=5)
    two.fill()
    shutil.copy(two.cache.path(1), path)
    with pytest.raises(UserError, match=r"seed .* 5 there and 0 here"):
        one.cache.read(1)


def test_verify_finds_logits_that_differ_from_the_teachers(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    one = filler(tmp_path / "soft", store_path, teacher, accelerator, epochs=1)
    one.fill()
    wrong = one.cache.read(1).flip(0)
    one.cache.path(1).unlink()
    one.cache.write(1, wrong)
    assert one.verify(32)[1] > 0.01


def _race(folder: Path, store: Path, teacher: Path) -> None:
    torch.set_num_threads(1)
    one = filler(folder, store, teacher, make_accelerator(), epochs=4)
    one.fill()


def test_two_processes_fill_one_cache(
    tmp_path: Path, store_path: Path, teacher: Path, accelerator: Accelerator
) -> None:
    context = multiprocessing.get_context("spawn")
    both = [
        context.Process(target=_race, args=(tmp_path / "soft", store_path, teacher))
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    one = filler(tmp_path / "soft", store_path, teacher, accelerator, epochs=4)
    assert one.cache.missing(4) == []
    assert one.verify(128)[1] < 1e-3
    assert not list((tmp_path / "soft").glob(".*.part"))


def test_a_kill_while_writing_an_epoch_leaves_the_others_intact(
    tmp_path: Path,
    store_path: Path,
    teacher: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import lastkd.training.teacher_cache as module

    real, calls = module.save_file, []

    def killed(tensors: Any, path: Path, metadata: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        real(tensors, path, metadata)

    monkeypatch.setattr(module, "save_file", killed)
    one = filler(tmp_path / "soft", store_path, teacher, accelerator)
    with pytest.raises(KeyboardInterrupt):
        one.fill()
    assert one.cache.missing(2) == [2]
    one.fill()
    assert one.verify(64)[1] < 1e-3


def test_the_commands_build_and_verify(tmp_path: Path, store_path: Path, teacher: Path) -> None:
    said = ["--data", str(store_path), "--teacher", str(teacher), "--frames", "8", "--epochs", "1"]
    folder = str(tmp_path / "soft")
    built = CliRunner().invoke(cli, ["teacher-cache", "build", folder, *said])
    assert built.exit_code == 0, built.output
    assert "all 1 epochs are cached" in built.output
    verified = CliRunner().invoke(cli, ["teacher-cache", "verify", folder, *said, "--clips", "5"])
    assert "5 rows recomputed" in verified.output
    short = CliRunner().invoke(cli, ["teacher-cache", "verify", folder, *said, "--epochs", "3"])
    assert isinstance(short.exception, UserError)
    assert "lacks epoch 2" in str(short.exception)


def test_a_complete_cache_needs_no_teacher(
    tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: Accelerator
) -> None:
    monkeypatch.chdir(tmp_path)
    said = settings(data=store_path, teacher_cache=tmp_path / "soft")
    assert find_inputs(said) == (store_path, None)
    with pytest.raises(UserError, match="holds no soft labels yet, and no teacher was named"):
        train(said, data=store_path, teacher=None, folder=tmp_path / "run", accelerator=accelerator)


def test_a_cache_that_is_there_is_read_without_writing_to_its_disk(
    tmp_path: Path,
    store_path: Path,
    teacher: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = filler(tmp_path / "soft", store_path, teacher, accelerator).cache

    def refused(*_: Any, **__: Any) -> None:
        raise UserError("soft: cannot be written (Read-only file system)")

    for name in ("locked", "write_text"):
        monkeypatch.setattr(teacher_cache, name, refused)
    identity = TeacherIdentity.of(teacher, ClipStore.open(store_path))
    assert TeacherCache.open(tmp_path / "soft", cache.key, identity).key == cache.key
    with pytest.raises(UserError, match="Read-only"):
        TeacherCache.open(tmp_path / "another", cache.key, identity)


def test_the_key_contains_everything_that_soft_labels_depend_on(
    store_path: Path, teacher: Path
) -> None:
    store = ClipStore.open(store_path)
    identity = TeacherIdentity.of(teacher, store)
    key = CacheKey.of(identity, store, split_parts(store, "xsub"), seed=0, views=settings())
    assert (key.teacher, key.data) == (identity.weights_hash, store.content_hash)
    with pytest.raises(UserError, match="split"):
        TeacherCache.check(Path("soft"), key, key.model_copy(update={"split": "xview"}))
