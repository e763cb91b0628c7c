"""Fitting a model's temperature, threshold and timing to a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from lastkd import rng
from lastkd.data.store.clip_store import AUTO_SPLIT, ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.calibration import (
    KEY,
    Calibration,
    calibration_error,
    softmax,
    store_in_checkpoint,
)
from lastkd.evaluation.stream import PAUSE, Action, StreamScore, truth_of
from lastkd.export.formats import ABOUT
from lastkd.files.atomic import replacing
from lastkd.live.classifier import Classifier
from lastkd.live.decision import Decision
from lastkd.live.joined_clips import JoinedClips, join_clips
from lastkd.live.open_model import open_classifier
from lastkd.live.stream_evaluation import check_classes, shown, stream_predictions

MOST_STREAMED = 150
"""Clips whose streams decide window and threshold."""
WINDOWS = (1.0, 0.75, 0.5)
"""Windows that are tried, as shares of the median training clip. Training crops clips to as little
as half, so a model knows them all; a shorter one answers sooner, a longer one knows more."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
SLOWEST = (0.05, 0.1, 0.2)
"""Shares of actions' frames that may count as still."""
STREAM_SEED = 1
"""Of these streams; `evaluate --stream` uses others."""
TEMPERATURES = (0.05, 20.0)


def calibrate_model(
    model: str | Path,
    data: str | Path,
    split: str = AUTO_SPLIT,
    *,
    rate: float | None = None,
    factory: str | None = None,
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Calibration:
    """Fits a calibration on the test part of a split, and stores it in the model's file.

    The temperature minimises the cross-entropy of whole clips. The step follows from the training
    clips' lengths. Window, stillness and threshold are those with the best answers on streams of
    test clips with pauses between them.

    Args:
        model: a checkpoint or an exported ONNX file, which is rewritten.
        split: of the store; `auto` is the one that the model was trained on.
        rate: frames per second of the store's clips; by default as the store says.
        factory: `package.module:factory`, where the model isn't one of lastkd's.
        on_progress: called with what is being done, how far it is and of how many.

    Raises:
        UserError: model or store is missing, damaged, or they don't fit each other.
    """
    path = Path(model)
    store = ClipStore.open(data)
    classifier = open_classifier(path, factory=factory)
    check_classes(path, classifier.facts, store)
    split = store.split_name(split, preferred=classifier.facts.split)
    training, test = store.split(split)
    logits = _clip_logits(classifier, store, test, on_progress)
    labels = store.labels[test]
    temperature = fit_temperature(logits, labels)
    fitted = Calibration(
        temperature=temperature,
        split=split,
        clips=len(test),
        data_hash=store.content_hash,
        ece_before=round(calibration_error(softmax(logits), labels), 3),
        ece=round(calibration_error(softmax(logits, temperature), labels), 3),
    )
    rates = store.frames_per_second(training) if rate is None else rate
    fitted = fitted.with_clips(store.frames[training], rates)
    own = store.frames_per_second(test) if rate is None else np.full(len(test), rate)
    fitted = _fit_to_streams(classifier, fitted, store, test, own, on_progress)
    if path.suffix == ".onnx":
        store_in_onnx(path, fitted)
    else:
        store_in_checkpoint(path, fitted)
    return fitted


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature with the least cross-entropy (Guo et al., ICML 2017).

    Args:
        logits: `(N, K)`.
        labels: `(N,)`.
    """

    def cross_entropy(log_temperature: float) -> float:
        likely = softmax(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(likely, 1e-300)).mean())

    bounds = tuple(np.log(TEMPERATURES))
    found = minimize_scalar(cross_entropy, bounds=bounds, method="bounded")
    return round(float(np.exp(found.x)), 4)


def _clip_logits(
    classifier: Classifier,
    store: ClipStore,
    clips: NDArray[np.int64],
    on_progress: Callable[[str, int, int], None],
) -> NDArray[np.float32]:
    """Logits `(N, K)` of whole clips."""
    rows = []
    M = classifier.facts.bodies
    for number, clip in enumerate(clips.tolist(), start=1):
        joints = store.clip(clip)
        fitted = np.zeros((max(len(joints), 2), M, *joints.shape[2:]), np.float32)
        fitted[: len(joints), : joints.shape[1]] = joints[:, :M]
        if len(joints) == 1:
            fitted[1] = fitted[0]
        rows.append(classifier(fitted))
        on_progress("test clips", number, len(clips))
    return np.stack(rows)


def _fit_to_streams(
    classifier: Classifier,
    known: Calibration,
    store: ClipStore,
    clips: NDArray[np.int64],
    rates: NDArray[np.float64],
    on_progress: Callable[[str, int, int], None],
) -> Calibration:
    """The same with the window, the stillness and the threshold that answer best.

    Args:
        clips: of the store `(N,)`, with their frames per second `rates` `(N,)`.
    """
    drawn = np.sort(rng.permutation(STREAM_SEED, "stream clips", count=len(clips))[:MOST_STREAMED])
    chosen, own = clips[drawn], rates[drawn]
    streams = list(join_clips(store, chosen, rate=known.rate, seed=STREAM_SEED, rates=own))
    total = len(drawn) * (len(SLOWEST) + len(WINDOWS))
    done = 0

    def answered(tried: Calibration) -> list[AnsweredStream]:
        nonlocal done
        classifier.facts = replace(classifier.facts, calibration=tried)
        found = []
        for stream in streams:
            found.append(AnsweredStream.of(classifier, stream, known.rate))
            done += len(stream.actions)
            on_progress("clips of streams", done, total)
        return found

    as_it_is = answered(known)
    speeds = np.concatenate([stream.speeds_in_actions for stream in as_it_is])
    fits = [with_best_threshold(known, as_it_is)]
    for still in np.quantile(speeds, SLOWEST).round(3).tolist() if len(speeds) else ():
        tried = replace(known, stillness=still)
        fits.append(with_best_threshold(tried, answered(tried)))
    best = max(fits, key=lambda fit: fit.value)
    fits = [best]
    for share in WINDOWS[1:]:
        window = round(share * known.window_s, 4)
        tried = replace(best.calibration, window_s=window, shortest_s=min(known.shortest_s, window))
        fits.append(with_best_threshold(tried, answered(tried)))
    return max(fits, key=lambda fit: fit.value).calibration


class Fit(NamedTuple):
    """A calibration, and how good its answers are."""

    calibration: Calibration
    value: float


def with_best_threshold(tried: Calibration, streams: list[AnsweredStream]) -> Fit:
    """The same with the threshold that answers best."""
    fits = []
    for threshold in THRESHOLDS:
        score = StreamScore(tried.rate)
        for stream in streams:
            decision = Decision(threshold, tried.stillness)
            score.add(stream.actions, stream.answers(decision))
        fits.append(Fit(replace(tried, threshold=threshold), _value(score)))
    return max(fits, key=lambda fit: fit.value)


def _value(score: StreamScore) -> float:
    """How good answers are, 0 to 100: by actions and by frames, in and between them."""
    return (score.f1 + (score.action_accuracy + score.pause_accuracy) / 2) / 2


@dataclass
class AnsweredStream:
    """A stream with what a model makes of it.

    Attributes:
        frames: at which a prediction came.
        probabilities: smoothed, `(K,)` each.
        speeds: at each prediction.
        length: T of the stream.
    """

    actions: list[Action]
    frames: list[int]
    probabilities: list[NDArray[np.float64]]
    speeds: list[float]
    length: int

    @classmethod
    def of(cls, classifier: Classifier, stream: JoinedClips, rate: float) -> AnsweredStream:
        found = stream_predictions(classifier, stream, rate)
        return cls(
            actions=stream.actions,
            frames=[frame for frame, _ in found],
            probabilities=[prediction.probabilities for _, prediction in found],
            speeds=[prediction.speed for _, prediction in found],
            length=len(stream.joints),
        )

    @property
    def speeds_in_actions(self) -> NDArray[np.float64]:
        """Those that can be told."""
        speeds = np.array(self.speeds)
        inside = truth_of(self.actions, self.length)[self.frames] != PAUSE
        told: NDArray[np.float64] = speeds[inside & np.isfinite(speeds)]
        return told

    def answers(self, decision: Decision) -> NDArray[np.int64]:
        """What is shown during each frame, `(length,)`."""
        labels = [
            decision.update(probabilities, speed)
            for probabilities, speed in zip(self.probabilities, self.speeds, strict=True)
        ]
        return shown(self.frames, labels, self.length)


def store_in_onnx(path: Path, calibration: Calibration) -> None:
    """Writes a calibration into the description of an exported ONNX file.

    Raises:
        UserError: the package onnx isn't installed, or the file can't be written.
    """
    try:
        import onnx
    except ImportError:
        raise UserError(
            f"{path}: needs the package onnx to be rewritten; pip install 'lastkd[export]'"
        ) from None
    model = onnx.load(path)
    properties = {one.key: one.value for one in model.metadata_props}
    about = {**json.loads(properties[ABOUT]), KEY: calibration.to_dict()}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**properties, ABOUT: json.dumps(about)})
    with replacing(path) as part:
        onnx.save_model(model, part)
