"""Clips in one pickle, `.npy` of objects or `.npz`, in the forms in which people save a list."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_sets import lastkd
from test_formats_own_arrays import walk

from lastkd.data.formats.base import Source
from lastkd.data.open_source import format_of, open_source
from lastkd.errors import UserError

CLIPS = [walk(at)[: 20 + at, 0] for at in range(6)]
"""`(T, V, 3)`, each with a length of its own."""
NAMES = [f"s{at // 3}_{at % 3}" for at in range(6)]
LABELS = [at % 3 for at in range(6)]
WORDS = [("nod", "sit", "wave")[label] for label in LABELS]
SCORES = [np.full(clip.shape[:2], 0.5, np.float32) for clip in CLIPS]


def pickled(content: Any, folder: Path) -> Path:
    path = folder / "set.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def object_npy(content: Any, folder: Path) -> Path:
    np.save(folder / "set.npy", content, allow_pickle=True)
    return folder / "set.npy"


def opened(path: Path, **options: Any) -> Source:
    return open_source(str(path), **({"layout": "kinect20"} | options))


def entries(*, names: bool = True) -> list[dict[str, Any]]:
    return [
        ({"name": name} if names else {})
        | {"skeleton": clip, "label": word, "subject": name[:2], "fps": 15.0}
        for name, clip, word in zip(NAMES, CLIPS, WORDS, strict=True)
    ]


FORMS: dict[str, Callable[[Path], Path]] = {
    "dicts by name": lambda f: pickled(dict(zip(NAMES, entries(names=False), strict=True)), f),
    "a list of dicts": lambda f: pickled(entries(), f),
    "a list of pairs": lambda f: pickled(list(zip(CLIPS, WORDS, strict=True)), f),
    "clips and labels": lambda f: pickled((CLIPS, WORDS), f),
    "clips and one-hot labels": lambda f: pickled([CLIPS, np.eye(3)[LABELS]], f),
    "nested lists": lambda f: pickled(([clip.tolist() for clip in CLIPS], LABELS), f),
    "data and labels": lambda f: pickled({"data": CLIPS, "labels": objects(WORDS)}, f),
    "with names": lambda f: pickled({"x": CLIPS, "y": WORDS, "names": NAMES}, f),
    "an npy of dicts": lambda f: object_npy(objects(entries()), f),
    "a dict in an npy": lambda f: object_npy({"X": objects(CLIPS), "y": np.array(WORDS)}, f),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_clips(tmp_path: Path, form: str) -> None:
    source = opened(FORMS[form](tmp_path))
    clips = list(source)
    assert len(source.class_names) == 3
    assert [clip.label for clip in clips] == LABELS
    for clip, joints in zip(clips, CLIPS, strict=True):
        np.testing.assert_allclose(clip.joints[:, 0], joints, atol=1e-6)
    if "name" in form or "dicts" in form:
        assert [clip.name for clip in clips] == NAMES
    if "dicts" in form:
        assert [(clip.performer, clip.fps) for clip in clips] == [(1, 15.0)] * 3 + [(2, 15.0)] * 3
        assert source.class_names == ("nod", "sit", "wave")


@pytest.mark.parametrize(
    "content",
    [
        {"X_train": CLIPS[:4], "y_train": LABELS[:4], "X_test": CLIPS[4:], "y_test": [1, 2]},
        {"train": (CLIPS[:4], LABELS[:4]), "test": (CLIPS[4:], [1, 2])},
        {"train": entries()[:4], "val": entries()[4:]},
        {"Train": {"data": CLIPS[:4], "y": WORDS[:4]}, "Test": {"data": CLIPS[4:], "y": WORDS[4:]}},
    ],
)
def test_parts_become_a_split(tmp_path: Path, content: Any) -> None:
    source = opened(pickled(content, tmp_path))
    (parts,) = source.splits(list(source)).values()
    assert {part: len(names) for part, names in parts.items()} == {"train": 4, "test": 2}


def test_parts_stay_a_split_where_a_table_says_the_labels(tmp_path: Path) -> None:
    content = {"X_train": CLIPS[:4], "y_train": LABELS[:4], "X_test": CLIPS[4:], "y_test": [1, 2]}
    names = [*(f"train-{at:05}" for at in range(4)), *(f"test-{at:05}" for at in range(2))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *(f"{name},sit" for name in names)]))
    source = opened(pickled(content, tmp_path), labels=table)
    assert source.class_names == ("sit",)
    assert source.splits(list(source)) == {"default": {"train": names[:4], "test": names[4:]}}


def test_one_array_in_a_pickle_is_read_clip_by_clip(tmp_path: Path) -> None:
    stacked = np.stack([clip[:20] for clip in CLIPS])
    clips = list(opened(pickled({"x": stacked, "y": np.array(LABELS)}, tmp_path)))
    for clip, joints in zip(clips, stacked, strict=True):
        np.testing.assert_allclose(clip.joints[:, 0], joints, atol=1e-6)


def test_a_dict_of_classes_labels_its_clips(tmp_path: Path) -> None:
    source = opened(pickled({"sit": CLIPS[:2], "wave": CLIPS[2:]}, tmp_path))
    assert source.class_names == ("sit", "wave")
    assert [clip.label for clip in source] == [0, 0, 1, 1, 1, 1]


def test_frames_of_one_clip_are_no_classes(tmp_path: Path) -> None:
    frames = {name: list(clip) for name, clip in zip(NAMES, CLIPS, strict=True)}
    source = opened(pickled(frames, tmp_path), labelled=False)
    assert [len(clip.joints) for clip in source] == [len(clip) for clip in CLIPS]


def test_scores_beside_the_joints_are_kept(tmp_path: Path) -> None:
    flat = [{"keypoints": 200 + 50 * clip[..., :2], "scores": score, "label": label}
            for clip, score, label in zip(CLIPS, SCORES, LABELS, strict=True)]  # fmt: skip
    layout = tmp_path / "flat.yaml"
    parents = [-1, *range(19)]
    joints = [f"joint{at}" for at in range(20)]
    layout.write_text(
        f"name: flat\njoints: {joints}\nparents: {parents}\ncentre: 0\ndimensions: 2\n"
    )
    first, *_ = opened(pickled(flat, tmp_path), layout=str(layout))
    assert first.joints.shape[-1] == 3
    np.testing.assert_allclose(first.joints[..., 2], 0.5)


@pytest.mark.parametrize("form", ["npz", "pickle", "npy"])
def test_clips_by_their_names_take_labels_from_a_table(tmp_path: Path, form: str) -> None:
    clips = dict(zip(NAMES, CLIPS, strict=True))
    if form == "npz":
        path = tmp_path / "set.npz"
        np.savez(path, **clips)
    else:
        path = pickled(clips, tmp_path) if form == "pickle" else object_npy(clips, tmp_path)
    with pytest.raises(UserError, match=r"nobody says the classes of its clips, such as 's0_0'"):
        opened(path)
    table = tmp_path / "labels.csv"
    lines = [f"{name},{word},{name[:2]}" for name, word in zip(NAMES, WORDS, strict=True)]
    table.write_text("\n".join(["file,label,performer", *lines]))
    source = opened(path, labels=table)
    assert [(clip.name, clip.label, clip.performer) for clip in source] == [
        (name, label, 1 + at // 3)
        for at, (name, label) in enumerate(zip(NAMES, LABELS, strict=True))
    ]


def test_several_processes_read_what_one_does(tmp_path: Path) -> None:
    clips = dict(zip(NAMES, CLIPS, strict=True))
    np.savez_compressed(tmp_path / "set.npz", **clips)
    for workers in (1, 2):
        done = lastkd("prepare", tmp_path / "set.npz", "--layout", "kinect20", "--labels",
                      labelled_table(tmp_path), "--split-by", "share 0.5", "--workers", workers,
                      "--out", tmp_path / f"store{workers}")  # fmt: skip
        assert done.exit_code == 0, done.output
    one, two = (tmp_path / f"store{n}" / "clips.safetensors" for n in (1, 2))
    assert one.read_bytes() == two.read_bytes()


def test_a_damaged_clip_of_an_npz_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **dict(zip(NAMES, CLIPS, strict=True)))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x03\x04")  # the last clip's own header
    content[at + 200 : at + 220] = bytes(20)
    path.write_bytes(content)
    source = opened(path, labels=labelled_table(tmp_path))
    *good, bad = source.read(0, len(source))
    assert all(reading.clip is not None for reading in good)
    assert f"clip '{NAMES[-1]}' can't be read" in str(bad.fault)


def labelled_table(folder: Path) -> Path:
    table = folder / "labels.csv"
    lines = [f"{name},{word}" for name, word in zip(NAMES, WORDS, strict=True)]
    table.write_text("\n".join(["file,label", *lines]))
    return table


# --- a table beside files that say labels themselves ----------------------------------------------


def pyskl(folder: Path, **more: Any) -> Path:
    annotations = [
        {"frame_dir": name, "label": label, "total_frames": len(clip), "keypoint": clip[None]}
        | more
        for name, label, clip in zip(NAMES, LABELS, CLIPS, strict=True)
    ]
    split = {"xsub_train": NAMES[:3], "xsub_val": NAMES[3:]}
    return pickled({"split": split, "annotations": annotations}, folder)


def test_a_table_goes_before_the_labels_in_a_pickle(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    lines = [f"{name},{'up' if at < 3 else 'down'},{7 + at}" for at, name in enumerate(NAMES[:5])]
    table.write_text("\n".join(["file,label,performer", *lines]))
    source = opened(pyskl(tmp_path), labels=table)
    clips = [reading.clip for reading in source.read(0, len(source))]
    assert source.class_names == ("down", "up")
    assert [clip and (clip.label, clip.performer) for clip in clips] == [
        (1, 7), (1, 8), (1, 9), (0, 10), (0, 11), None,
    ]  # fmt: skip
    assert list(source.splits([clip for clip in clips if clip])) == ["xsub"], "its own stays"


def test_a_table_leaves_ntus_frame_rate_and_name(tmp_path: Path) -> None:
    clip = np.ones((1, 8, 25, 3), np.float32)
    name = "S001C001P001R001A005"
    annotation = {"frame_dir": name, "label": 4, "total_frames": 8, "keypoint": clip}
    path = pickled([annotation], tmp_path)
    (tmp_path / "labels.csv").write_text(f"file,label\n{name},falls\n")
    source = open_source(str(path), labels=tmp_path / "labels.csv")
    assert (source.fps, source.name, source.class_names) == (30.0, "set", ("falls",))


def test_a_table_labels_a_pickle_that_has_no_labels(tmp_path: Path) -> None:
    path = pyskl(tmp_path, label=None)
    with pytest.raises(UserError, match="has the label None"):
        opened(path)
    assert [clip.label for clip in opened(path, labels=labelled_table(tmp_path))] == LABELS


def test_a_table_of_other_clips_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nelse,sit\n")
    with pytest.raises(UserError, match="has no line for any clip"):
        opened(pyskl(tmp_path), labels=tmp_path / "labels.csv")


# --- what is refused ------------------------------------------------------------------------------


def test_nothing_in_an_npy_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    path = object_npy(np.array(Evil(), dtype=object), tmp_path)
    assert format_of(path) == "set-arrays"
    with pytest.raises(UserError, match=r"reading that may run code"):
        opened(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"data": CLIPS, "labels": LABELS[:4]}, "labels is of shape (4,) for 6 clips"),
        ({"data": CLIPS, "labels": [{}] * 6}, "labels holds {}; give numbers or names"),
        ([entries()[0], {"label": 1}], "clip 1 has no joints, it holds label"),
        ((CLIPS, LABELS[:4]), "the list of labels is of shape (4,) for 6 clips"),
        ({"data": CLIPS, "labels": [-2] * 6}, "has '-2' for a label"),
        (
            {"X_train": CLIPS, "y_train": LABELS, "X_test": 5, "y_test": [1]},
            "X_test holds no clips",
        ),
        ({"x": np.stack([c[:9] for c in CLIPS]), "y": np.ones(6, complex)}, "y holds (1+0j); give"),
        ([(clip, 1, "s1") for clip in CLIPS], "each clip holds a str where"),
        ({}, "holds no clip"),
        ({"version": 1}, "has no list of annotations, it holds an object with version"),
        (([clip[:, :7] for clip in CLIPS], LABELS), "each clip has shape (21, 7, 3)"),
    ],
)
def test_what_doesnt_fit_is_one_sentence(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(UserError) as error:
        opened(pickled(content, tmp_path))
    assert words in str(error.value) and str(tmp_path) in str(error.value)


def test_a_list_that_holds_itself_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(UserError):
        opened(pickled({"a": endless, "b": endless}, tmp_path))
