"""The packed store: what goes in comes out, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.store.clip_store import CLIPS_FILE, ClipStore
from lastkd.data.store.packing import pack_clips
from lastkd.data.store.writer import StoreWriter
from lastkd.errors import UserError

LAYOUT = get_layout("ntu25")


def clip(name: str, frames: int = 5, bodies: int = 2, label: int = 0) -> Clip:
    draws = np.random.default_rng(len(name)).normal(size=(frames, bodies, 25, 3))
    return Clip(name, label, draws.astype(np.float32), performer=3)


def write(out: Path, clips: list[Clip], classes: int = 2) -> ClipStore:
    with StoreWriter(out, LAYOUT) as writer:
        for each in clips:
            writer.add(each)
        writer.finish(
            class_names=[f"class {k}" for k in range(classes)],
            splits={"xsub": {"train": [clips[0].name], "test": [c.name for c in clips[1:]]}},
            source="made up",
            counts={"left out": 3},
        )
    return ClipStore.open(out)


def test_clips_come_back_as_they_were(tmp_path: Path) -> None:
    clips = [clip("a"), clip("bb", frames=9, bodies=1, label=1), clip("ccc", frames=2)]
    store = write(tmp_path / "s", clips)
    for index, each in enumerate(clips):
        np.testing.assert_array_equal(store.clip(index), each.joints)
    assert store.names == ("a", "bb", "ccc")
    assert store.labels.tolist() == [0, 1, 0]
    train, test = store.split("xsub")
    assert (train.tolist(), test.tolist()) == ([0], [1, 2])


def test_an_absent_body_takes_no_room(tmp_path: Path) -> None:
    alone = clip("a")
    alone.joints[:, 1] = 0
    store = write(tmp_path / "s", [alone, clip("b", bodies=2)])
    assert store.bodies.tolist() == [1, 2]
    size = (tmp_path / "s" / CLIPS_FILE).stat().st_size
    assert size < 4096 + 15 * 25 * 3 * 4 + 1000


def test_info_has_what_scripts_read(tmp_path: Path) -> None:
    about = write(tmp_path / "s", [clip("a"), clip("b", frames=9, bodies=1)]).about()
    assert json.loads(json.dumps(about)) == about
    assert about["clips"] == 2
    assert about["classes"] == 2
    assert about["splits"] == {"xsub": {"train": 1, "test": 1}}
    assert about["frames"] == {"min": 5, "median": 7.0, "max": 9}
    assert about["two_body_share"] == 0.5
    assert about["layout"] == "ntu25"
    assert about["source"] == "made up"


def test_the_content_hash_tells_clips_apart(tmp_path: Path) -> None:
    one = write(tmp_path / "one", [clip("a"), clip("b")])
    same = write(tmp_path / "same", [clip("a"), clip("b")])
    moved = clip("b")
    moved.joints[0, 0, 0, 0] += 1e-6
    other = write(tmp_path / "other", [clip("a"), moved])
    assert one.content_hash == same.content_hash != other.content_hash


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_coordinate_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    broken = clip("broken")
    broken.joints[1, 0, 2, 0] = value
    with pytest.raises(UserError, match="clip broken"):
        write(tmp_path / "s", [clip("a"), broken])
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s", LAYOUT) as writer:
        writer.add(clip("a"))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        StoreWriter(tmp_path / "s", LAYOUT)
    assert (tmp_path / "s" / "mine.txt").read_text() == "precious"


def test_twice_the_same_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="occurs twice"):
        write(tmp_path / "s", [clip("a"), clip("a")])


def test_twice_the_same_name_among_clips_that_are_taken_together_is_refused(tmp_path: Path) -> None:
    packed = pack_clips([clip("a"), clip("b"), clip("a")], LAYOUT)
    with (
        pytest.raises(UserError, match="clip a: occurs twice"),
        StoreWriter(tmp_path / "s", LAYOUT) as writer,
    ):
        writer.take(packed)
    assert list(tmp_path.iterdir()) == []


def test_a_label_without_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label 7"):
        write(tmp_path / "s", [clip("a", label=7), clip("b")])


def test_an_unknown_split_names_the_known_ones(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [clip("a"), clip("b")])
    with pytest.raises(UserError, match="xsub"):
        store.split("xsubb")


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_a_truncated_store_is_one_sentence(tmp_path: Path, cut: int) -> None:
    write(tmp_path / "s", [clip("a"), clip("b")])
    file = tmp_path / "s" / CLIPS_FILE
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(UserError, match="not a whole store"):
        ClipStore.open(tmp_path / "s")


def test_a_missing_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lastkd prepare"):
        ClipStore.open(tmp_path / "nowhere")
