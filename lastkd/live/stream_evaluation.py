"""A model on streams that are joined from a store's test clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.store.clip_store import AUTO_SPLIT, ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.stream import PAUSE, StreamScore
from lastkd.live.classifier import Classifier, ModelFacts
from lastkd.live.joined_clips import JoinedClips, join_clips
from lastkd.live.open_model import open_classifier
from lastkd.live.prediction import StreamPrediction
from lastkd.live.predictor import StreamPredictor


def evaluate_stream(
    model: str | Path,
    data: str | Path,
    split: str = AUTO_SPLIT,
    *,
    seed: int = 0,
    threshold: float | None = None,
    stillness: float | None = None,
    factory: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> StreamScore:
    """A checkpoint or an ONNX file on streams of the test part of a split.

    Args:
        split: of the store; `auto` is the one that the model was trained on.
        seed: of the streams.
        threshold, stillness: of "nothing"; default: as the model's calibration says.
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
        found = stream_predictions(
            classifier, stream, rate, threshold=threshold, stillness=stillness
        )
        frames, labels = [frame for frame, _ in found], [answer.label for _, answer in found]
        score.add(stream.actions, shown(frames, labels, len(stream.joints)))
        done += len(stream.actions)
        on_progress(done, len(clips))
    return score


def stream_predictions(
    classifier: Classifier, stream: JoinedClips, rate: float, **options: Any
) -> list[tuple[int, StreamPrediction]]:
    """The predictions of a stream, each with the frame at which it came.

    Args:
        rate: frames per second of the stream.
        options: of the `StreamPredictor`.
    """
    predictor = StreamPredictor(classifier, bodies="given", **options)
    found = []
    for frame, joints in enumerate(stream.joints):
        prediction = predictor.push(joints, frame / rate)
        if prediction is not None:
            found.append((frame, prediction))
    return found


def shown(frames: Sequence[int], labels: Sequence[int | None], length: int) -> NDArray[np.int64]:
    """What is shown during each frame of a stream, `PAUSE` for "nothing": `(length,)`.

    Args:
        frames: at which an answer came, ascending.
        labels: the answers.
    """
    answers = np.array([PAUSE, *(PAUSE if label is None else label for label in labels)])
    return answers[np.searchsorted(frames, np.arange(length), side="right")]


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
