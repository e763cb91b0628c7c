"""pyskl's and MMAction2's pickles, in every form that scripts write them in."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import shared

from lastkd.data.clip import Clip
from lastkd.data.formats.base import Reading, SourceOptions
from lastkd.data.formats.datasets.pyskl import PysklPickle
from lastkd.data.open_source import open_source
from lastkd.data.store.prepare import prepare
from lastkd.errors import UserError


def dump(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def annotation(
    name: str = "a", label: Any = 0, *, M: int = 1, V: int = 25, C: int = 3, T: int = 8
) -> dict[str, Any]:
    """A clip whose first body moves most."""
    keypoint = np.random.default_rng(3).uniform(1, 2, size=(M, T, V, C))
    keypoint *= np.linspace(2, 1, M)[:, None, None, None]
    keypoint = keypoint.astype(np.float16)
    return {"frame_dir": name, "label": label, "keypoint": keypoint, "total_frames": T}


def pyskl(
    tmp_path: Path, *annotations: Any, split: Any = None, layout: str = "ntu25"
) -> PysklPickle:
    content = {"split": split or {}, "annotations": list(annotations)}
    path = dump(tmp_path / "set.pkl", content)
    return PysklPickle.open([path], SourceOptions(layout=layout))


def readings(source: PysklPickle) -> list[Reading]:
    return list(source.read(0, len(source)))


def only_clip(source: PysklPickle) -> Clip:
    (clip,) = source
    return clip


def test_keypoints_become_time_first_float32(tmp_path: Path) -> None:
    one = annotation(M=2, label=3)
    source = pyskl(tmp_path, one)
    clip = only_clip(source)
    assert clip.joints.dtype == np.float32
    np.testing.assert_array_equal(clip.joints, one["keypoint"].transpose(1, 0, 2, 3))
    assert (clip.name, clip.label, clip.performer, clip.camera, clip.setup) == ("a", 3, -1, -1, -1)
    assert source.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert len(source) == 1


def test_second_body_of_zeros_is_dropped(tmp_path: Path) -> None:
    one = annotation(M=2)
    one["keypoint"][1] = 0
    assert only_clip(pyskl(tmp_path, one)).joints.shape == (8, 1, 25, 3)


def test_of_three_bodies_the_two_that_move_most_are_kept(tmp_path: Path) -> None:
    one = annotation(M=3)
    one["keypoint"] = one["keypoint"][[1, 2, 0]]
    source = pyskl(tmp_path, one)
    np.testing.assert_array_equal(
        only_clip(source).joints, one["keypoint"][[2, 0]].transpose(1, 0, 2, 3)
    )
    assert source.counts == {"bodies beside two actors left out": 1}


def test_total_frames_trims_the_padding(tmp_path: Path) -> None:
    assert len(only_clip(pyskl(tmp_path, annotation() | {"total_frames": 5})).joints) == 5


def test_clips_with_nothing_to_see_are_left_out_and_counted(tmp_path: Path) -> None:
    nobody = annotation("nobody")
    nobody["keypoint"][:] = 0
    source = pyskl(tmp_path, annotation("empty") | {"total_frames": 0}, nobody, annotation("seen"))
    assert [clip.name for clip in source] == ["seen"]
    assert source.counts == {
        "clips without any frame left out": 1,
        "clips without any body left out": 1,
    }
    assert len(source) == 3


def test_frames_without_anybody_are_dropped_and_counted(tmp_path: Path) -> None:
    one = annotation(T=40)
    one["keypoint"][:, [0, 20, 21, 39]] = 0
    source = pyskl(tmp_path, one)
    assert len(only_clip(source).joints) == 36
    assert source.counts == {"frames without a body left out": 4}
    padded = {name: value for name, value in one.items() if name != "total_frames"}
    list(padding := pyskl(tmp_path, padded))
    assert padding.counts == {"frames without a body left out": 3}, "the last one is padding"


def test_2d_score_is_the_third_channel(tmp_path: Path) -> None:
    one = annotation(V=17, C=2)
    one["keypoint_score"] = np.linspace(0.1, 0.9, 8 * 17, dtype=np.float16).reshape(1, 8, 17)
    one["keypoint"][0, 2, 4] = 0
    one["total_frames"] = 6
    joints = only_clip(pyskl(tmp_path, one, layout="coco17")).joints
    expected = one["keypoint_score"][0, :6].astype(np.float32)
    expected[2, 4] = 0
    np.testing.assert_array_equal(joints[:, 0, :, 2], expected)
    np.testing.assert_array_equal(joints[:, 0, :, :2], one["keypoint"][0, :6])


def test_2d_without_a_score_has_1_where_something_was_seen(tmp_path: Path) -> None:
    one = annotation(V=17, C=2, M=2)
    one["keypoint"][1, 3] = 0
    joints = only_clip(pyskl(tmp_path, one, layout="coco17")).joints
    assert (joints[:, 0, :, 2] == 1).all()
    assert not joints[3, 1].any()


def test_three_channels_in_a_2d_layout_are_x_y_and_score(tmp_path: Path) -> None:
    one = annotation(V=17, C=3)
    joints = only_clip(pyskl(tmp_path, one, layout="coco17")).joints
    np.testing.assert_array_equal(joints[:, 0], one["keypoint"][0])


def test_a_third_channel_that_cannot_be_a_score_is_a_coordinate(tmp_path: Path) -> None:
    one = annotation(V=17, C=3)
    one["keypoint"] -= 3
    with pytest.raises(UserError, match=r"third channel is a coordinate; use --layout h36m17"):
        pyskl(tmp_path, one, layout="coco17")


def test_ntu_names_tell_who_where_and_which_class(tmp_path: Path) -> None:
    source = pyskl(tmp_path, annotation("S002C003P008R001A060", label=59))
    clip = only_clip(source)
    assert (clip.performer, clip.camera, clip.setup) == (8, 3, 2)
    assert len(source.class_names) == 60
    assert source.class_names[59] == "walking apart"


def test_ntu_class_names_are_not_given_to_labels_that_mean_something_else(tmp_path: Path) -> None:
    source = pyskl(tmp_path, annotation("S002C003P008R001A060", label=0))
    assert source.class_names == ("class 0",)
    assert only_clip(source).performer == 8


# ------------------------------------------------------------------------------ splits


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        (("xsub_train", "xsub_val"), "xsub"),
        (("xset_train", "xset_test"), "xset"),
        (("train", "val"), "default"),
        (("train1", "test1"), "fold 1"),
        (("Train", "Valid"), "default"),
        (("XSub_TRAIN", "XSub_validation"), "XSub"),
        (("sub_train", "sub_dev"), "sub"),
        (("training", "test"), "default"),
    ],
)
def test_split_parts_are_paired(tmp_path: Path, keys: tuple[str, str], title: str) -> None:
    split = {keys[0]: ["a", "gone"], keys[1]: ["b"]}
    source = pyskl(tmp_path, annotation("a"), annotation("b"), split=split)
    clips = list(source)
    assert source.splits(clips) == {title: {"train": ["a"], "test": ["b"]}}
    assert source.counts == {"names in splits without a clip left out": 1}
    assert source.splits(clips[:1]) == {title: {"train": ["a"], "test": []}}


def test_beside_a_test_part_val_is_the_validation_part(tmp_path: Path) -> None:
    split = {"x_train": ["a"], "x_val": ["b"], "x_test": ["c"]}
    source = pyskl(tmp_path, *map(annotation, "abc"), split=split)
    parts = {"train": ["a"], "test": ["c"], "validation": ["b"]}
    assert source.splits(list(source)) == {"x": parts}


@pytest.mark.parametrize(
    "kind", [list, tuple, set, frozenset, np.array, lambda n: np.array(n, object)]
)
def test_a_part_may_be_any_collection_of_names(
    tmp_path: Path, kind: Callable[[list[str]], Any]
) -> None:
    split = OrderedDict(train=kind(["b", "a"]), val=kind(["c"]))
    source = pyskl(tmp_path, *map(annotation, "abc"), split=split)
    train = source.splits(list(source))["default"]["train"]
    assert train == (["a", "b"] if kind in (set, frozenset) else ["b", "a"]), "a set has no order"


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"xsub_train": ["a"]}, "split 'xsub' has no _val or _test part"),
        ({"xsub_val": ["a"]}, "split 'xsub' has no _train part"),
        ({"xsub": ["a"]}, "split 'xsub' ends neither in _train"),
        ({"xsub_train": ["a"], "xsub_val": ["a"]}, "has 'a' in both of its parts"),
        ({"xsub_train": "a"}, "'split' must hold lists of names"),
        ([1], "'split' must hold lists of names"),
        ({"train": ["b.avi"], "val": ["a.avi"]}, r"names 'b\.avi', and clips are called 'a'"),
        ({"train": ["a"], "val": ["c.avi"]}, r"of the test part .* names 'c\.avi'"),
        ({"train": ["a"], "val": []}, "the test part of split 'default' is empty"),
    ],
)
def test_a_split_that_compares_nothing_is_refused(tmp_path: Path, split: Any, message: str) -> None:
    with pytest.raises(UserError, match=rf"set\.pkl: .*{message}"):
        pyskl(tmp_path, annotation("a"), split=split)


def test_train_and_val_may_be_two_files(tmp_path: Path) -> None:
    train = dump(tmp_path / "my_train.pkl", [annotation("a"), annotation("b", 1)])
    val = dump(tmp_path / "my_val.pkl", [annotation("c", 1)])
    source = open_source([str(train), str(val)])
    assert [clip.name for clip in source] == ["a", "b", "c"]
    assert source.splits(list(source)) == {"default": {"train": ["a", "b"], "test": ["c"]}}
    with pytest.raises(UserError, match="its name says neither train nor val"):
        open_source([str(train), str(dump(tmp_path / "rest.pkl", [annotation("d")]))])


# ------------------------------------------------------------------------------ other spellings


def nested(value: Any) -> Any:
    return value.tolist()


def objects(value: Any) -> Any:
    array = np.empty(len(value), object)
    for at, one in enumerate(value):
        array[at] = one.astype(np.float32)
    return array


@pytest.mark.parametrize("spell", [nested, objects, lambda value: [list(one) for one in value]])
def test_keypoints_may_be_lists_and_arrays_of_objects(
    tmp_path: Path, spell: Callable[[Any], Any]
) -> None:
    one = annotation(M=2)
    expected = only_clip(pyskl(tmp_path, one)).joints
    other = only_clip(pyskl(tmp_path, one | {"keypoint": spell(one["keypoint"])})).joints
    np.testing.assert_array_equal(other, expected)


def test_one_body_needs_no_axis_of_bodies(tmp_path: Path) -> None:
    one = annotation(V=17, C=2)
    score = np.full((8, 17), 0.5)
    flat = one | {"keypoint": one["keypoint"][0], "keypoint_score": score}
    joints = only_clip(pyskl(tmp_path, flat, layout="coco17")).joints
    np.testing.assert_array_equal(joints[:, 0, :, :2], one["keypoint"][0])
    assert (joints[..., 2] == 0.5).all()


def test_a_score_may_have_a_last_axis(tmp_path: Path) -> None:
    one = annotation(V=17, C=2, M=2) | {"keypoint_score": np.full((2, 8, 17, 1), 0.5)}
    assert (only_clip(pyskl(tmp_path, one, layout="coco17")).joints[..., 2] == 0.5).all()


def test_a_body_that_is_none_is_absent(tmp_path: Path) -> None:
    one = annotation(M=2)
    one["keypoint"] = [None, list(one["keypoint"][1])]
    assert only_clip(pyskl(tmp_path, one)).joints.shape == (8, 1, 25, 3)
    frames = annotation(T=40)
    body = [frame.tolist() for frame in frames["keypoint"][0]]
    body[3] = None
    assert only_clip(pyskl(tmp_path, frames | {"keypoint": [body]})).joints.shape[0] == 39


@pytest.mark.parametrize(
    "label", [2.0, np.int64(2), np.array(2), np.array([2]), [2], np.eye(5)[2], [0, 0, 1, 0]]
)
def test_labels_may_be_arrays_and_one_hot(tmp_path: Path, label: Any) -> None:
    assert only_clip(pyskl(tmp_path, annotation(label=label))).label == 2


def test_dicts_may_be_those_of_collections(tmp_path: Path) -> None:
    split = defaultdict(list, train=["a"], val=["b"])
    content = OrderedDict(split=split, annotations=[OrderedDict(annotation(n)) for n in "ab"])
    path = dump(tmp_path / "set.pkl", content)
    source = open_source(str(path))
    assert len(list(source)) == 2 and "default" in source.splits(list(source))


# ------------------------------------------------------------------------------ bad clips


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in annotation("bad").items() if name != key}


BAD_CLIPS: list[tuple[Any, str]] = [
    (annotation("bad", label=-1), "'bad' has the label -1"),
    (annotation("bad", label=1.5), "'bad' has the label 1.5"),
    (annotation("bad", label=True), "'bad' has the label True"),
    (annotation("bad", label=10**9), "'bad' has the label 1000000000"),
    (annotation("bad", V=21), "'bad' has 21 joints, where the layout ntu25 has 25"),
    (annotation("bad", C=5), "'bad' has 5 channels"),
    (annotation("bad") | {"total_frames": -1}, "'bad' has total_frames -1"),
    (
        annotation("bad") | {"keypoint": np.zeros((2, 25))},
        "'bad' has a 'keypoint' of shape (2, 25)",
    ),
    (annotation("bad") | {"keypoint": [[1, 2]]}, "'bad' has shape (1, 2)"),
    (annotation("bad") | {"keypoint": None}, "'bad' has no 'keypoint' of numbers"),
    (annotation("bad") | {"keypoint": ["x"]}, "'bad' holds a str where numbers should be"),
    (without("keypoint"), "'bad' has no 'keypoint'"),
    (without("label"), "'bad' has the label None"),
    (without("frame_dir"), "annotation 1' has no 'frame_dir'"),
    ("text", "annotation 1' is text, no annotation"),
    (annotation("good"), "'good' is there twice"),
    (
        annotation("bad") | {"keypoint_score": np.ones((1, 7, 25))},
        "'bad' has a 'keypoint_score' of shape (1, 7, 25) for 1 bodies, 8 frames",
    ),
]


@pytest.mark.parametrize(("bad", "message"), BAD_CLIPS)
def test_one_bad_clip_is_one_bad_clip(tmp_path: Path, bad: Any, message: str) -> None:
    first, second, third = readings(pyskl(tmp_path, annotation("good"), bad, annotation("last")))
    assert second.clip is None and second.fault is not None
    assert message in second.fault and "set.pkl: clip" in second.fault
    assert first.clip is not None and third.clip is not None


def test_an_infinite_position_is_a_bad_clip(tmp_path: Path) -> None:
    bad = annotation("bad")
    bad["keypoint"][0, 3, 4, 1] = np.inf
    _, reading = readings(pyskl(tmp_path, annotation("good"), bad))
    assert "'bad' has a position that is not a finite number" in str(reading.fault)


@pytest.mark.parametrize(
    ("one", "layout", "hint"),
    [
        (annotation(V=20), "ntu25", "20 joints, .* use --layout kinect20, msr20 or utd20"),
        (annotation(V=21), "ntu25", "21 joints, .* use --layout hand21"),
        (annotation(V=23), "ntu25", r"23 joints, .* describe its joints in a \.yaml file"),
        (annotation(V=17, C=2), "ntu25", "17 joints, .* use --layout coco17"),
        (annotation(V=17, C=3), "ntu25", "17 joints, .* use --layout h36m17"),
        (annotation(V=25, C=2), "ntu25", "2 channels, .* 3 dimensions; use --layout body25"),
    ],
)
def test_a_layout_that_fits_no_clip_is_answered_by_those_of_its_dimensions(
    tmp_path: Path, one: Any, layout: str, hint: str
) -> None:
    with pytest.raises(UserError, match=hint):
        pyskl(tmp_path, one, layout=layout)


@pytest.mark.parametrize(
    "content", [[1], {"split": {}}, {"annotations": {}}, {"annotations": []}, np.zeros(3)]
)
def test_a_pickle_of_another_form_is_answered_by_what_it_holds(
    tmp_path: Path, content: Any
) -> None:
    path = dump(tmp_path / "set.pkl", content)
    with pytest.raises(UserError, match=r"set\.pkl: (has no list of|its list of .* is empty|clip)"):
        PysklPickle.open([path], SourceOptions())


def test_an_attempt_that_kept_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = annotation("bad")
    bad["keypoint"][0, 3, 4, 1] = np.inf
    path = dump(tmp_path / "set.pkl", [bad])
    with pytest.raises(UserError, match="holds no clip that can be used"):
        prepare(open_source(str(path)), tmp_path / "store", resumable=True)
    assert list(tmp_path.iterdir()) == [path]
    dump(path, [annotation("good")])
    assert len(prepare(open_source(str(path)), tmp_path / "store", resumable=True).store) == 1


def test_real_pickle_is_read_whole() -> None:
    path = shared("data", "uiprmd_3d.pkl")
    source = PysklPickle.open([path], SourceOptions(layout="uiprmd22"))
    clips = list(source)
    lengths = [len(clip.joints) for clip in clips]
    assert len(source) == len(clips) == 2000
    assert (min(lengths), int(np.median(lengths)), max(lengths)) == (28, 72, 179)
    assert {clip.joints.shape[1:] for clip in clips} == {(1, 22, 3)}
    assert len(source.class_names) == 20
    splits = source.splits(clips)
    assert {part: len(names) for part, names in splits["xsub"].items()} == {
        "train": 1000,
        "test": 1000,
    }
    assert source.counts == {}


def test_a_list_that_contains_itself_is_described_all_the_same(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    path = dump(tmp_path / "set.pkl", [endless])
    with pytest.raises(UserError, match=r"is a list of 1, .* list of lists, no annotation"):
        PysklPickle.open([path], SourceOptions())
