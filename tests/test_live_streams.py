"""Streams joined from clips, how answers on them are judged, and what calibrating fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import untrained
from click.testing import CliRunner
from test_live_predictor import LITTLE

import lastkd
from lastkd.cli.app import cli
from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.errors import UserError
from lastkd.evaluation.calibration import Calibration, checkpoint_calibration, softmax
from lastkd.evaluation.stream import PAUSE, Action, StreamScore
from lastkd.export.checkpoint import export_checkpoint
from lastkd.live.calibrate import (
    WINDOWS,
    AnsweredStream,
    calibrate_model,
    fit_temperature,
    with_best_threshold,
)
from lastkd.live.classifier import ModelFacts
from lastkd.live.joined_clips import PAUSE_S, join_clips
from lastkd.live.stream_evaluation import shown, stream_predictions


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streams") / "a.safetensors"
    return untrained(path, store_path, LITTLE, seed=1, settings={"frames": 16})


@pytest.fixture(autouse=True)
def _few_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastkd.live.calibrate.MOST_STREAMED", 4)


def answers(*runs: tuple[int, int]) -> np.ndarray:
    """`(label, frames)` one after the other."""
    return np.concatenate([np.full(frames, label, np.int64) for label, frames in runs])


def test_a_score_counts_frames_actions_false_alarms_and_delay() -> None:
    score = StreamScore(rate=10)
    actions = [Action(3, 20, 50), Action(5, 70, 90), Action(6, 100, 110)]
    given = answers(
        (PAUSE, 30), (3, 25), (PAUSE, 5), (7, 5), (PAUSE, 9), (4, 2), (5, 15), (PAUSE, 29)
    )
    score.add(actions, given)
    assert (score.action_frames, score.pause_frames) == (60, 60)
    assert score.right_action_frames == 20 + 14
    assert score.right_pause_frames == 60 - 5 - 5 - 1
    assert score.found == pytest.approx(200 / 3)
    assert score.delays == [1.0, 0.6]
    assert score.false_alarms == 2  # 7 in a pause and 4 in the midst of 5; 3 only lasts too long
    assert score.false_alarms_per_minute == pytest.approx(2 / 0.2)
    assert score.f1 == pytest.approx(100 * 2 * 2 / (2 * 2 + 1 + 2))  # found, missed, false
    assert score.to_dict()["delay_median_s"] == 0.8


def answered(sure: float, in_pauses: float) -> AnsweredStream:
    """A second of class 1 that is recognised, after a second of pause that is taken for class 0."""
    shares = [np.array([in_pauses, 0.0])] * 30 + [np.array([0.0, sure])] * 30
    return AnsweredStream([Action(1, 30, 60)], list(range(60)), shares, [1.0] * 60, length=60)


def test_the_threshold_parts_actions_from_pauses() -> None:
    fit = with_best_threshold(Calibration(), [answered(sure=0.6, in_pauses=0.4)])
    assert 0.4 < fit.calibration.threshold <= 0.6 and fit.value == 100


def test_the_threshold_never_silences_a_model_that_is_as_sure_in_pauses() -> None:
    fit = with_best_threshold(Calibration(), [answered(sure=0.4, in_pauses=0.9)])
    assert fit.calibration.threshold <= 0.4


def test_the_temperature_is_that_of_logits_that_were_scaled() -> None:
    draws = np.random.default_rng(0)
    logits = draws.normal(size=(20_000, 5))
    honest = softmax(logits)
    labels = (honest.cumsum(axis=1) < draws.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


def test_joined_clips_are_a_function_of_the_seed(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    _, test = store.split("xsub")
    streams = list(join_clips(store, test, rate=30, seed=0))
    again = list(join_clips(store, test, rate=30, seed=0))
    for one, other in zip(streams, again, strict=True):
        np.testing.assert_array_equal(one.joints, other.joints)
        assert one.actions == other.actions
    other_seed = list(join_clips(store, test, rate=30, seed=1))
    assert [s.actions for s in other_seed] != [s.actions for s in streams]
    found = sorted(action.label for stream in streams for action in stream.actions)
    assert found == sorted(store.labels[test].tolist())
    for stream in streams:
        bounds = [0] + [edge for a in stream.actions for edge in (a.start, a.stop)]
        pauses = np.diff(bounds)[::2] / 30
        assert pauses.min() >= PAUSE_S[0] - 0.02 and pauses.max() <= PAUSE_S[1] + 0.02
        steps = np.abs(np.diff(stream.joints[:, 0], axis=0)).mean(axis=(1, 2))
        seams = np.array(bounds[1:-1]) - 1
        assert steps[seams].max() < 0.1  # nobody jumps from clip to clip


class Oracle:
    """A model that knows what its newest frame belongs to, by its x."""

    def __init__(self, facts: ModelFacts) -> None:
        self.facts = facts

    def __call__(self, joints: np.ndarray) -> np.ndarray:
        logits = np.zeros(len(self.facts.class_names), np.float32)
        logits[int(joints[-1, 0, 0, 0])] = 9
        return logits


def test_answers_come_a_step_after_what_they_are_about(store_path: Path) -> None:
    store = ClipStore.open(store_path)
    stream = next(join_clips(store, np.arange(4), rate=30, seed=0))
    joints = np.ones_like(stream.joints)
    for action in stream.actions:
        joints[action.start : action.stop, 0, 0, 0] = action.label
    facts = ModelFacts(
        name="oracle",
        layout="ntu25",
        class_names=store.class_names,
        joints=store.layout.joints,
        parents=store.layout.parents,
        mirror=(),
        dimensions=3,
        bodies=1,
        calibration=Calibration(step_s=1 / 6),
    )
    found = stream_predictions(Oracle(facts), replace(stream, joints=joints), rate=30)
    frames, labels = [frame for frame, _ in found], [answer.label for _, answer in found]
    action = stream.actions[2]
    seen = shown(frames, labels, len(joints))
    assert (seen[action.start + 12 : action.stop] == action.label).all()
    assert (seen[: frames[0]] == PAUSE).all()


def test_streams_are_of_one_performer_whom_the_names_may_tell(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", get_layout("ntu25")) as writer:
        for clip in range(8):
            joints = np.ones((40, 1, 25, 3), np.float32) * (1 + clip % 2)
            writer.add(Clip(f"a1_s{clip % 2}_t{clip}", clip, joints))
        writer.finish(class_names=list("abcdefgh"), splits={}, source="a test", counts={})
    streams = list(join_clips(ClipStore.open(tmp_path / "store"), np.arange(8), rate=30, seed=0))
    found = [sorted(action.label for action in stream.actions) for stream in streams]
    assert found == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_calibrating_leaves_answers_and_makes_probabilities_honest(
    nano: Path, store_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    copy = tmp_path / "nano.safetensors"
    copy.write_bytes(nano.read_bytes())
    result = CliRunner().invoke(
        cli, ["calibrate", str(copy), "--data", str(store_path)], catch_exceptions=False
    )
    assert "calibrated on 32 test clips" in result.stdout
    fitted = checkpoint_calibration(copy)
    store = ClipStore.open(store_path)
    training, _ = store.split("xsub")
    median = np.median(store.frames[training]) / 30
    assert any(fitted.window_s == pytest.approx(share * median, abs=1e-3) for share in WINDOWS)
    assert fitted.data_hash == store.content_hash
    assert fitted.ece is not None and fitted.ece_before is not None
    exported = Path(export_checkpoint(copy, tmp_path / "nano.onnx", data=store_path).path)
    assert lastkd.StreamPredictor(exported).facts.calibration == fitted
    again = calibrate_model(exported, store_path, rate=60)
    assert again.rate == 60
    assert again.step_s == pytest.approx(fitted.step_s / 2, abs=1e-3)
    assert lastkd.StreamPredictor(exported).facts.calibration == again
    assert again.temperature == pytest.approx(fitted.temperature, rel=0.02)


def test_evaluate_stream_prints_and_writes_the_figures(
    nano: Path, store_path: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    exported = tmp_path / "nano.onnx"
    export_checkpoint(nano, exported)
    words = ["evaluate", str(exported), "--data", str(store_path), "--stream"]
    text = CliRunner().invoke(cli, words, catch_exceptions=False).stdout
    assert "32 actions in" in text and "false alarms" in text
    out = tmp_path / "out"
    result = CliRunner().invoke(cli, [*words, "--json", "--out", str(out)], catch_exceptions=False)
    values = json.loads(result.stdout)
    assert values["actions"] == 32 and 0 <= values["frame_accuracy"] <= 100
    (file,) = out.iterdir()
    assert json.loads(file.read_text()) == values


def test_a_store_of_other_classes_is_one_sentence(store_path: Path, tmp_path: Path) -> None:
    store = ClipStore.open(store_path)
    other = untrained(tmp_path / "b.safetensors", store, LITTLE, num_classes=3, class_names=())
    for words in (["calibrate", str(other)], ["evaluate", str(other), "--stream"]):
        result = CliRunner().invoke(cli, [*words, "--data", str(store_path)])
        assert isinstance(result.exception, UserError)
        assert "knows 3 classes" in str(result.exception)
