"""The validation part: who is kept out, what it chooses, and the one use of the test part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_info
from lastkd.runs.events import read_events
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training.loop import train


def store_of(folder: Path, names: list[str], labels: list[int] | None = None) -> ClipStore:
    """All clips are in the training part but the last."""
    joints = np.random.default_rng(0).normal(size=(5, 1, 25, 3)).astype(np.float32)
    labels = labels or [number % 2 for number in range(len(names))]
    with StoreWriter(folder / "s", get_layout("ntu25")) as writer:
        for name, label in zip(names, labels, strict=True):
            writer.add(Clip(name, label, joints))
        writer.finish(
            class_names=["a", "b"],
            splits={"xsub": {"train": names[:-1], "test": names[-1:]}},
            source="made up",
            counts={},
        )
    return ClipStore.open(folder / "s")


def performers_in(store: ClipStore, clips: Any) -> set[str]:
    return {store.names[clip].split("_")[1] for clip in clips}


@pytest.mark.parametrize(
    ("rule", "kept_out"), [("0.2", 1), ("0.4", 2), ("performers:3", 3), ("fold:2/5", 1)]
)
def test_whole_performers_are_kept_out_of_training(
    tmp_path: Path, rule: str, kept_out: int
) -> None:
    names = [f"a{a}_s{s}_t{t}" for s in range(1, 6) for a in (1, 2) for t in (1, 2, 3)]
    store = store_of(tmp_path, [*names, "a1_s9_t1"])
    parts = split_parts(store, "xsub", rule)
    assert parts.validation is not None
    assert performers_in(store, parts.test) == {"s9"}
    out = performers_in(store, parts.validation)
    assert len(out) == kept_out
    assert out.isdisjoint(performers_in(store, parts.train))
    assert len(parts.train) + len(parts.validation) == len(names)
    again = split_parts(store, "xsub", rule)
    assert parts.validation_hash == again.validation_hash
    for performer in out:
        assert performer[1:] in parts.held_out


def test_folds_are_apart_and_make_up_the_whole(tmp_path: Path) -> None:
    names = [f"a{a}_s{s}_t1" for s in range(1, 8) for a in (1, 2)]
    store = store_of(tmp_path, [*names, "a1_s9_t1"])
    folds = [split_parts(store, "xsub", f"fold:{k}/3").validation for k in (1, 2, 3)]
    assert all(fold is not None for fold in folds)
    together = np.concatenate([fold for fold in folds if fold is not None])
    assert sorted(together) == list(range(len(names)))


def test_the_stores_own_performers_are_used(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    parts = split_parts(store, "xsub", "performers:1")
    assert parts.validation is not None
    assert len(set(store.performers[parts.validation])) == 1
    assert set(store.performers[parts.validation]).isdisjoint(store.performers[parts.train])


def test_two_people_who_change_places_are_one_pair(tmp_path: Path) -> None:
    names = [f"s0{a}s0{b}_a1_r{r}" for a, b in ((1, 2), (2, 1), (3, 4), (4, 3)) for r in (1, 2)]
    store = store_of(tmp_path, [*names, "s05s06_a1_r1"])
    parts = split_parts(store, "xsub", "performers:1")
    assert parts.validation is not None
    pairs = {"".join(sorted(store.names[clip][:6].split("s"))) for clip in parts.validation}
    assert len(parts.validation) == 4
    assert len(pairs) == 1


def test_unknown_performers_leave_a_share_of_each_class(tmp_path: Path) -> None:
    labels = [0] * 40 + [1] * 10 + [0]
    store = store_of(tmp_path, [f"clip{n:03}" for n in range(51)], labels)
    parts = split_parts(store, "xsub", "0.2")
    assert parts.validation is not None
    assert np.bincount(store.labels[parts.validation]).tolist() == [8, 2]
    with pytest.raises(UserError, match="--performers"):
        split_parts(store, "xsub", "performers:1")


def test_performers_come_from_an_expression_or_a_file(tmp_path: Path) -> None:
    names = [f"{who}-{n}" for who in ("ann", "bob", "cy") for n in range(4)]
    store = store_of(tmp_path, [*names, "dee-0"])
    table = tmp_path / "who.csv"
    table.write_text("clip,performer\n" + "".join(f"{n},{n[:-2]}\n" for n in names))
    by_name = split_parts(store, "xsub", "performers:1", r"^(\w+)-")
    by_file = split_parts(store, "xsub", "performers:1", str(table))
    assert by_name.validation_hash == by_file.validation_hash
    assert len({store.names[clip][:-2] for clip in by_name.evaluated}) == 1
    table.write_text("ann-0,ann\n")
    with pytest.raises(UserError, match="says nothing of the clip"):
        split_parts(store, "xsub", "0.3", str(table))
    with pytest.raises(UserError, match="doesn't match the clip"):
        split_parts(store, "xsub", "0.3", r"^(ann)-")


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"validation": "a lot"}, "is no validation part"),
        ({"validation": "1.5"}, "is no validation part"),
        ({"validation": "fold:4/3"}, "is no validation part"),
        ({"performers": "("}, "is no regular expression"),
        ({"performers": "s1"}, "needs a group"),
    ],
)
def test_mistakes_in_settings_are_one_sentence(given: dict[str, str], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        resolve(TrainSettings, {"model": "last_e_nano", **given})


def test_impossible_parts_are_refused(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    for rule, hint in (
        ("performers:2", "leaves nobody to train on"),
        ("fold:1/9", "too few for 9 folds"),
        ("part", "no validation part of its own"),
    ):
        with pytest.raises(UserError, match=hint):
            split_parts(store, "xsub", rule)


QUICK = {"epochs": 3, "frames": 8, "batch_size": 8, "seed": 1, "log_every": 1, "warmup_epochs": 0}


def test_the_validation_part_chooses_and_the_test_part_is_used_once_at_the_end(
    tmp_path: Path, store_path: Path, accelerator: Accelerator
) -> None:
    settings = resolve(
        TrainSettings, {"model": "last_e_nano", "validation": "performers:1", "ema": 0.9, **QUICK}
    )
    folder = tmp_path / "run"
    train(settings, data=store_path, teacher=None, folder=folder, accelerator=accelerator)
    events = list(read_events(folder / "events.jsonl"))
    start, end = events[0], events[-1]
    assert start["data"]["validation"] == 16
    assert start["data"]["train"] == 16
    kinds = [event["event"] for event in events]
    assert kinds.count("test") == 2
    assert kinds.index("test") > max(n for n, kind in enumerate(kinds) if kind == "epoch")
    epochs = [event for event in events if event["event"] == "epoch"]
    assert all(event["part"] == "validation" and event["clips"] == 16 for event in epochs)
    best = max(epochs, key=lambda event: event["top1"])
    assert end["best_epoch"] == best["epoch"]
    for file in ("best", "last"):
        info = read_info(folder / f"{file}.safetensors")
        tested = next(e for e in events if e.get("checkpoint") == f"{file}.safetensors")
        assert info.accuracy["top1"] == tested["top1"] == end["test"][file]["top1"]
        assert info.accuracy["clips"] == 32
        assert info.accuracy["validation"]["clips"] == 16
    assert "validation part of xsub" in str(read_info(folder / "best.safetensors").chosen_by)
    run = Run.read(folder)
    assert run.chooser == "validation"
    assert run.last is not None
    assert run.last["clips"] == 32
    assert run.validated == epochs[-1]


def test_a_run_with_another_validation_part_is_another_run(
    tmp_path: Path, store_path: Path, accelerator: Accelerator
) -> None:
    kept = {"data": store_path, "teacher": None, "folder": tmp_path, "accelerator": accelerator}
    given = {"model": "last_e_nano", **QUICK, "epochs": 1}
    train(resolve(TrainSettings, given), **kept)
    with pytest.raises(UserError, match="holds a run that differs"):
        train(resolve(TrainSettings, {**given, "validation": "performers:1"}), **kept)


def test_a_splits_own_third_part_is_kept_as_it_is(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).normal(size=(5, 1, 25, 3)).astype(np.float32)
    names = [f"c{number}" for number in range(6)]
    with StoreWriter(tmp_path / "s", get_layout("ntu25")) as writer:
        for name in names:
            writer.add(Clip(name, 0, joints))
        writer.finish(
            class_names=["a"],
            splits={"xsub": {"train": names[:3], "validation": names[3:5], "test": names[5:]}},
            source="made up",
            counts={},
        )
    store = ClipStore.open(tmp_path / "s")
    parts = split_parts(store, "xsub", "part")
    assert parts.validation is not None
    assert [list(part) for part in (parts.train, parts.validation, parts.test)] == [
        [0, 1, 2],
        [3, 4],
        [5],
    ]
    assert split_parts(store, "xsub").validation is None  # unless it is asked for
