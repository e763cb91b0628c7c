"""Fitting a model's temperature, threshold and timing to a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
from lastkd.evaluation.stream import best_threshold, truth_of
from lastkd.export.formats import ABOUT
from lastkd.files.atomic import replacing
from lastkd.live.classifier import Classifier
from lastkd.live.joined_clips import join_clips
from lastkd.live.open_model import open_classifier
from lastkd.live.stream_evaluation import check_classes, stream_answers

MOST_STREAMED = 150
"""Clips whose streams decide window and threshold."""
WINDOWS = (0.5, 0.75, 1.0)
"""Windows that are tried, as shares of the median training clip. Training crops clips to as little
as half, so a model knows them all; a shorter one answers sooner, a longer one knows more."""
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
    clips' lengths. Window and threshold are those with the best answers on streams of test clips
    with pauses between them.

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
    """The same with the window and the threshold that answer best.

    Args:
        clips: of the store `(N,)`, with their frames per second `rates` `(N,)`.
    """
    drawn = np.sort(rng.permutation(STREAM_SEED, "stream clips", count=len(clips))[:MOST_STREAMED])
    chosen, own = clips[drawn], rates[drawn]
    best, best_accuracy, done = known, -1.0, 0
    for share in WINDOWS:
        window = round(share * known.window_s, 4)
        tried = replace(known, window_s=window, shortest_s=min(known.shortest_s, window))
        classifier.facts = replace(classifier.facts, calibration=tried)
        truths, labels, confidences = [], [], []
        for stream in join_clips(store, chosen, rate=known.rate, seed=STREAM_SEED, rates=own):
            shown, confidence, _ = stream_answers(classifier, stream, known.rate, threshold=0.0)
            truths.append(truth_of(stream.actions, len(shown)))
            labels.append(shown)
            confidences.append(confidence)
            done += len(stream.actions)
            on_progress("clips of streams", done, len(WINDOWS) * len(drawn))
        threshold = best_threshold(
            np.concatenate(truths), np.concatenate(labels), np.concatenate(confidences)
        )
        if threshold.accuracy > best_accuracy:
            best_accuracy = threshold.accuracy
            best = replace(tried, threshold=round(threshold.value, 4))
    return best


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
