"""`lastkd live` as another program uses it: sources in, a line of JSON a prediction out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import untrained
from click.testing import CliRunner, Result
from conftest import shared
from test_live_predictor import LITTLE, Recorder, person

import lastkd
from lastkd.cli.app import cli
from lastkd.data.frames import BROKEN, FOREIGN, Frame, parse_line
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.live.line_writer import WAITING, LineWriter
from lastkd.live.open_source import open_frames
from lastkd.live.predictor import StreamPredictor
from lastkd.live.session import MISFIT, LiveSession
from lastkd.live.sources import FrameSource, GrowingFolder, RecordedClip


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "a.safetensors"
    return untrained(path, store_path, LITTLE, seed=1, settings={"frames": 16})


def live(*words: object, stdin: bytes | None = None) -> Result:
    runner = CliRunner()
    return runner.invoke(cli, ["live", *map(str, words)], input=stdin)


def lines(result: Result) -> list[dict[str, Any]]:
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- sources ------------------------------------------------------------------------------------


def test_a_stores_clip_an_array_and_json_lines_give_the_same_predictions(
    nano: Path, store_path: Path, tmp_path: Path
) -> None:
    store = ClipStore.open(store_path)
    name, joints = store.names[3], store.clip(3)
    np.save(tmp_path / "clip.npy", joints)
    rows = [
        json.dumps({"joints": frame.tolist(), "time": number / 30})
        for number, frame in enumerate(joints)
    ]
    (tmp_path / "clip.jsonl").write_text("\n".join(rows))
    options = ("--json", "--speed", "max", "--step", "0.1")
    expected = lines(live(nano, store_path, name, *options))
    assert len(expected) > 5
    for source in (tmp_path / "clip.npy", tmp_path / "clip.jsonl"):
        found = lines(live(nano, source, *options))
        for one, other in zip(found, expected, strict=True):
            assert one["time"] == other["time"]
            assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    piped = lines(live(nano, "-", *options, stdin="\n".join(rows).encode()))
    assert [one["label"] for one in piped] == [one["label"] for one in expected]
    assert set(expected[0]) == {
        "time", "start", "frames", "action", "label", "probability", "top", "speed",
        "milliseconds", "late_ms",
    }  # fmt: skip


def test_a_raw_skeleton_file_is_played_with_its_bodies(nano: Path) -> None:
    path = shared("data", "ntu_samples", "S001C003P008R002A058.skeleton")
    found = lines(live(nano, path, "--json", "--speed", "max", "--window", "60", "--step", "0"))
    (expected,) = lastkd.predict_clips(nano, [path])
    assert found[-1]["label"] == int(expected.probabilities.argmax())


def test_a_clip_is_played_at_its_own_rate(nano: Path, store_path: Path) -> None:
    joints = ClipStore.open(store_path).clip(0)
    predictor = StreamPredictor(nano, bodies="given")
    session = LiveSession(predictor, RecordedClip("clip", joints, 30), speed=4)
    begun = time.monotonic()
    session.run()
    took = time.monotonic() - begun
    assert session.frames == len(joints)
    assert took >= 0.9 * (len(joints) - 1) / 30 / 4


def test_a_loop_goes_on_until_it_is_stopped() -> None:
    joints = np.stack([person(0.01 * n)[None] for n in range(40)])
    session = LiveSession(StreamPredictor(Recorder()), RecordedClip("c", joints, 30), speed=None)
    session.loop = True
    times: list[float] = []

    def count(frame: Frame, now: float) -> None:
        times.append(now)
        if len(times) == 100:
            session.stop.set()

    session.on_frame = count
    session.run()
    assert len(times) == 100
    np.testing.assert_allclose(np.diff(times), 1 / 30, atol=1e-9)
    assert not session.skipped


def test_a_folder_is_read_while_an_estimator_writes_it(tmp_path: Path) -> None:
    def text(number: int) -> str:
        rows = [(0.1 * number, joint, 0.9) for joint in range(5)]
        return json.dumps({"people": [{"pose_keypoints_2d": list(np.ravel(rows))}]})

    def file(number: int) -> Path:
        return tmp_path / f"clip_{number:012}_keypoints.json"

    for number in range(10):
        file(number).write_text(text(number))
    source = GrowingFolder(tmp_path, 30, 2, wait_s=1.0)
    model = Recorder(bodies=1, dimensions=2)
    session = LiveSession(StreamPredictor(model, step=0, window=1.0), source, speed=None)
    thread = threading.Thread(target=session.run)
    thread.start()
    for number in range(10, 40):
        if number == 20:  # half of it first
            file(number).write_text(text(number)[:30])
            time.sleep(0.1)
        file(number).write_text(text(number))
    thread.join(20)
    assert not thread.is_alive()
    assert (session.frames, session.skipped) == (40, {})
    np.testing.assert_allclose(model.clips[-1][-30:, 0, 0, 0], 0.1 * np.arange(10, 40), atol=1e-5)


def test_a_folders_numbers_need_no_leading_zeros(tmp_path: Path) -> None:
    def write(number: int) -> None:
        text = json.dumps({"joints": np.full((1, 5, 3), number).tolist()})
        (tmp_path / f"frame_{number}.json").write_text(text)

    for number in (8, 9, 10, 11):
        write(number)
    source = GrowingFolder(tmp_path, rate=1, dimensions=3, wait_s=0.2)
    seen: list[float] = []
    for frame in source.frames(threading.Event()):
        if frame is not None and frame.time is not None:
            seen.append(frame.time)
            if len(seen) == 4:
                write(100)
    assert seen == [8, 9, 10, 11, 100]


def test_the_last_look_at_a_folder_is_not_late(tmp_path: Path) -> None:
    """However long it was waited for more."""
    (tmp_path / "out").mkdir()
    for number in range(20):
        text = json.dumps({"time": number / 30, "joints": person().tolist()})
        (tmp_path / "out" / f"{number:03d}.json").write_text(text)
    source = GrowingFolder(tmp_path / "out", rate=30, dimensions=3, wait_s=0.5)
    session = LiveSession(StreamPredictor(Recorder(bodies=1), window=1.0, step=10.0), source)
    late = []
    session.on_prediction = lambda prediction, seconds: late.append(seconds)
    session.run()
    assert late and late[-1] < 0.3


def test_a_folder_of_an_estimators_files_is_played_frame_by_frame(tmp_path: Path) -> None:
    for number in range(3):
        text = json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 0.5] * 25}]})
        (tmp_path / f"clip_{number:012}_keypoints.json").write_text(text)
    source = open_frames(str(tmp_path), None, Recorder(25).facts, rate=30)
    assert isinstance(source, GrowingFolder)


PERSON = {"x": 0.25, "y": 0.5, "z": -0.1, "visibility": 0.8}


@pytest.mark.parametrize(
    ("value", "dimensions", "joints", "scores"),
    [
        ([[[1, 2, 3]]], 3, [1, 2, 3], None),
        ({"joints": [[[1, 2]]], "scores": [[0.5]]}, 2, [1, 2], 0.5),
        ({"people": [{"pose_keypoints_2d": [1, 2, 0.5]}]}, 2, [1, 2], 0.5),
        ({"people": [{"pose_keypoints_3d": [1, 2, 3, 0.5]}]}, 3, [1, 2, 3], 0.5),
        ({"image_id": "0.jpg", "keypoints": [1, 2, 0.5], "idx": 4}, 2, [1, 2], 0.5),
        ([{"image_id": "0.jpg", "keypoints": [1, 2, 0.5]}], 2, [1, 2], 0.5),
        ({"instances": [{"keypoints": [[1, 2]], "keypoint_scores": [0.5]}]}, 2, [1, 2], 0.5),
        ([{"name": "person", "keypoints": {"x": [1], "y": [2], "visible": [0.5]}}], 2, [1, 2], 0.5),
        ({"pose_world_landmarks": [[PERSON]]}, 3, [0.25, -0.5, 0.1], 0.8),
        ({"pose_landmarks": [PERSON], "width": 640, "height": 480}, 2, [160, 240], 0.8),
    ],
)
def test_what_estimators_write_is_understood(
    value: object, dimensions: int, joints: list[float], scores: float | None
) -> None:
    frame = parse_line(json.dumps(value), dimensions=dimensions)
    assert frame.fault is None and frame.joints is not None
    np.testing.assert_allclose(frame.joints, [[joints]])
    if scores is None:
        assert frame.scores is None
    else:
        np.testing.assert_allclose(frame.scores, [[scores]], rtol=1e-6)


@pytest.mark.parametrize(
    ("key", "value", "time"), [("time", 1.5, 1.5), ("timestamp_ms", 40, 0.04), ("frame", 3, None)]
)
def test_a_line_may_say_its_time(key: str, value: float, time: float | None) -> None:
    assert parse_line(json.dumps({"people": [], key: value}), dimensions=2).time == time


# --- bad input ----------------------------------------------------------------------------------


def test_bad_lines_are_skipped_and_counted_on_stderr(nano: Path, store_path: Path) -> None:
    joints = ClipStore.open(store_path).clip(0)[:, :1]
    rows = [
        json.dumps({"joints": frame.tolist(), "time": number / 30})
        for number, frame in enumerate(joints)
    ]
    rows[5:5] = ["{broken", "[" * 100_000, '{"a": 1}', "3", '{"joints": [[[1, 2, 3]]]}']
    rows.append('{"joints": NaN}')
    result = live(nano, "-", "--json", "--speed", "max", stdin="\n".join(rows).encode())
    assert lines(result)
    assert f"stdin: 2 {BROKEN}" in result.stderr
    assert f"stdin: 2 {FOREIGN}" in result.stderr
    assert f"stdin: 2 {MISFIT}" in result.stderr


def test_a_source_of_another_skeleton_alone_is_one_sentence(nano: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", np.zeros((20, 1, 17, 3), np.float32))
    result = live(nano, tmp_path / "clip.npy", "--json", "--loop", "--speed", "max")
    assert isinstance(result.exception, UserError)
    assert "17" in str(result.exception) and "25" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "no such file or folder"),
        ((), "name one source"),
        (("-", "--camera", "0"), "name one source"),
        (("table.csv",), "holds no frames that can be played"),
        (("full",), "holds no frames that can be played"),
        (("broken.npy",), "can't be read as an array"),
        (("-", "--window", "0"), "must be above 0"),
    ],
)
def test_a_mistake_is_one_sentence(
    nano: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("1,2")
    (tmp_path / "broken.npy").write_text("1,2")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("")
    result = live(nano, *words, "--json")
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_the_picture_needs_a_terminal(nano: Path) -> None:
    result = live(nano, "-")
    assert isinstance(result.exception, UserError)
    assert "--json prints one line" in str(result.exception)


# --- readers ------------------------------------------------------------------------------------


def test_a_slow_reader_loses_predictions_and_never_their_order() -> None:
    source, sink = os.pipe()
    os.set_blocking(sink, True)
    padding = "x" * 20_000  # a few lines fill the pipe
    with os.fdopen(sink, "wb") as stream:
        writer = LineWriter(stream, on_closed=lambda: None)
        begun = time.monotonic()
        for number in range(100):
            writer.write({"number": number, "padding": padding})
            time.sleep(0.001)
        assert time.monotonic() - begun < 5  # the stream was never held up
        read = threading.Thread(target=writer.close)
        read.start()
        got = []
        with os.fdopen(source, "rb") as pipe:
            for line in pipe:
                got.append(json.loads(line))
                if got[-1]["number"] == 99:
                    break
        read.join(5)
    numbers = [one["number"] for one in got]
    assert numbers == sorted(numbers) and len(numbers) < 60
    assert numbers[-WAITING:] == list(range(100 - WAITING, 100))
    assert sum(one.get("dropped", 0) for one in got) == 100 - len(got)


class Endless(FrameSource):
    """Somebody who stands still, for ever."""

    name = "endless"

    def frames(self, stop: threading.Event) -> Any:
        for number in range(10**9):
            yield Frame(person()[None], number / 30)


def test_a_reader_that_goes_ends_the_session() -> None:
    source, sink = os.pipe()
    session = LiveSession(StreamPredictor(Recorder(), step=0), Endless(), speed=None)
    with os.fdopen(sink, "wb", buffering=0) as stream:
        writer = LineWriter(stream, drop=False, on_closed=session.stop.set)
        session.on_prediction = lambda prediction, late: writer.write(prediction.to_dict())
        thread = threading.Thread(target=session.run)
        thread.start()
        assert os.read(source, 10)
        os.close(source)
        thread.join(10)
        assert not thread.is_alive()
        writer.close()
    assert writer.closed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("speed", ["1", "max"])
def test_a_full_disk_is_one_sentence(nano: Path, store_path: Path, speed: str) -> None:
    command = [sys.executable, "-m", "lastkd", "live", str(nano), str(store_path), "--json"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*command, "--speed", speed, "--loop"],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        b"Error: stdout: cannot be written (No space left on device); free some space\n"
    )


def test_a_closed_pipe_ends_the_command_cleanly(nano: Path, store_path: Path) -> None:
    command = [sys.executable, "-m", "lastkd", "live", str(nano), str(store_path), "--json"]
    words = [*command, "--loop", "--speed", "max", "--step", "0.05"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    first = json.loads(process.stdout.readline())
    assert 0 < first["probability"] <= 1
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
