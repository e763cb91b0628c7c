"""NW-UCLA's JSON folder and ST-GCN's arrays, as their scripts publish them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import in_layout, synthetic_clips
from one_set import as_last_arrays

from lastkd.data.clip import Clip
from lastkd.data.formats.datasets.nw_ucla import ACTIONS
from lastkd.data.open_source import open_source
from lastkd.data.store.prepare import prepare
from lastkd.errors import UserError


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [clip for clip in synthetic_clips(3) if clip.joints.shape[1] == 1]


def ucla_folder(folder: Path, clips: list[Clip]) -> Path:
    out = folder / "NW-UCLA" / "all_sqe"
    out.mkdir(parents=True)
    for at, clip in enumerate(clips):
        action = list(ACTIONS)[at % 10]
        name = f"a{action:02}_s{clip.performer:02}_e{at:02}_v{at % 3 + 1:02}"
        skeletons = in_layout(clip, "ucla20")[:, 0].astype(float).tolist()
        content = {"file_name": name, "skeletons": skeletons, "label": at % 10 + 1}
        (out / f"{name}.json").write_text(json.dumps(content))
    return folder / "NW-UCLA"


def test_nw_ucla_is_read_by_its_names(tmp_path: Path, clips: list[Clip]) -> None:
    source = open_source(str(ucla_folder(tmp_path, clips)))
    assert (source.kind, source.layout.name, len(source)) == ("NW-UCLA JSON", "ucla20", len(clips))
    assert source.class_names[6:] == ("donning", "doffing", "throw", "carry")
    read = list(source)
    first = read[0]
    assert (first.name[:3], first.label, first.performer, first.camera) == ("a01", 0, 1, 1)
    assert next(clip.label for clip in read if clip.name.startswith("a12")) == 9
    (parts,) = source.splits(read).values()
    assert all("v03" in name for name in parts["test"])
    assert all("v03" not in name for name in parts["train"])
    by_name = {clip.name[8:11]: clip for clip in read}
    for at, clip in enumerate(clips):
        expected = in_layout(clip, "ucla20")
        np.testing.assert_allclose(by_name[f"e{at:02}"].joints, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "isn't JSON"),
        ('{"skeletons": [[[1, 2, 3]]]}', "layout ucla20 needs"),
        ('{"skeletons": "x"}', "holds a str where numbers should be"),
        ("{}", "holds no number"),
    ],
)
def test_a_damaged_file_of_nw_ucla_is_one_bad_clip(
    tmp_path: Path, clips: list[Clip], text: str, message: str
) -> None:
    folder = ucla_folder(tmp_path, clips[:3])
    (folder / "all_sqe" / "a01_s05_e00_v01.json").write_text(text)
    done = prepare(open_source(str(folder)), tmp_path / "store")
    (fault,) = done.faults
    assert len(done.store) == 3 and message in fault and "a01_s05_e00_v01.json" in fault


def test_an_action_that_nw_ucla_does_not_have_is_named(tmp_path: Path, clips: list[Clip]) -> None:
    folder = ucla_folder(tmp_path, clips[:3])
    (folder / "all_sqe" / "a07_s05_e00_v01.json").write_text("{}")
    (fault,) = prepare(open_source(str(folder)), tmp_path / "store").faults
    assert "is of action 7, and NW-UCLA has 1, 2, 3, 4, 5, 6, 8, 9, 11, 12; take it out" in fault


@pytest.mark.parametrize("ending", ["_data.npy", "_data_joint.npy"])
def test_st_gcn_arrays_are_those_of_last_under_other_names(
    tmp_path: Path, clips: list[Clip], ending: str
) -> None:
    folder = as_last_arrays(clips, tmp_path)
    reference = prepare(open_source(str(folder)), tmp_path / "a").store
    for file in folder.glob("*_joint.npy"):
        file.rename(folder / file.name.replace("_joint.npy", ending))
    source = open_source(str(folder))
    assert source.kind == "ST-GCN arrays of NTU RGB+D 60"
    assert prepare(source, tmp_path / "b").store.content_hash == reference.content_hash


def test_kinetics_skeletons_have_openposes_18_joints_and_scores(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(0.1, 0.9, (2, 3, 30, 18, 2)).astype(np.float32)
    array[:, :, :, :, 1] = 0
    array[0, :, 20:] = 0
    for part in ("train", "val"):
        np.save(tmp_path / f"{part}_data.npy", array)
        labels = ([f"{part}-a.json", f"{part}-b.json"], [0, 399])
        (tmp_path / f"{part}_label.pkl").write_bytes(pickle.dumps(labels))
    source = open_source(str(tmp_path))
    assert source.layout.name == "coco18"
    read = list(source)
    assert [len(clip.joints) for clip in read] == [20, 30, 20, 30]
    np.testing.assert_array_equal(read[0].joints[:, 0], array[0, :, :20, :, 0].transpose(1, 2, 0))


def test_arrays_of_another_layout_ask_for_it(tmp_path: Path, clips: list[Clip]) -> None:
    folder = as_last_arrays(clips, tmp_path)
    with pytest.raises(UserError, match=r"layout uiprmd22 needs .*name another with --layout"):
        open_source(str(folder), layout="uiprmd22")
