"""Pickles: the restricted reader, and pyskl's form."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lastkd.data.clip import Clip
from lastkd.data.formats.pickled import load_pickle
from lastkd.data.formats.pyskl import PysklPickle
from lastkd.data.layouts import get_layout
from lastkd.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"
NTU25, COCO17 = get_layout("ntu25"), get_layout("coco17")


def dump(path: Path, content: Any, protocol: int | None = None) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_numbers_strings_and_containers_come_back(tmp_path: Path, protocol: int) -> None:
    content = {
        "half": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
        "columns": np.asfortranarray(np.eye(3)[:2]),
        "big endian": np.array([1, 2], ">i4"),
        "words": np.array(["a", "bc"]),
        "none": np.zeros((0, 3)),
        "scalar": np.float32(1.5),
        "plain": [1, 2.5, True, None, "é", b"\xff", b"", (1j, {3}, frozenset([4]), 2**80)],
    }
    back = load_pickle(dump(tmp_path / "a.pkl", content, protocol))
    assert back.keys() == content.keys()
    assert back["plain"] == content["plain"]
    for name in ("half", "columns", "big endian", "words", "none", "scalar"):
        np.testing.assert_array_equal(back[name], content[name])
        assert type(back[name]) is type(content[name])


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_pickles_of_numpy_1_and_2_are_both_read(tmp_path: Path, core: bytes) -> None:
    written = pickle.dumps(np.arange(3.0), protocol=0)
    for own in (b"numpy.core", b"numpy._core"):
        written = written.replace(b"c" + own, b"c" + core)
    path = tmp_path / "a.pkl"
    path.write_bytes(written)
    assert load_pickle(path).tolist() == [0, 1, 2]


class Runs:
    """Runs a command wherever it is unpickled plainly."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("where", ["bare", "in a list", "in an array"])
def test_nothing_in_a_malicious_pickle_runs(tmp_path: Path, where: str) -> None:
    trace = tmp_path / "trace"
    attack = Runs(f'echo > "{trace}"')
    content = {"bare": attack, "in a list": [attack], "in an array": np.array([attack], object)}
    path = dump(tmp_path / "bad.pkl", content[where])
    with pytest.raises(UserError, match=r"bad\.pkl holds .*, which isn't data; refuse"):
        load_pickle(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "loaded plainly it does run, so this test can fail"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (OrderedDict(a=1), "a collections.OrderedDict"),
        (print, "a builtins.print"),
        (Path("x"), "a pathlib"),
        (np.array([1, "a"], object), "an array of Python objects"),
        (np.zeros(2, [("a", object)]), "an array of dtype"),
        (np.ma.zeros(2), "a numpy.ma.core._mareconstruct"),
    ],
)
def test_whatever_is_not_data_is_refused_by_name(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"a\.pkl holds {told}.*isn't data"):
        load_pickle(dump(tmp_path / "a.pkl", content))


def test_object_arrays_asked_for_by_opcode_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cnumpy\nndarray\n((I5\ntVO\ntR.")
    with pytest.raises(UserError, match=r"a call of numpy\.ndarray"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1] * 99)[:-20]])
def test_what_is_no_pickle_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} isn't a readable pickle"):
        load_pickle(path)
    with pytest.raises(UserError, match="can't be read"):
        load_pickle(tmp_path / "absent.pkl")


def annotation(
    name: str = "a", label: Any = 0, *, M: int = 1, V: int = 25, C: int = 3
) -> dict[str, Any]:
    """A clip of eight frames."""
    keypoint = np.random.default_rng(3).uniform(1, 2, size=(M, 8, V, C)).astype(np.float16)
    return {"frame_dir": name, "label": label, "keypoint": keypoint, "total_frames": 8}


def pyskl(tmp_path: Path, *annotations: Any, split: Any = None, layout: Any = NTU25) -> PysklPickle:
    content = {"split": split or {}, "annotations": list(annotations)}
    return PysklPickle(dump(tmp_path / "set.pkl", content), layout)


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


def test_second_body_that_comes_late_stays(tmp_path: Path) -> None:
    one = annotation(M=2)
    one["keypoint"][1, :7] = 0
    assert only_clip(pyskl(tmp_path, one)).joints.shape == (8, 2, 25, 3)


def test_of_three_bodies_the_two_that_move_most_are_kept(tmp_path: Path) -> None:
    one = annotation(M=3)
    one["keypoint"][0] *= 0.1
    one["keypoint"][2] *= 2
    source = pyskl(tmp_path, one)
    np.testing.assert_array_equal(
        only_clip(source).joints, one["keypoint"][[2, 1]].transpose(1, 0, 2, 3)
    )
    assert source.counts == {"clips of which the two bodies that move most were kept": 1}


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


def test_2d_score_is_the_third_channel(tmp_path: Path) -> None:
    one = annotation(V=17, C=2)
    one["keypoint_score"] = np.linspace(0.1, 0.9, 8 * 17, dtype=np.float16).reshape(1, 8, 17)
    one["keypoint"][0, 2, 4] = 0
    one["total_frames"] = 6
    joints = only_clip(pyskl(tmp_path, one, layout=COCO17)).joints
    expected = one["keypoint_score"][0, :6].astype(np.float32)
    expected[2, 4] = 0
    np.testing.assert_array_equal(joints[:, 0, :, 2], expected)
    np.testing.assert_array_equal(joints[:, 0, :, :2], one["keypoint"][0, :6])


def test_2d_without_a_score_has_1_where_something_was_seen(tmp_path: Path) -> None:
    one = annotation(V=17, C=2, M=2)
    one["keypoint"][1, 3] = 0
    joints = only_clip(pyskl(tmp_path, one, layout=COCO17)).joints
    assert (joints[:, 0, :, 2] == 1).all()
    assert not joints[3, 1].any()


def test_three_channels_in_a_2d_layout_are_x_y_and_score(tmp_path: Path) -> None:
    one = annotation(V=17, C=3)
    joints = only_clip(pyskl(tmp_path, one, layout=COCO17)).joints
    np.testing.assert_array_equal(joints[:, 0], one["keypoint"][0])


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


@pytest.mark.parametrize(
    ("keys", "title"),
    [
        (("xsub_train", "xsub_val"), "xsub"),
        (("xset_train", "xset_test"), "xset"),
        (("train", "val"), "default"),
        (("train1", "test1"), "fold 1"),
    ],
)
def test_split_parts_are_paired(tmp_path: Path, keys: tuple[str, str], title: str) -> None:
    split = {keys[0]: ["a", "gone"], keys[1]: ["b"]}
    source = pyskl(tmp_path, annotation("a"), annotation("b"), split=split)
    clips = list(source)
    assert source.splits(clips) == {title: {"train": ["a"], "test": ["b"]}}
    assert source.counts == {"names in splits without a clip left out": 1}
    assert source.splits(clips[:1]) == {title: {"train": ["a"], "test": []}}


def test_test_part_goes_before_val(tmp_path: Path) -> None:
    split = {"x_train": ["a"], "x_val": ["b"], "x_test": ["c"]}
    source = pyskl(tmp_path, *map(annotation, "abc"), split=split)
    assert source.splits(list(source)) == {"x": {"train": ["a"], "test": ["c"]}}


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"xsub_train": ["a"]}, "split 'xsub' has no _val or _test part"),
        ({"xsub_val": ["a"]}, "split 'xsub' has no _train part"),
        ({"xsub": ["a"]}, "split 'xsub' ends neither in _train"),
        ({"xsub_train": ["a"], "xsub_val": ["a"]}, "has 'a' in both of its parts"),
        ({"xsub_train": "a"}, "'split' must hold lists of names"),
        ([1], "'split' must hold lists of names"),
    ],
)
def test_split_of_another_form_is_refused(tmp_path: Path, split: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"set\.pkl: .*{told}"):
        pyskl(tmp_path, annotation("a"), split=split)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in annotation().items() if name != key}


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (annotation(V=20), "'a' has 20 joints, where the layout ntu25 has 25; use --layout ucla20"),
        (annotation(V=21), "'a' has 21 joints, .* write a layout"),
        (annotation(C=2), "'a' has 2 channels, .* 3 dimensions.* coco17"),
        (annotation(C=4), "'a' has 4 channels"),
        (annotation(label=-1), "'a' has the label -1"),
        (annotation(label=1.0), "'a' has the label 1.0"),
        (annotation(label=True), "'a' has the label True"),
        (annotation(label=10**9), "'a' has the label 1000000000"),
        (annotation() | {"total_frames": -1}, "'a' has total_frames -1"),
        (annotation() | {"keypoint": np.zeros((8, 25, 3))}, "'a' has no 'keypoint'"),
        (annotation() | {"keypoint": [[1, 2]]}, "'a' has no 'keypoint'"),
        (without("keypoint"), "'a' has no 'keypoint'"),
        (without("label"), "'a' has the label None"),
        (without("frame_dir"), "annotation 0 has no 'frame_dir'"),
        ("text", "annotation 0 has no 'frame_dir'"),
    ],
)
def test_annotation_of_another_form_is_named(tmp_path: Path, one: Any, told: str) -> None:
    with pytest.raises(UserError, match=rf"set\.pkl: .*{told}"):
        pyskl(tmp_path, one)


def test_numpy_labels_are_labels(tmp_path: Path) -> None:
    assert only_clip(pyskl(tmp_path, annotation(label=np.int64(2)))).label == 2


def test_score_of_another_shape_is_refused(tmp_path: Path) -> None:
    one = annotation(V=17, C=2) | {"keypoint_score": np.ones((1, 8, 16))}
    with pytest.raises(UserError, match="'a' has a 'keypoint_score'"):
        pyskl(tmp_path, one, layout=COCO17)


def test_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'a' is there twice"):
        pyskl(tmp_path, annotation("a"), annotation("a"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clip_with_a_position_that_is_no_number_is_named(tmp_path: Path, value: float) -> None:
    bad = annotation("bad")
    bad["keypoint"][0, 3, 4, 1] = value
    source = pyskl(tmp_path, annotation("good"), bad)
    with pytest.raises(UserError, match="'bad' has a position that is not a finite number"):
        list(source)


@pytest.mark.parametrize("content", [[1], {"split": {}}, {"annotations": {}}, {"annotations": []}])
def test_pickle_of_another_form_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UserError, match=r"set\.pkl has no"):
        PysklPickle(dump(tmp_path / "set.pkl", content), NTU25)


def test_real_pickle_is_read_whole() -> None:
    path = SHARED / "uiprmd_3d.pkl"
    if not path.is_file():
        pytest.skip("the UI-PRMD pickle is not here")
    source = PysklPickle(path, get_layout("uiprmd22"))
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
