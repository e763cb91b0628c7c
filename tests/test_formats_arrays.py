"""The same clips from every format, and what each format is told by."""

from __future__ import annotations

import dataclasses
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import shared
from one_set import as_folder, as_last_arrays, as_npz, as_pickle, as_zip

from lastkd.data.clip import Clip
from lastkd.data.formats.archives import LARGEST_TEXT
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.source import SyntheticSource
from lastkd.errors import UserError

Write = Callable[[Sequence[Clip], Path], Path]

FORMATS: dict[str, tuple[Write, float, str]] = {
    "folder": (as_folder, 1e-5, "NTU RGB+D 60 .skeleton files"),
    "zip": (as_zip, 1e-5, "NTU RGB+D 60 .skeleton files in 1 zip"),
    "zip, at its top, stored": (
        lambda clips, to: as_zip(clips, to, inside="", method=zipfile.ZIP_STORED),
        1e-5,
        "NTU RGB+D 60 .skeleton files in 1 zip",
    ),
    "pyskl, float16": (as_pickle, 2e-2, "pyskl pickle"),
    "pyskl, float32": (lambda clips, to: as_pickle(clips, to, np.float32), 1e-6, "pyskl pickle"),
    "npz": (as_npz, 1e-6, "CTR-GCN npz of NTU RGB+D 60"),
    "npz, compressed": (
        lambda clips, to: as_npz(clips, to, compressed=True),
        1e-6,
        "CTR-GCN npz of NTU RGB+D 60",
    ),
    "LAST arrays": (as_last_arrays, 1e-6, "LAST v2 arrays of NTU RGB+D 60"),
    "LAST arrays, labels alone": (
        lambda clips, to: as_last_arrays(clips, to, named=False),
        1e-6,
        "LAST v2 arrays",
    ),
}


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return list(SyntheticSource(SyntheticSettings(subjects=3, clips_per_subject_and_action=1)))


@pytest.fixture(scope="module")
def direct(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    settings = SyntheticSettings(subjects=3, clips_per_subject_and_action=1)
    out = tmp_path_factory.mktemp("direct") / "store"
    return prepare(open_source("synthetic", synthetic=settings), out).store


def of_split(store: ClipStore, part: str) -> list[int]:
    return sorted(store.splits["xsub"][part].tolist())


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_clips(
    tmp_path: Path, clips: list[Clip], direct: ClipStore, name: str
) -> None:
    write, tolerance, kind = FORMATS[name]
    source = open_source(str(write(clips, tmp_path)))
    assert source.kind == kind
    store = prepare(source, tmp_path / "store").store
    assert len(store) == len(clips)
    unnamed = store.names[0].startswith("train-")
    by_name = {clip.name: index for index, clip in enumerate(clips)}
    train = [i for i, clip in enumerate(clips) if clip.performer in (1, 2)]
    order = train + [i for i in range(len(clips)) if i not in train]
    for index, found in enumerate(store.names):
        other = order[index] if unnamed else by_name[found]
        clip = clips[other]
        assert store.labels[index] == clip.label
        if not unnamed:
            assert store.performers[index] == clip.performer
            assert (store.cameras[index], store.setups[index]) == (1, 1)
        np.testing.assert_allclose(store.clip(index), direct.clip(other), atol=tolerance)
    parts = store.splits["xsub"]
    assert (len(parts["train"]), len(parts["test"])) == (len(train), len(clips) - len(train))
    assert all(clips[order[i] if unnamed else by_name[store.names[i]]].performer in (1, 2)
               for i in parts["train"])  # fmt: skip


def test_the_six_real_files_zipped_are_the_same_as_the_folder(tmp_path: Path) -> None:
    folder = shared("data", "ntu_samples")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.glob("*.skeleton"):
            archive.write(file, f"nturgb+d_skeletons/{file.name}")
    stores = [
        prepare(open_source(str(source)), tmp_path / name).store
        for name, source in (("folder", folder), ("zip", tmp_path / "a.zip"))
    ]
    assert stores[0].content_hash == stores[1].content_hash
    assert stores[0].body_choice == {"actor 1": 6, "actor 2": 1}


def elsewhere(clips: Sequence[Clip], setup: int, action: int) -> list[Clip]:
    """The clips as another setup's and action's."""
    return [
        dataclasses.replace(one, name=f"S{setup:03}{one.name[4:16]}A{action:03}", label=action - 1)
        for one in clips
    ]


def test_both_zips_together_are_ntu_120(tmp_path: Path, clips: list[Clip]) -> None:
    first = as_zip(clips[:2], tmp_path)
    later = elsewhere(clips[2:3], 18, 61)
    second = as_zip(later, tmp_path, name="nturgbd_skeletons_s018_to_s032.zip")
    source = open_source([str(first), str(second)])
    assert source.kind == "NTU RGB+D 120 .skeleton files in 2 zips"
    store = prepare(source, tmp_path / "store").store
    assert store.names == (clips[0].name, clips[1].name, later[0].name)
    assert set(store.splits) == {"xsub", "xset"}
    assert len(store.class_names) == 120


def test_dataset_says_what_the_names_leave_open(tmp_path: Path, clips: list[Clip]) -> None:
    first = as_zip(clips[:2], tmp_path)
    assert open_source(str(first)).kind.startswith("NTU RGB+D 60")
    source = open_source(str(first), dataset="ntu120")
    assert (len(source.class_names), set(source.splits([]))) == (120, {"xsub", "xset"})

    second = as_zip(elsewhere(clips[2:3], 18, 61), tmp_path, name="second.zip")
    only_60 = open_source([str(first), str(second)], dataset="ntu60")
    done = prepare(only_60, tmp_path / "store")
    assert len(done.store) == 2
    assert done.store.counts == {"samples of another set left out": 1}


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a.zip", "set.pkl"], r"set\.pkl: is of the format pyskl and a\.zip of ntu-skeleton"),
        (["synthetic", "set.pkl"], "only sources of one format go together"),
        (["nowhere.zip"], "nowhere.zip: no such file or folder"),
        (["a.zip", "a.zip"], "are the same sample"),
        (["notes.txt"], "notes.txt: text that begins with 'hello'; its format isn't known"),
        (["empty"], "empty: a folder without any file; its format isn't known"),
    ],
)
def test_sources_that_do_not_go_are_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clips: list[Clip],
    sources: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    as_zip(clips[:1], tmp_path, name="a.zip")
    as_pickle(clips[:1], tmp_path)
    Path("notes.txt").write_text("hello")
    Path("empty").mkdir()
    with pytest.raises(UserError, match=message):
        open_source(sources)


def test_npz_and_arrays_ask_for_the_right_layout(tmp_path: Path, clips: list[Clip]) -> None:
    for write in (as_npz, as_last_arrays):
        path = write(clips, tmp_path)
        with pytest.raises(UserError, match=r"layout uiprmd22 needs .*name another with --layout"):
            open_source(str(path), layout="uiprmd22")


@pytest.mark.parametrize(("name", "split"), [("NTU60_CV.npz", "xview"), ("mine.npz", "default")])
def test_an_npz_is_the_split_that_its_name_says(
    tmp_path: Path, clips: list[Clip], name: str, split: str
) -> None:
    path = as_npz(clips, tmp_path).rename(tmp_path / name)
    assert set(open_source(str(path)).splits([])) == {split}


def test_a_label_that_is_not_one_hot_is_a_bad_clip(tmp_path: Path) -> None:
    x, y = np.ones((2, 5, 150), np.float32), np.eye(60)[[0, 1]]
    y[1, 7] = 1
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y[[0, 0]])
    readings = list(open_source(str(tmp_path / "a.npz")).read(0, 4))
    assert [one.fault is None for one in readings] == [True, False, True, True]
    assert "isn't one-hot" in str(readings[1].fault)


def test_labels_that_would_run_code_are_refused(tmp_path: Path, clips: list[Clip]) -> None:
    path = as_last_arrays(clips, tmp_path)
    (path / "val_label.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(
        UserError, match=r"val_label.pkl holds a os\.system, and reading that may run"
    ):
        open_source(str(path))


# ------------------------------------------------------------------- zips that aren't to be trusted


def only_fault(path: Path) -> str:
    (reading,) = open_source(str(path)).read(0, 1)
    assert reading.clip is None
    return str(reading.fault)


def zip_of(path: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


NAME = "S001C001P001R001A001.skeleton"


@pytest.mark.parametrize("name", [f"../{NAME}", f"/etc/{NAME}", f"a/../../{NAME}", f"C:\\{NAME}"])
def test_a_path_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="leads out of the archive"):
        open_source(str(zip_of(tmp_path / "a.zip", name, b"0\n")))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", NAME, b"1 " * (LARGEST_TEXT // 2 + 1))
    assert path.stat().st_size < 100_000
    assert "unpacks to more than a recording can hold" in only_fault(path)


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", NAME, b"1 " * (LARGEST_TEXT // 2 + 1))
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    assert "its checksum is wrong" in only_fault(path)


def test_a_damaged_member_is_a_bad_sample_and_the_others_are_read(
    tmp_path: Path, clips: list[Clip]
) -> None:
    path = as_zip(clips[:3], tmp_path)
    with zipfile.ZipFile(path) as archive:
        at = archive.infolist()[1].header_offset + 200
    data = bytearray(path.read_bytes())
    data[at : at + 30] = bytes(30)
    path.write_bytes(data)
    done = prepare(open_source(str(path)), tmp_path / "store")
    assert done.store.names == (clips[0].name, clips[2].name)
    (fault,) = done.faults
    assert clips[1].name in fault and str(path) in fault


def test_a_large_pickle_is_indexed_and_not_loaded(tmp_path: Path) -> None:
    """What is kept of an array is its place in the file."""
    from lastkd.data.formats.datasets.pickled import StoredArray, load_pickle

    array = np.arange(3 * 10**5, dtype=np.float32).reshape(3, -1)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickle.dumps([array, np.asfortranarray(array)], protocol))
        found = load_pickle(path, lazily=True)
        for one in found:
            assert isinstance(one, StoredArray)
            assert (one.shape, one.dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(one.read(), array)
