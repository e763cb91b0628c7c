"""A model on streams that are joined from a store's test clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lastkd.data.store.clip_store import AUTO_SPLIT, ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.stream import PAUSE, StreamScore
from lastkd.live.classifier import Classifier, ModelFacts
from lastkd.live.joined_clips import JoinedClips, join_clips
from lastkd.live.open_model import open_classifier
from lastkd.live.predictor import StreamPredictor


def evaluate_stream(
    model: str | Path,
    data: str | Path,
    split: str = AUTO_SPLIT,
    *,
    seed: int = 0,
    threshold: float | None = None,
    factory: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> StreamScore:
    """A checkpoint or an ONNX file on streams of the test part of a split.

    Args:
        split: of the store; `auto` is the one that the model was trained on.
        seed: of the streams.
        threshold: of "nothing"; default: as the model's calibration says.
        factory: `package.module:factory`, where the model isn't one of lastkd's.
        on_progress: called with the number of clips that are over, and of all.

    Raises:
        UserError: model or store is missing, damaged, or they don't fit each other.
    """
    store = ClipStore.open(data)
    classifier = open_classifier(model, factory=factory)
    check_classes(model, classifier.facts, store)
    _, clips = store.split(store.split_name(split, preferred=classifier.facts.split))
    rate = classifier.facts.calibration.rate
    score, done = StreamScore(rate), 0
    for stream in join_clips(store, clips, rate=rate, seed=seed):
        labels, confidence, limit = stream_answers(classifier, stream, rate, threshold)
        score.add(stream.actions, np.where(confidence >= limit, labels, PAUSE))
        done += len(stream.actions)
        on_progress(done, len(clips))
    return score


def stream_answers(
    classifier: Classifier, stream: JoinedClips, rate: float, threshold: float | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """What is shown during each frame of a stream.

    Returns:
        `(T,)` the likeliest actions, `PAUSE` where there is none yet; `(T,)` their probabilities;
        and the threshold below which "nothing" is shown.
    """
    predictor = StreamPredictor(classifier, bodies="given", threshold=threshold)
    labels = np.full(len(stream.joints), PAUSE, np.int64)
    confidence = np.zeros(len(stream.joints))
    for frame, joints in enumerate(stream.joints):
        if frame:
            labels[frame], confidence[frame] = labels[frame - 1], confidence[frame - 1]
        prediction = predictor.push(joints, frame / rate)
        if prediction is not None:
            labels[frame] = prediction.probabilities.argmax() if prediction.frames else PAUSE
            confidence[frame] = prediction.probability
    return labels, confidence, predictor.threshold


def check_classes(model: str | Path, facts: ModelFacts, store: ClipStore) -> None:
    """
    Raises:
        UserError: the model knows other classes or joints than the store has.
    """
    if facts.joints != store.layout.joints:
        raise UserError(
            f"{model}: knows {len(facts.joints)} joints of layout {facts.layout}, and {store.path} "
            f"holds {store.layout.num_joints} of {store.layout.name}"
        )
    if len(facts.class_names) != store.num_classes:
        raise UserError(
            f"{model}: knows {len(facts.class_names)} classes and {store.path} has "
            f"{store.num_classes}; choose the model and the store of the same set"
        )
