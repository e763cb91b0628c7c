"""A stream gets the answers that its frames, as a clip, would get from `lastkd predict`."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from checkpoints import untrained
from conftest import shared

import lastkd
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.calibration import (
    Calibration,
    calibration_error,
    checkpoint_calibration,
    softmax,
    store_in_checkpoint,
)
from lastkd.export.checkpoint import export_checkpoint
from lastkd.live.classifier import ModelFacts
from lastkd.live.predictor import BACKWARDS, CROWDED, INTERRUPTED, RESTARTED, UNSEEN, UNTIMED
from lastkd.settings.architecture import LastEArchitecture

LITTLE = LastEArchitecture(
    name="little", channels=(16, 32, 48), blocks=(1, 1, 1), attention=(False, True, True)
)


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "a.safetensors"
    return untrained(path, store_path, LITTLE, seed=1, settings={"frames": 16})


@pytest.fixture(scope="module")
def onnx_file(nano: Path) -> Path:
    pytest.importorskip("onnxruntime")
    return Path(export_checkpoint(nano).path)


class Recorder:
    """A model whose answer is the shape of what it saw."""

    def __init__(self, joints: int = 5, bodies: int = 2, dimensions: int = 3) -> None:
        self.facts = ModelFacts(
            name="recorder",
            layout="line",
            class_names=("one", "two"),
            joints=tuple(f"joint {j}" for j in range(joints)),
            parents=(-1, *range(joints - 1)),
            mirror=(),
            dimensions=dimensions,
            bodies=bodies,
            calibration=Calibration(),
        )
        self.clips: list[np.ndarray] = []
        self.logits = np.zeros(2, np.float32)

    def __call__(self, joints: np.ndarray) -> np.ndarray:
        self.clips.append(joints)
        return self.logits


def person(x: float = 0.0, joints: int = 5) -> np.ndarray:
    """Somebody of height 1 who stands at x: `(V, 3)`."""
    pose = np.zeros((joints, 3), np.float32)
    pose[:, 1] = np.linspace(0, 1, joints)
    pose[:, 0] = x
    return pose


# --- equal to predict ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["onnx", "checkpoint"])
@pytest.mark.parametrize("bodies", ["tracked", "given"])
def test_a_window_that_is_the_clip_gives_what_predict_gives(
    nano: Path, onnx_file: Path, store_path: Path, kind: str, bodies: str
) -> None:
    store = ClipStore.open(store_path)
    model = onnx_file if kind == "onnx" else nano
    for name in (store.names[0], store.names[-1]):
        joints = store.clip(store.names.index(name))
        (expected,) = lastkd.predict_clips(nano, [name], data=store_path)
        stream = lastkd.StreamPredictor(model, window=len(joints) / 30, bodies=bodies)
        for number, frame in enumerate(joints):
            stream.push(frame, number / 30)
        got = stream.predict_now()
        assert got is not None and got.frames == len(joints)
        np.testing.assert_allclose(softmax(got.logits), expected.probabilities, atol=1e-5)


def test_the_bodies_of_a_raw_file_are_chosen_as_predict_chooses_them(nano: Path) -> None:
    """In a file of two people their order changes from frame to frame."""
    from lastkd.data.formats.datasets.ntu_skeleton import read_skeleton

    path = shared("data", "ntu_samples", "S001C003P008R002A058.skeleton")
    recording = read_skeleton(path)
    (expected,) = lastkd.predict_clips(nano, [path])
    stream = lastkd.StreamPredictor(nano, window=recording.total_frames / 30, bodies="kinect")
    for frame in range(recording.total_frames):
        poses = [
            track.joints[list(track.frames).index(frame)]
            for track in recording.tracks
            if frame in track.frames
        ]
        stream.push(poses[:: 1 if frame % 2 else -1], frame / 30)
    got = stream.predict_now()
    assert got is not None
    np.testing.assert_allclose(softmax(got.logits), expected.probabilities, atol=1e-4)


@pytest.mark.parametrize("rate", [10.0, 30.0, 117.0])
def test_the_frame_rate_does_not_change_what_the_model_sees(rate: float) -> None:
    model = Recorder(bodies=1)
    stream = lastkd.StreamPredictor(model, window=2.0, step=0.5)
    for number in range(int(4 * rate)):
        time = number / rate
        stream.push(person(time)[None], time)
    last = model.clips[-1][:, 0, 0, 0]
    assert np.ptp(last) == pytest.approx(2.0, abs=1.5 / rate)
    assert len(model.clips) == pytest.approx((4 - 1) / 0.5, abs=1)
    np.testing.assert_allclose(np.diff(last), 1 / rate, rtol=1e-3)


def test_frames_that_come_unevenly_are_spaced_evenly_in_time() -> None:
    model = Recorder(bodies=1)
    stream = lastkd.StreamPredictor(model, window=2.0, step=0)
    jitter = np.random.default_rng(0).uniform(-0.015, 0.015, 90)
    for time in np.arange(90) / 30 + jitter:
        stream.push(person(time)[None], float(time))
    steps = np.diff(model.clips[-1][:, 0, 0, 0])
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)


# --- people -------------------------------------------------------------------------------------


def test_two_who_cross_keep_their_places() -> None:
    model = Recorder()
    stream = lastkd.StreamPredictor(model, window=3.0, step=0)
    times = np.arange(60) / 30
    for number, time in enumerate(times):
        # the second one moves less, and is therefore actor 2
        both = [person(-1 + 1.5 * time), person(1 - 0.9 * time)]
        stream.push(both[:: 1 if number % 3 else -1], float(time))
    first, second = model.clips[-1][:, 0, 0, 0], model.clips[-1][:, 1, 0, 0]
    np.testing.assert_allclose(first, -1 + 1.5 * times, atol=1e-5)
    np.testing.assert_allclose(second, 1 - 0.9 * times, atol=1e-5)


def test_a_body_that_goes_is_absent_and_one_that_comes_is_somebody_new() -> None:
    model = Recorder()
    stream = lastkd.StreamPredictor(model, window=3.0, step=0)
    for number in range(80):
        frame = [person(0.01 * number)]
        if number < 30 or number >= 65:
            frame.append(person(3.0 + 0.002 * number))
        stream.push(np.array(frame), number / 30)
    clip = model.clips[-1]
    assert clip[:, 0].any(axis=(1, 2)).all()
    assert clip[:, 1].any(axis=(1, 2)).tolist() == [n < 30 or n >= 65 for n in range(80)]


def test_where_nobody_is_the_answer_is_nothing() -> None:
    model = Recorder()
    model.logits = np.float32([9, 0])
    stream = lastkd.StreamPredictor(model, window=1.0, step=0, threshold=0.5)
    for number in range(30):
        answer = stream.push(person()[None], number / 30)
    assert answer is not None and (answer.action, answer.label) == ("one", 0)
    for number in range(30, 70):
        answer = stream.push(None, number / 30)
    assert answer is not None and (answer.action, answer.frames) == ("nothing", 0)
    assert answer.to_dict()["action"] is None


# --- answers ------------------------------------------------------------------------------------


def test_predictions_are_smoothed_and_an_action_stays_until_another_is_likely() -> None:
    model = Recorder(bodies=1)
    stream = lastkd.StreamPredictor(model, window=1.0, step=0.1, smoothing=0.2, threshold=0.7)
    labels, top = [], []
    for number in range(120):
        model.logits = np.float32([5, 0] if number < 60 else [0, 5])
        answer = stream.push(person()[None], number / 30)
        if answer is not None:
            labels.append(answer.label)
            top.append(answer.probability)
    changes = [a for a, b in zip(labels, [None, *labels], strict=False) if a != b]
    assert changes == [0, 1]
    change = labels.index(1)
    assert top[change] >= 0.7 and min(top) < 0.7  # 1 was the likelier before it was likely enough
    assert top[-1] == pytest.approx(softmax(np.float32([0, 5]))[1], abs=1e-3)


def test_a_temperature_softens_the_probabilities() -> None:
    model = Recorder(bodies=1)
    model.logits = np.float32([2, 0])
    model.facts = ModelFacts(
        **{**vars(model.facts), "calibration": Calibration(temperature=2.0, clips=1)}
    )
    stream = lastkd.StreamPredictor(model, step=0)
    for number in range(100):
        answer = stream.push(person()[None], number / 30)
    assert answer is not None
    assert answer.probability == pytest.approx(1 / (1 + np.exp(-1)))


# --- bad input ----------------------------------------------------------------------------------


def test_a_stream_outlives_bad_frames_and_counts_them() -> None:
    model = Recorder(bodies=1)
    stream = lastkd.StreamPredictor(model, window=2.0, step=0)
    time = 0.0
    for number in range(60):
        frame = person(0.01 * number)[None]
        if number == 20:
            frame[0, 2] = np.nan
        time += 1 / 30
        stream.push(frame, time)
    stream.push(person()[None], time - 0.5)
    stream.push(person()[None], float("nan"))
    stream.push(person()[None], time + 1e-4)
    assert stream.skipped == {UNSEEN: 1, BACKWARDS: 1, UNTIMED: 1, CROWDED: 1}
    clip = model.clips[-1]
    assert len(clip) == 60 and np.isfinite(clip).all()
    assert clip[20, 0, 2, 0] == pytest.approx(0.2)  # between its neighbours
    stream.push(person()[None], time + 5)
    stream.push(person()[None], 0.0)
    assert (stream.skipped[INTERRUPTED], stream.skipped[RESTARTED]) == (1, 1)
    for number in range(60):
        answer = stream.push(person()[None], 0.1 + number / 30)
    assert answer is not None and answer.frames == 60


def test_a_joint_that_is_never_seen_lies_at_its_parent() -> None:
    model = Recorder(bodies=1)
    stream = lastkd.StreamPredictor(model, step=0)
    for number in range(60):
        stream.push(person()[None], number / 30, scores=np.float32([[1, 1, 1, 0, 0]]))
    np.testing.assert_array_equal(
        model.clips[-1][:, 0, 3:], model.clips[-1][:, 0, 2:3].repeat(2, 1)
    )


def test_flat_skeletons_come_with_or_without_scores() -> None:
    model = Recorder(bodies=1, dimensions=2)
    stream = lastkd.StreamPredictor(model, step=0)
    for number in range(60):
        scores = np.float32([[1, 1, 0.5, 1, 0]])
        stream.push(person()[None, :, :2] + 3, number / 30, scores)
    assert model.clips[-1][0, 0, :, 2].tolist() == [1, 1, 0.5, 1, 0]
    assert not model.clips[-1][:, 0, 4].any()
    stream.reset()
    for number in range(60):
        stream.push(person()[None, :, :2] + 3, number / 30)
    assert (model.clips[-1][..., 2] == 1).all()


@pytest.mark.parametrize(
    ("joints", "scores", "words"),
    [
        (np.zeros((1, 4, 3)), None, r"\(1, 4, 3\), and recorder needs \(bodies, 5, 3\)"),
        (np.zeros((1, 5, 2)), None, r"needs \(bodies, 5, 3\) of layout line"),
        ([np.zeros((5, 3)).tolist(), np.zeros((4, 3)).tolist()], None, "the same joints"),
        (person()[None], np.ones((1, 4)), r"scores have shape \(1, 4\)"),
    ],
)
def test_a_wrong_shape_is_one_sentence(joints: object, scores: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        lastkd.StreamPredictor(Recorder()).push(joints, 0.0, scores)  # type: ignore[arg-type]


def test_memory_does_not_grow() -> None:
    import tracemalloc

    model = Recorder(bodies=1)
    stream = lastkd.StreamPredictor(model, window=1.0, step=1e9)
    pose = person()[None]
    for number in range(5000):
        stream.push(pose, number / 500)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5000, 15000):
        stream.push(pose, number / 500)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000


# --- without torch ------------------------------------------------------------------------------


def test_an_onnx_file_needs_numpy_and_onnx_runtime_alone(onnx_file: Path) -> None:
    program = textwrap.dedent(
        f"""
        import sys

        class Refused:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {{"torch", "pydantic", "yaml", "scipy", "rich", "click",
                                          "safetensors", "textual", "accelerate", "onnx"}}:
                    raise ImportError(name + " isn't there")

        sys.meta_path.insert(0, Refused())
        import lastkd
        import numpy as np

        stream = lastkd.StreamPredictor({str(onnx_file)!r})
        pose = np.random.default_rng(0).normal(size=(1, 25, 3))
        answers = [stream.push(pose + 0.01 * n, n / 30) for n in range(80)]
        print([a for a in answers if a][-1].top(1))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[('" in done.stdout


def test_what_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    damaged = tmp_path / "a.onnx"
    damaged.write_bytes(b"not a model")
    for path, words in (
        (tmp_path / "b.onnx", "no such model"),
        (damaged, "can't be opened by ONNX Runtime"),
    ):
        with pytest.raises(UserError, match=words):
            lastkd.StreamPredictor(path)
    scripted = tmp_path / "a.pt"
    scripted.write_bytes(b"")
    with pytest.raises(UserError, match="--format onnx"):
        lastkd.StreamPredictor(scripted)


# --- calibration --------------------------------------------------------------------------------


def test_a_calibration_travels_with_checkpoint_and_exported_file(
    nano: Path, store_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    copy = tmp_path / "calibrated.safetensors"
    copy.write_bytes(nano.read_bytes())
    calibration = Calibration(temperature=1.5, threshold=0.4, window_s=2.0, clips=32, split="xsub")
    store_in_checkpoint(copy, calibration)
    assert checkpoint_calibration(copy) == calibration
    weights = lastkd.load_model(nano).state_dict()
    for name, tensor in lastkd.load_model(copy).state_dict().items():
        assert (tensor == weights[name]).all()
    out = tmp_path / "calibrated.onnx"
    export_checkpoint(copy, out, data=store_path)
    for model in (copy, out):
        stream = lastkd.StreamPredictor(model)
        assert stream.facts.calibration == calibration
        assert (stream.window, stream.threshold) == (2.0, 0.4)


def test_a_damaged_calibration_is_one_sentence(nano: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged.safetensors"
    copy.write_bytes(nano.read_bytes())
    store_in_checkpoint(copy, Calibration(temperature=1.5))
    text = json.dumps({"temperature": 1.5})[1:-1].replace('"', '\\"').encode()
    assert text in copy.read_bytes()
    copy.write_bytes(copy.read_bytes().replace(text, text.replace(b"1.5", b"0.0")))
    with pytest.raises(UserError, match="its calibration is damaged"):
        lastkd.StreamPredictor(copy)


def test_the_training_clips_suggest_window_and_step() -> None:
    suggested = Calibration().with_clips(np.array([30, 60, 60, 90]), rate=30)
    assert suggested.window_s == 2.0
    assert suggested.shortest_s == pytest.approx(1.3)
    assert suggested.step_s == pytest.approx(0.13)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.array([[0.9, 0.1]] * 10)
    labels = np.array([0] * 6 + [1] * 4)
    assert calibration_error(sure, labels) == pytest.approx(30)
