"""Which way is up in a set of one's own: told where it isn't y, turned where it is said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import untrained
from estimator_files import film, openpose
from made_up_sets import (
    PERFORMERS,
    annotations,
    in_layout,
    lastkd,
    prepared,
    refused,
    synthetic_clips,
    write_pickle,
)

from lastkd.data.open_source import open_source
from lastkd.data.store.clip_store import ClipStore
from lastkd.evaluation.predict import Predictor
from lastkd.files.shipped import CONFIGS
from lastkd.live.checkpoint_classifier import CheckpointClassifier
from lastkd.live.open_source import open_frames


@pytest.fixture(scope="module")
def own() -> list[dict[str, Any]]:
    """Annotations of 16 classes by two performers, in the Kinect's order of joints."""
    return annotations(synthetic_clips())


TURNS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "-y": lambda x, y, z: (x, -y, -z),
    "z": lambda x, y, z: (x, -z, y),
    "-z": lambda x, y, z: (x, z, -y),
    "x": lambda x, y, z: (y, -x, z),
    "-x": lambda x, y, z: (-y, x, z),
}
"""Which way is up then -> x, y and z of a source instead of ours."""


def with_up(own: list[dict[str, Any]], up: str) -> list[dict[str, Any]]:
    return [
        one | {"keypoint": np.stack(TURNS[up](*np.moveaxis(one["keypoint"], -1, 0)), axis=-1)}
        for one in own
    ]


@pytest.mark.parametrize(
    ("up", "message"),
    [
        ("z", "the bodies lie: y should point up"),
        ("-y", "upside down: y should point up; prepare again with --up -y"),
        ("x", "the bodies lie: y should point up"),
    ],
)
def test_an_up_that_is_not_y_is_told(tmp_path: Path, own: list, up: str, message: str) -> None:
    source = write_pickle(tmp_path / "set.pkl", with_up(own, up))
    _, about = prepared(tmp_path, source, "--layout", "kinect20", *PERFORMERS)
    (warning,) = about["warnings"]
    assert message in warning


@pytest.mark.parametrize("up", TURNS)
def test_up_turns_a_set_to_what_it_would_be_with_y(tmp_path: Path, own: list, up: str) -> None:
    plain = write_pickle(tmp_path / "plain.pkl", own)
    prepared(tmp_path, plain, "--layout", "kinect20", *PERFORMERS)
    expected = ClipStore.open((tmp_path / "store").rename(tmp_path / "expected"))
    turned = write_pickle(tmp_path / "turned.pkl", with_up(own, up))
    _, about = prepared(tmp_path, turned, "--layout", "kinect20", f"--up={up}", *PERFORMERS)
    assert about["warnings"] == []
    store = ClipStore.open(tmp_path / "store")
    for clip in range(len(store)):
        np.testing.assert_allclose(store.clip(clip), expected.clip(clip), atol=1e-5)


def test_a_model_knows_which_way_is_up_in_the_files_of_its_set(tmp_path: Path, own: list) -> None:
    layout = tmp_path / "mine.yaml"
    usual = CONFIGS.joinpath("layout", "kinect20.yaml").read_text()
    layout.write_text(usual.replace("name: kinect20", "name: mine") + "up: z\n")
    source = write_pickle(tmp_path / "set.pkl", with_up(own, "z"))
    prepared(tmp_path, source, "--layout", layout, *PERFORMERS)
    store = ClipStore.open(tmp_path / "store")
    path = untrained(tmp_path / "a.safetensors", store)
    named = Predictor(path, data=store.path)
    new = Predictor(path).all(source)
    for name, prediction in zip(store.names[:4], new, strict=False):
        expected = named(name).probabilities
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
    played = open_frames(str(source), store.names[0], CheckpointClassifier(path).facts)
    frame = next(iter(played.frames(threading.Event())))
    assert frame is not None and frame.joints is not None
    raw = in_layout(synthetic_clips()[0], "kinect20")[0, 0]
    np.testing.assert_allclose(frame.joints[0], raw, atol=1e-5)


def test_skeleton_files_of_another_sensor_may_have_y_down(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    options = ("--subjects", 2, "--repetitions", 1, "--as-skeleton-files")
    assert lastkd("prepare", "synthetic", *options, "--out", folder).exit_code == 0
    plain = open_source(str(folder))
    down = open_source(str(folder), up="-y")
    (ours,), (turned,) = (list(source.readings(0, 1)) for source in (plain, down))
    assert ours.clip is not None and turned.clip is not None
    np.testing.assert_allclose(turned.clip.joints, ours.clip.joints * [1, -1, -1], atol=1e-6)
    prepared(tmp_path, folder, "--up=-y", *PERFORMERS)
    store = ClipStore.open(tmp_path / "store")
    facts = CheckpointClassifier(untrained(tmp_path / "a.safetensors", store)).facts
    file = next(folder.rglob(f"{ours.name}.skeleton"))
    frame = next(iter(open_frames(str(file), None, facts).frames(threading.Event())))
    assert frame is not None and frame.joints is not None
    np.testing.assert_allclose(frame.joints[0], turned.clip.joints[0, 0], atol=1e-5)


def test_up_goes_with_coordinates_that_dont_say_it(tmp_path: Path) -> None:
    source = openpose([film("x/a", 25), film("y/b", 25)], tmp_path)
    said = refused(tmp_path, source, "--up", "y")
    assert "OpenPose JSON says itself which way is up; leave out --up y" in said
    for name in ("x/a", "y/b"):
        path = tmp_path / "flat" / f"{name}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, np.random.default_rng(0).uniform(50, 90, (20, 17, 2)))
    said = refused(tmp_path, tmp_path / "flat", "--layout", "coco17", "--up", "z")
    assert "--up z: layout coco17 is flat; give y or -y" in said
