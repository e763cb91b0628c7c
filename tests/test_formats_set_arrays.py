"""A whole set in arrays: `X_train.npy`, `y_train.npy` and so on, in a folder or in one npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_formats_own_arrays import walk

from lastkd.data.formats.base import Reading, Source
from lastkd.data.open_source import open_source
from lastkd.errors import UserError

N, T = 6, 30


def joints(first: int = 0) -> np.ndarray:
    """`(N, T, V, 3)`, padded with zeros after frame 20 in every second clip."""
    clips = np.stack([walk(first + at)[:, 0] for at in range(N)])
    clips[1::2, 20:] = 0
    return clips


LABELS = np.arange(N) % 3
NAMES = np.array(["nod", "sit", "wave"])[LABELS]


def opened(path: Path, **options: object) -> Source:
    return open_source(str(path), **({"layout": "kinect20"} | options))  # type: ignore[arg-type]


def saved(folder: Path, arrays: dict[str, np.ndarray], form: str) -> Path:
    folder.mkdir()
    if form == "folder":
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return folder
    save = np.savez_compressed if form == "npz, compressed" else np.savez
    save(folder / "set.npz", **arrays)
    return folder / "set.npz"


def readings(source: Source) -> list[Reading]:
    return list(source.read(0, len(source)))


@pytest.mark.parametrize("form", ["folder", "npz", "npz, compressed"])
@pytest.mark.parametrize(
    ("joints_as", "labels_as"),
    [("X_{}", "y_{}"), ("{}_data", "{}_labels"), ("keypoints{}", "label{}")],
)
def test_both_parts_are_read_and_split(
    tmp_path: Path, form: str, joints_as: str, labels_as: str
) -> None:
    arrays = {}
    for at, part in enumerate(("train", "test")):
        arrays[joints_as.format(part)] = joints(10 * at)
        arrays[labels_as.format(part)] = LABELS
    source = opened(saved(tmp_path / "set", arrays, form))
    assert source.kind == "arrays of a whole set"
    clips = [reading.clip for reading in readings(source) if reading.clip is not None]
    assert [clip.label for clip in clips] == [*LABELS, *LABELS]
    assert [len(clip.joints) for clip in clips] == [T, 20] * N
    for at, clip in enumerate(clips):
        expected = joints(10 * (at // N))[at % N, : len(clip.joints)]
        np.testing.assert_allclose(clip.joints[:, 0], expected, atol=1e-6)
    (parts,) = source.splits(clips).values()
    assert parts["train"] == [f"train-{at:05}" for at in range(N)]
    assert len(parts["test"]) == N


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (NAMES, ("nod", "sit", "wave")),
        (np.eye(3, dtype=np.float32)[LABELS], ("class 0", "class 1", "class 2")),
        (LABELS.astype(float)[:, None], ("class 0", "class 1", "class 2")),
    ],
)
def test_labels_are_numbers_names_or_one_hot(
    tmp_path: Path, labels: np.ndarray, classes: tuple[str, ...]
) -> None:
    who = np.array(["ben", "anna", "ben", "anna", "ben", "anna"])
    arrays = {"X": joints().transpose(0, 3, 1, 2)[..., None], "y": labels, "subjects": who}
    source = opened(saved(tmp_path / "set", arrays, "folder"))
    assert source.class_names == classes
    clips = list(source)
    assert [clip.label for clip in clips] == LABELS.tolist()
    assert [clip.performer for clip in clips] == [2, 1] * 3
    assert source.splits(clips) == {}, "nobody says which clips train"


def test_a_clip_without_a_label_is_left_out(tmp_path: Path) -> None:
    arrays = {"X": joints(), "y": np.where(LABELS == 2, -1, LABELS)}
    counts = [r.counts for r in readings(opened(saved(tmp_path / "set", arrays, "npz")))]
    assert sum("clips without a label left out" in one for one in counts) == 2


def test_shares_of_an_image_need_its_size(tmp_path: Path) -> None:
    shares = np.random.default_rng(0).uniform(0.1, 0.9, (N, T, 34)).astype(np.float32)
    path = saved(tmp_path / "set", {"x_train": shares, "y_train": LABELS,
                                    "x_test": shares, "y_test": LABELS}, "npz")  # fmt: skip
    bad, *_ = readings(opened(path, layout="coco17"))
    assert "whose size isn't known; give --image-size" in str(bad.fault)
    first, *_ = readings(opened(path, layout="coco17", image_size=(640, 480)))
    assert first.clip is not None
    expected = shares[0].reshape(T, 17, 2) * [640, 480]
    np.testing.assert_allclose(first.clip.joints[:, 0, :, :2], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"X": joints(), "y": LABELS[:4]}, "y is of shape (4,) for 6 clips"),
        ({"X": joints(), "y": LABELS - 5}, "has '-5' for a label"),
        ({"X": joints()[:, :, :7], "y": LABELS}, "each clip has shape (30, 7, 3), and layout"),
        ({"X_train": joints(), "y_train": LABELS, "X_test": joints()}, "has no labels of the part"),
        ({"X": joints(), "y": LABELS.astype(complex)}, "it should be numbers or text"),
        ({"X_a": joints(), "X_train": joints(), "y_train": LABELS}, "split 'default' has no _val"),
    ],
)
def test_what_doesnt_fit_is_one_sentence(
    tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    path = saved(tmp_path / "set", arrays, "folder")
    with pytest.raises(UserError) as error:
        opened(path)
    assert words in str(error.value) and str(path) in str(error.value)


def test_nobody_guesses_a_skeleton(tmp_path: Path) -> None:
    path = saved(tmp_path / "set", {"X": joints(), "y": LABELS}, "npz")
    with pytest.raises(UserError, match="use --layout kinect20 or msr20"):
        opened(path, layout=None)
