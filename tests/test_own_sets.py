"""What `lastkd prepare` says of one's own set: wrong skeletons, equal clips, missing splits."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import untrained
from estimator_files import film, openpose
from made_up_sets import (
    PERFORMERS,
    annotations,
    lastkd,
    prepared,
    refused,
    synthetic_clips,
    write_pickle,
)
from one_set import as_npz

from lastkd.data.clip import Clip
from lastkd.data.store.clip_store import ClipStore
from lastkd.distill import distill_model
from lastkd.errors import UserError
from lastkd.evaluation.calibration import softmax
from lastkd.evaluation.checkpoint import evaluate_checkpoint, view_settings
from lastkd.evaluation.predict import Predictor
from lastkd.export.graph import ClipClassifier
from lastkd.models.checkpoint import read_checkpoint
from lastkd.models.registry import build_model
from lastkd.pipeline.settings import sequence_settings
from lastkd.runs.events import read_events
from lastkd.train import train_model


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return synthetic_clips()


@pytest.fixture
def own(tmp_path: Path, clips: list[Clip]) -> list[dict[str, Any]]:
    """Annotations of 16 classes by two performers, in the Kinect's order of joints."""
    return copy.deepcopy(annotations(clips))


# ------------------------------------------------------------------------------ the skeleton


@pytest.mark.parametrize("order", ["kinect20", "msr20", "utd20"])
@pytest.mark.parametrize("said", ["kinect20", "msr20", "utd20"])
def test_bones_that_change_their_length_tell_the_wrong_order_of_joints(
    tmp_path: Path, clips: list[Clip], order: str, said: str
) -> None:
    source = write_pickle(tmp_path / "set.pkl", annotations(clips, order))
    output, about = prepared(tmp_path, source, "--layout", said, *PERFORMERS)
    if order == said:
        assert about["warnings"] == [] and "warning" not in output
    else:
        (warning,) = (text for text in about["warnings"] if "order of layout" in text)
        assert f"prepare again with --layout {order}" in warning and warning in output


def test_the_published_order_of_nw_ucla_has_both_its_names(tmp_path: Path, own: list) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    assert prepared(tmp_path, source, "--layout", "ucla20", *PERFORMERS)[1]["warnings"] == []


# ------------------------------------------------------------------------------ equal clips


def with_copies(own: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The clips, and copies of the first ones as the other performer's under other names."""
    return own + [
        one | {"frame_dir": f"{one['frame_dir'][:3]}_s02_copy{at}"}
        for at, one in enumerate(own[:count])
    ]


def test_test_clips_that_equal_training_clips_are_counted_and_named(
    tmp_path: Path, own: list
) -> None:
    source = write_pickle(tmp_path / "set.pkl", with_copies(own, 5))
    output, about = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS)
    found = about["duplicates"]["xsub"]
    assert found["clips"] == 5 and about["equal_clips"] == 5
    assert found["of_class"] == {f"class {label}": 1 for label in range(5)}
    assert found["example"] == ["a01_s02_copy0", "a01_s01_e00"]
    assert "5 of 21 test clips of split 'xsub' equal a training clip in every number" in output
    shown = lastkd("info", tmp_path / "store").output
    assert "test clips of xsub that equal a training clip: 5\n    class 0: 1" in shown


def test_drop_duplicates_keeps_the_first_of_equal_clips(tmp_path: Path, own: list) -> None:
    source = write_pickle(tmp_path / "set.pkl", with_copies(own, 5))
    options = ("--layout", "kinect20", *PERFORMERS, "--drop-duplicates")
    _, about = prepared(tmp_path, source, *options)
    assert about["clips"] == len(own)
    assert about["left_out"] == {"clips that equal an earlier one left out": 5}
    assert about["duplicates"] == {} and about["warnings"] == []
    details = lastkd("info", tmp_path / "store", "--details").output
    assert "a01_s02_copy0: clips that equal an earlier one left out (a01_s01_e00)" in details


def test_clips_that_are_merely_alike_are_not_equal(tmp_path: Path, own: list) -> None:
    copies = with_copies(own, 1)
    copies[-1]["keypoint"] = copies[-1]["keypoint"].copy()
    copies[-1]["keypoint"][0, 3, 4, 0] += 1e-3
    source = write_pickle(tmp_path / "set.pkl", copies)
    _, about = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS)
    assert about["equal_clips"] == 0


# ------------------------------------------------------------------------------ splits


def test_a_set_without_a_split_is_told_how_to_get_one(tmp_path: Path, own: list) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    output, about = prepared(tmp_path, source, "--layout", "kinect20")
    assert "there is no split, and training needs one: prepare again with --split-by" in output
    with pytest.raises(UserError, match="has no split; prepare it again with --split-by"):
        ClipStore.open(tmp_path / "store").split_name()
    assert about["splits"] == {}


def test_names_in_splits_that_no_clip_has_are_told_with_one_of_each_side(
    tmp_path: Path, own: list
) -> None:
    names = [one["frame_dir"] for one in own]
    split = {"train": [f"{n}.avi" for n in names[:8]], "val": [f"{n}.avi" for n in names[8:]]}
    source = write_pickle(tmp_path / "set.pkl", own, split)
    message = refused(tmp_path, source, "--layout", "kinect20")
    assert "names 'a01_s01_e00.avi', and clips are called 'a01_s01_e00'" in message
    _, about = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS)
    assert about["splits"] == {"xsub": {"train": 16, "test": 16}}


def test_a_benchmarks_numbers_are_only_claimed_where_they_were_compared(
    tmp_path: Path, clips: list[Clip]
) -> None:
    source = as_npz(synthetic_clips(3), tmp_path).rename(tmp_path / "mine.npz")
    output, about = prepared(tmp_path, source)
    assert "every split has the numbers" not in output
    assert about["benchmark_differences"] == [
        "NTU RGB+D 60: nothing to compare with its numbers, since of its splits xsub and xview the "
        "store has neither, but only default"
    ]


@pytest.mark.parametrize(
    ("rule", "name", "train", "test"),
    [
        ("performer", "xsub", 16, 16),
        ("performer 2", "xsub", 16, 16),
        ("mine=performer:1", "mine", 16, 16),
        ("share 0.75", "share", 16, 16),  # two clips a class: one on each side
        ("by chance=share:0.5", "by chance", 16, 16),
    ],
)
def test_a_split_is_made_by_a_rule(
    tmp_path: Path, own: list, rule: str, name: str, train: int, test: int
) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    _, about = prepared(tmp_path, source, "--layout", "kinect20", "--split-by", rule)
    assert about["splits"] == {name: {"train": train, "test": test}}
    store = ClipStore.open(tmp_path / "store")
    members = {part: [store.names[i] for i in of] for part, of in store.splits[name].items()}
    if "performer" in rule:
        trains = "s02" if rule.endswith("2") else "s01"
        assert all(trains in clip for clip in members["train"])
    else:
        assert len({clip[:3] for clip in members["train"]}) == 16


def test_a_share_is_one_of_each_class_and_the_same_every_time(tmp_path: Path) -> None:
    source = write_pickle(tmp_path / "set.pkl", annotations(synthetic_clips(5)))
    _, about = prepared(tmp_path, source, "--layout", "kinect20", "--split-by", "share 0.6")
    assert about["splits"] == {"share": {"train": 48, "test": 32}}
    first = ClipStore.open(tmp_path / "store").splits["share"]["train"].tolist()
    done = lastkd(
        "prepare",
        source,
        "--layout",
        "kinect20",
        "--split-by",
        "share 0.6",
        "--out",
        tmp_path / "b",
    )
    assert done.exit_code == 0
    assert ClipStore.open(tmp_path / "b").splits["share"]["train"].tolist() == first


def test_a_split_by_two_lists_and_another_beside_it(tmp_path: Path, own: list) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    names = [one["frame_dir"] for one in own]
    (tmp_path / "train.txt").write_text("".join(f"videos/{name}.avi 3\n" for name in names[:20]))
    (tmp_path / "test.txt").write_text("\n".join(names[20:25]))
    rule = f"list {tmp_path}/train.txt {tmp_path}/test.txt"
    _, about = prepared(
        tmp_path, source, "--layout", "kinect20", "--split-by", rule, "--split-by", "performer"
    )
    assert about["splits"] == {
        "list": {"train": 20, "test": 5},
        "xsub": {"train": 16, "test": 16},
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["share"], "--split-by share: needs the share of each class that trains"),
        (["share 1.5"], "needs the share of each class"),
        (["list a.txt"], "needs two files"),
        (["list nowhere.txt nowhere.txt"], "nowhere.txt: cannot be read"),
        (["colour"], "--split-by colour: is no rule; give performer, camera or setup"),
        (["camera"], "nobody knows the camera of 'a01_s01_e00'; give a --labels file"),
        (["performer 7"], "no clip has the performer 7; known: 1, 2"),
        (["performer 1,2"], "leaves the test part empty"),
        (["performer", "performer 1"], "two splits would be called 'xsub'; name one"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_a_mistake(
    tmp_path: Path, own: list, rules: list[str], message: str
) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    options = [word for rule in rules for word in ("--split-by", rule)]
    assert message in refused(tmp_path, source, "--layout", "kinect20", *options)


def test_lists_without_any_clip_are_told_before_anything_is_read(tmp_path: Path, own: list) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    (tmp_path / "train.txt").write_text("v_1\n")
    rule = f"list {tmp_path}/train.txt {tmp_path}/train.txt"
    message = refused(tmp_path, source, "--layout", "kinect20", "--split-by", rule)
    assert "it names 'v_1', and clips are called 'a01_s01_e00'" in message
    assert not (tmp_path / "store.part").exists()


@pytest.mark.parametrize("asked", ["fold 1", "fold1", "Fold_1", "fold-1"])
def test_fold_names_work_without_pain(tmp_path: Path, own: list, asked: str) -> None:
    names = [one["frame_dir"] for one in own]
    split = {"train1": names[:20], "test1": names[20:], "train2": names[8:], "test2": names[:8]}
    source = write_pickle(tmp_path / "set.pkl", own, split)
    prepared(tmp_path, source, "--layout", "kinect20")
    store = ClipStore.open(tmp_path / "store")
    assert store.split_name(asked) == "fold 1"
    assert len(store.split(asked)[0]) == 20
    with pytest.raises(UserError, match="has the splits 'fold 1', 'fold 2'; choose one"):
        store.split_name()


# ------------------------------------------------------------------------ labels, names, slots


def test_labels_that_count_from_1_are_noticed(tmp_path: Path, own: list) -> None:
    for one in own:
        one["label"] += 1
    source = write_pickle(tmp_path / "set.pkl", own)
    output, _ = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS)
    assert "the labels seem to count from 1; subtract 1 from each" in output


def test_bad_clips_are_listed_and_counted_and_strict_ends_it(tmp_path: Path, own: list) -> None:
    own[3]["label"] = -1
    own[4]["keypoint"] = None
    own[5]["keypoint"][:] = np.nan
    source = write_pickle(tmp_path / "set.pkl", own)
    output, about = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS)
    assert about["clips"] == len(own) - 3
    assert about["left_out"] == {
        "bad samples left out": 2,
        "clips without any body left out": 1,
    }
    assert "'a04_s01_e03' has the label -1" in output
    details = lastkd("info", tmp_path / "store", "--details").output
    assert "a05_s01_e04: bad: " in details
    done = lastkd("prepare", source, "--out", tmp_path / "t", "--layout", "kinect20", "--strict")
    assert "'a04_s01_e03' has the label -1" in str(done.exception)
    assert not (tmp_path / "t").exists() and not (tmp_path / "t.part").exists()


@pytest.mark.parametrize(
    ("options", "name"), [((), "kitchen"), (("--name", "My kitchen"), "My kitchen")]
)
def test_a_store_has_a_name(tmp_path: Path, own: list, options: tuple, name: str) -> None:
    source = write_pickle(tmp_path / "kitchen.pkl", own)
    _, about = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS, *options)
    assert (about["name"], about["source"]) == (name, "pyskl pickle")
    shown = lastkd("info", tmp_path / "store").output
    assert shown.startswith(f"{tmp_path / 'store'}: {name} (pyskl pickle)")


def hands(T: int = 30, seed: int = 0) -> dict[str, Any]:
    """A clip of a left hand that rests and a right one that moves; the left one comes late."""
    rng = np.random.default_rng(seed)
    keypoint = 0.1 * rng.normal(size=(2, 1, 21, 3)) + np.zeros((2, T, 21, 3))
    keypoint[1] += np.linspace(0, 2, T)[:, None, None]
    keypoint[0, :12] = 0
    return {"frame_dir": "hands", "label": 0, "keypoint": keypoint + 1e-3, "total_frames": T}


def test_keep_bodies_leaves_left_and_right_in_their_slots(tmp_path: Path) -> None:
    one = hands()
    one["keypoint"][0, :12] = 0
    only_right = copy.deepcopy(one) | {"frame_dir": "right", "label": 1}
    only_right["keypoint"][0] = 0
    source = write_pickle(tmp_path / "set.pkl", [one, only_right])
    _, about = prepared(tmp_path, source, "--layout", "hand21", "--keep-bodies")
    assert about["bodies"] == {"body 0": 1, "body 1": 2}
    store = ClipStore.open(tmp_path / "store")
    both, right = store.clip(0), store.clip(1)
    assert not both[:12, 0].any() and both[12:, 0].any() and both[:, 1].any()
    assert not right[:, 0].any() and right[:, 1].all(axis=(1, 2)).any()
    ranked = tmp_path / "moves-most-first"
    assert lastkd("prepare", source, "--out", ranked, "--layout", "hand21").exit_code == 0
    assert ClipStore.open(ranked).clip(0)[:12, 0].any(), "the hand that moves is actor 1"


def hands_of_two_classes(share: float) -> list[dict[str, Any]]:
    """Twenty clips; of a share of them the first hand is absent."""
    clips = []
    for at in range(20):
        clip = hands(seed=at) | {"frame_dir": f"hands-{at}", "label": at % 2}
        clip["keypoint"][0, : None if at < 20 * share else 12] = 0
        clips.append(clip)
    return clips


@pytest.mark.parametrize(("share", "clips"), [(0.3, 6), (0.0, 0)])
def test_a_first_slot_that_is_often_empty_is_said_since_a_student_sees_nothing_there(
    tmp_path: Path, share: float, clips: int
) -> None:
    source = write_pickle(tmp_path / "set.pkl", hands_of_two_classes(share))
    options = ("--layout", "hand21", "--keep-bodies", "--split-by", "share 0.5")
    _, about = prepared(tmp_path, source, *options)
    said = [warning for warning in about["warnings"] if "LAST-E" in warning]
    assert len(said) == (1 if clips else 0)
    if clips:
        assert said[0].startswith(f"body 0 is absent from most of {clips} of 20 clips")


def test_kept_slots_mean_the_same_in_evaluation_prediction_and_exported_files(
    tmp_path: Path,
) -> None:
    source = write_pickle(tmp_path / "set.pkl", hands_of_two_classes(0.5))
    options = ("--layout", "hand21", "--keep-bodies", "--split-by", "share 0.5")
    prepared(tmp_path, source, *options)
    store = ClipStore.open(tmp_path / "store")
    tiny = build_model("last_v2_tiny", 2, store.layout).architecture.for_training()
    path = untrained(tmp_path / "a.safetensors", store, tiny, keep_bodies=store.keeps_bodies)
    _, test = store.split("share")
    evaluated = evaluate_checkpoint(path, store.path).predictions.logits
    predictor = Predictor(path)
    exported = ClipClassifier(read_checkpoint(path).build(), view_settings(predictor.info))
    for at, clip in enumerate(test.tolist()):
        joints = store.clip(clip)
        raw = hands_of_two_classes(0.5)[int(store.names[clip].split("-")[1])]["keypoint"]
        named = Predictor(path, data=store.path)(store.names[clip])
        new = predictor(raw.transpose(1, 0, 2, 3))
        with torch.no_grad():
            graph = exported(exported.fitted(torch.from_numpy(joints))).numpy()
        np.testing.assert_allclose(graph[0], evaluated[at], atol=1e-4)
        for prediction in (named, new):
            np.testing.assert_allclose(prediction.probabilities, softmax(evaluated[at]), atol=1e-4)


def test_formats_without_slots_have_none_to_keep(tmp_path: Path) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    said = refused(tmp_path, source, "--keep-bodies")
    assert "in no slots that could be kept; leave out --keep-bodies" in said


# ------------------------------------------------------------------------ no command asks for xsub


def test_every_command_takes_the_only_split_that_there_is(
    tmp_path: Path, own: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_pickle(tmp_path / "set.pkl", own)
    rule = ("--split-by", "by person=performer")
    prepared(tmp_path, source, "--layout", "kinect20", *rule)
    short = {"epochs": 1, "frames": 8, "batch_size": 16, "warmup_epochs": 0, "lr": 0.01}
    teacher = train_model("last_v2_tiny", data="store", run="teacher", **short)
    student = distill_model("nano", data="store", teacher=teacher, run="nano", **short)
    assert isinstance(student, Path)
    start = next(event for event in read_events(Path("nano/events.jsonl")))
    assert start["settings"]["split"] == "by person"
    assert (start["data"]["name"], start["data"]["train"]) == ("set", 16)
    evaluation = lastkd("evaluate", student, "--data", "store")
    assert evaluation.exit_code == 0, evaluation.exception
    assert "nano/best.safetensors on store, by person" in evaluation.output
    assert evaluate_checkpoint(student, "store").predictions.about["split"] == "by person"
    sequence = sequence_settings({"data": Path("store")}, None)
    assert sequence.split == "by person"


def test_a_checkpoint_knows_its_split_among_several(tmp_path: Path, own: list) -> None:
    source = write_pickle(tmp_path / "set.pkl", own)
    rules = ("--split-by", "a=performer 1", "--split-by", "b=performer 2")
    prepared(tmp_path, source, "--layout", "kinect20", *rules)
    store = ClipStore.open(tmp_path / "store")
    assert store.split_name("auto", preferred="b") == "b"
    with pytest.raises(UserError, match="has the splits 'a', 'b'; choose one by --split"):
        train_model("last_e_nano", data=tmp_path / "store", run=tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()
