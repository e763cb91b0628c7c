"""Frame rates: who says them, how a store keeps them, and what plays and measures by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from estimator_files import Filmed, film, mediapipe_image, openpose
from made_up_sets import annotations, lastkd, synthetic_clips, write_pickle
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.open_source import open_source
from lastkd.data.store.clip_store import CLIPS_FILE, ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.errors import UserError
from lastkd.evaluation.calibration import Calibration
from lastkd.live.classifier import ModelFacts
from lastkd.live.joined_clips import join_clips
from lastkd.live.open_source import open_frames
from lastkd.live.sources import RecordedClip


def write(out: Path, *rates: float, frames: int = 30, default: float = 0.0) -> ClipStore:
    """A clip of each frame rate, all alike."""
    joints = np.random.default_rng(0).normal(size=(frames, 1, 25, 3)).astype(np.float32)
    clips = [Clip(f"clip{at}", 0, joints, 1, fps=rate) for at, rate in enumerate(rates)]
    with StoreWriter(out, get_layout("ntu25")) as writer:
        for clip in clips:
            writer.add(clip)
        splits = {"all": {"train": [clips[0].name], "test": [clips[-1].name]}}
        writer.finish(class_names=["one"], splits=splits, source="", counts={}, fps=default)
    return ClipStore.open(out)


def prepared(source: Path, out: Path, table: str, *options: object) -> ClipStore:
    labels = out.with_suffix(".csv")
    labels.write_text(table)
    done = lastkd("prepare", source, "--out", out, "--labels", labels, *options)
    assert done.exit_code == 0, done.exception
    return ClipStore.open(out)


def every_second_frame(folder: Path, clips: list[Filmed]) -> Path:
    source = openpose(clips, folder)
    for file in source.rglob("*_keypoints.json"):
        if int(file.stem.split("_")[-2]) % 2:
            file.unlink()
    return source


# ------------------------------------------------------------------------------ who says it


def test_the_table_says_it_before_the_option(tmp_path: Path) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    table = "file,label,fps\na,0,25\nb,1,\n"
    assert prepared(source, tmp_path / "s", table).fps.tolist() == [25, 0]
    assert prepared(source, tmp_path / "t", table, "--fps", 50).fps.tolist() == [25, 50]


@pytest.mark.parametrize(
    ("text", "fps"), [("29.97", 29.97), ("29,97", 29.97), ("0", None), ("fast", None)]
)
def test_the_table_may_have_decimal_commas(tmp_path: Path, text: str, fps: float | None) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    table = f"file;label;fps\na;0;{text}\nb;1;25\n"
    if fps is None:
        (tmp_path / "l.csv").write_text(table)
        with pytest.raises(UserError, match=rf"line 2 has '{text}' for fps; give a number above 0"):
            open_source(str(source), labels=tmp_path / "l.csv")
    else:
        assert prepared(source, tmp_path / "s", table).fps.tolist() == [fps, 25]


def test_an_estimator_that_looked_at_every_second_frame_halves_it(tmp_path: Path) -> None:
    source = every_second_frame(tmp_path, [film("a", 25), film("b", 25)])
    store = prepared(source, tmp_path / "s", "file,label,fps\na,0,50\nb,1,30\n")
    assert store.fps.tolist() == [25, 15]
    assert store.frames.tolist() == [20, 20]


@pytest.mark.parametrize(("key", "unit"), [("timestamp_ms", 1000), ("timestamp", 1), ("time", 1)])
def test_mediapipes_timestamps_say_it(tmp_path: Path, key: str, unit: int) -> None:
    source = mediapipe_image([film("a", 33), film("b", 33)], tmp_path)
    lines = (source / "a.jsonl").read_text().splitlines()
    timed = [
        json.dumps({key: 7 * unit + at * unit / 25, "pose_landmarks": json.loads(line)})
        for at, line in enumerate(lines)
    ]
    (source / "a.jsonl").write_text("\n".join(timed))
    options = ("--image-size", "1280x720")
    store = prepared(source, tmp_path / "s", "file,label\na,0\nb,1\n", *options)
    assert store.fps.tolist() == [25, 0]


def test_a_kinects_formats_have_30(tmp_path: Path) -> None:
    written = lastkd(
        "prepare", "synthetic", "--subjects", 2, "--repetitions", 1, "--as-skeleton-files",
        "--out", tmp_path / "raw",
    )  # fmt: skip
    assert written.exit_code == 0
    assert lastkd("prepare", tmp_path / "raw", "--out", tmp_path / "s").exit_code == 0
    assert set(ClipStore.open(tmp_path / "s").fps) == {30}
    assert lastkd("prepare", tmp_path / "raw", "--out", tmp_path / "t", "--fps", 15).exit_code == 0
    assert set(ClipStore.open(tmp_path / "t").fps) == {15}


def test_other_sets_have_none_unless_the_option_says_it(tmp_path: Path) -> None:
    source = write_pickle(tmp_path / "mine.pkl", annotations(synthetic_clips()))
    for out, options in (("s", ()), ("t", ("--fps", 60))):
        words = ("prepare", source, "--out", tmp_path / out, "--layout", "kinect20", *options)
        assert lastkd(*words).exit_code == 0
    assert set(ClipStore.open(tmp_path / "s").fps) == {0}
    assert set(ClipStore.open(tmp_path / "t").fps) == {60}
    text = lastkd("info", tmp_path / "s").output
    assert "frames per second: not known, taken for 30; lastkd prepare --fps says it" in text
    assert "frames per second: 60\n" in lastkd("info", tmp_path / "t").output


# ------------------------------------------------------------------------------ in the store


def test_info_has_the_range_and_the_clips_without_one(tmp_path: Path) -> None:
    store = write(tmp_path / "s", 25, 50, 0)
    assert store.about()["frames_per_second"] == {"min": 25, "max": 50, "unknown": 1}
    assert "frames per second: 25 to 50; not known of 1 clips" in lastkd("info", store.path).output
    clips = np.arange(3)
    assert store.frames_per_second(clips).tolist() == [25, 50, 30]
    assert store.frames_per_second(clips, otherwise=10).tolist() == [25, 50, 10]


def test_a_store_without_rates_has_no_column_and_means_30(tmp_path: Path) -> None:
    store = write(tmp_path / "s", 0, 0)
    with safe_open(store.path / CLIPS_FILE, "np") as file:
        assert "fps" not in file.keys()  # noqa: SIM118 (a file, and no mapping)
    assert store.frames_per_second(np.arange(2)).tolist() == [30, 30]


def test_rates_are_no_content(tmp_path: Path) -> None:
    plain, timed = write(tmp_path / "s", 0, 0), write(tmp_path / "t", 0, 25, default=50)
    assert plain.content_hash == timed.content_hash
    assert timed.fps.tolist() == [50, 25]
    assert timed.equal_clips == 1


def test_a_store_that_was_taken_up_again_has_those_of_all_clips(tmp_path: Path) -> None:
    joints = np.ones((5, 1, 25, 3), np.float32)
    for at, rate in enumerate((25.0, 50.0)):
        with StoreWriter(tmp_path / "s", get_layout("ntu25"), identity="same") as writer:
            writer.add(Clip(f"clip{at}", 0, joints + at, fps=rate))
            if len(writer) == 2:
                writer.finish(class_names=["one"], splits={}, source="", counts={})
    assert ClipStore.open(tmp_path / "s").fps.tolist() == [25, 50]


@pytest.mark.parametrize("rates", [[30.0], [30.0, np.nan], [30.0, -1.0]])
def test_damaged_rates_are_a_sentence(tmp_path: Path, rates: list[float]) -> None:
    store = write(tmp_path / "s", 25, 25)
    with safe_open(store.path / CLIPS_FILE, "np") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    save_file(tensors | {"fps": np.array(rates)}, store.path / CLIPS_FILE)
    with pytest.raises(UserError, match=r"is not a whole store \(fps .*\); prepare it again"):
        ClipStore.open(store.path)


# ------------------------------------------------------------------------------ what goes by it


@pytest.mark.parametrize(
    ("fps", "speed", "frames", "milliseconds"),
    [(25, 1, 30, 40), (0, 1, 30, 30), (50, 1, 30, 20), (100, 1, 15, 20), (25, 0.5, 30, 80)],
)
def test_an_animation_plays_at_the_clips_rate(
    tmp_path: Path, fps: float, speed: float, frames: int, milliseconds: int
) -> None:
    store = write(tmp_path / "s", fps)
    out = tmp_path / "clip.gif"
    assert lastkd("show", store.path, "--out", out, "--speed", speed).exit_code == 0
    image = Image.open(out)
    assert (image.n_frames, image.info["duration"]) == (frames, milliseconds)


def test_show_names_the_rate_where_it_is_known(tmp_path: Path) -> None:
    assert "30 frames at 25 a second" in lastkd("show", write(tmp_path / "s", 25).path).output
    assert "a second" not in lastkd("show", write(tmp_path / "t", 0).path).output


def facts(rate: float) -> ModelFacts:
    layout = get_layout("ntu25")
    return ModelFacts(
        name="nano",
        layout=layout.name,
        class_names=("one",),
        joints=layout.joints,
        parents=layout.parents,
        mirror=(),
        dimensions=3,
        bodies=2,
        calibration=Calibration(rate=rate),
    )


@pytest.mark.parametrize(
    ("stored", "asked", "played"), [(25, None, 25), (0, None, 20), (25, 50, 50), (0, 50, 50)]
)
def test_live_plays_a_stores_clip_at_its_rate(
    tmp_path: Path, stored: float, asked: float | None, played: float
) -> None:
    store = write(tmp_path / "s", stored)
    source = open_frames(str(store.path), None, facts(20), rate=asked)
    assert isinstance(source, RecordedClip) and source.rate == played


def test_clips_of_other_rates_last_as_long_in_a_stream(tmp_path: Path) -> None:
    store = write(tmp_path / "s", 30, 15, frames=40)
    lengths = []
    for clip in (0, 1):
        (stream,) = join_clips(store, np.array([clip]), rate=30, seed=0)
        (alone,) = join_clips(
            store, np.array([clip]), rate=30, seed=0, rates=np.array([30.0])
        )  # at the pace that this clip's number draws
        lengths.append([one.actions[0].stop - one.actions[0].start for one in (stream, alone)])
    assert lengths[0][0] == lengths[0][1]
    assert lengths[1][0] == pytest.approx(2 * lengths[1][1], abs=1)


def test_seconds_of_a_calibration_come_from_each_clips_rate() -> None:
    frames, rates = np.array([30, 60, 60, 120]), np.array([15.0, 30.0, 30.0, 60.0])
    fitted = Calibration().with_clips(frames, rates)
    assert (fitted.window_s, fitted.shortest_s, fitted.rate) == (2.0, 2.0, 30.0)
    assert Calibration().with_clips(frames, 30.0).window_s == 2.0
