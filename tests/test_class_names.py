"""`lastkd prepare --class-names`: words for the classes of a set that only numbers them."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lastkd.cli.app import cli
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A pyskl pickle of one clip of each of three classes."""
    joints = np.random.default_rng(0).normal(size=(1, 8, 22, 3)).astype(np.float32)
    clips = [
        {"frame_dir": f"clip{k}", "label": k, "keypoint": joints, "total_frames": 8}
        for k in range(3)
    ]
    split = {"xsub_train": ["clip0", "clip1"], "xsub_val": ["clip2"]}
    path = tmp_path / "set.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": clips}))
    return path


def prepared(source: str | Path, names: bytes, *more: str) -> Result:
    file = Path(source).parent / "names.txt" if isinstance(source, Path) else Path("names.txt")
    file.write_bytes(names)
    out = str(file.parent / "store")
    command = ["prepare", str(source), "--class-names", str(file), "--out", out, *more]
    return CliRunner().invoke(cli, command)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_each_line_names_a_label(numbered: Path, end: bytes) -> None:
    names = "deep squat\nhurdle step\nÉlévation".encode() + end
    result = prepared(numbered, names, "--layout", "uiprmd22")
    assert result.exit_code == 0, result.output
    store = ClipStore.open(numbered.parent / "store")
    assert store.class_names == ("deep squat", "hurdle step", "Élévation")


def test_classes_without_clips_may_be_named(numbered: Path) -> None:
    assert prepared(numbered, b"a\nb\nc\nd\n", "--layout", "uiprmd22").exit_code == 0
    assert ClipStore.open(numbered.parent / "store").num_classes == 4


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (b"a\nb\n", "has 2 names for 3 classes"),
        (b"", "has 0 names for 3 classes"),
        (b"a\n\nc\n", "line 2 is empty"),
        (b"a\nb\nb\n", "names 2 classes 'b'"),
        (b"\xff\xfe\x00", "isn't text in UTF-8"),
    ],
)
def test_a_list_that_does_not_fit_is_an_error(numbered: Path, names: bytes, said: str) -> None:
    result = prepared(numbered, names, "--layout", "uiprmd22")
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert not (numbered.parent / "store").exists()


def test_classes_that_have_names_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = prepared("synthetic", b"a\n")
    assert isinstance(result.exception, UserError)
    assert "have names already" in str(result.exception)
