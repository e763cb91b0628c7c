"""Evaluates a checkpoint on a split, with the same result as during training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from lastkd.data.store.clip_store import AUTO_SPLIT, ClipStore
from lastkd.data.views import Views
from lastkd.distributed.accelerator import make_accelerator
from lastkd.distributed.device import view_device
from lastkd.evaluation.accuracy import Accuracy
from lastkd.evaluation.logits import clip_logits
from lastkd.evaluation.statistics import PairedComparison, compare
from lastkd.models.checkpoint import CheckpointInfo, check_fit, read_checkpoint, read_info
from lastkd.runs.predictions import Predictions
from lastkd.settings.resolve import defaults
from lastkd.settings.runs import RunSettings
from lastkd.settings.views import ViewSettings


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a checkpoint on the test part of a split.

    Attributes:
        accuracy: over all test clips.
        predictions: the logits of each clip.
        views_per_clip: 1 for the centre view; the probabilities of several views are averaged.
    """

    accuracy: Accuracy
    predictions: Predictions
    views_per_clip: int

    def against(self, reference: Evaluation) -> PairedComparison:
        """Compares this result with another one on the same clips."""
        return compare(self.predictions.right, reference.predictions.right)

    @property
    def describe_views(self) -> str:
        if self.views_per_clip == 1:
            return "one view each"
        return f"{self.views_per_clip} views each, their probabilities averaged"

    def to_dict(self, confused: int = 5) -> dict[str, Any]:
        """The result as JSON-ready values.

        Args:
            confused: how many of the most frequent confusions to list.
        """
        names = self.predictions.class_names
        by_class = self.accuracy.by_class
        return {
            **self.predictions.about,
            **self.accuracy.summary(),
            "by_class": {
                name: None if np.isnan(share) else round(float(share), 4)
                for name, share in zip(names, by_class, strict=True)
            },
            "most_confused": [
                {
                    "class": names[true],
                    "taken_for": names[predicted],
                    "clips": clips,
                    "percent": percent,
                }
                for true, predicted, clips, percent in self.accuracy.most_confused(confused)
            ],
        }


def known_settings(info: CheckpointInfo) -> dict[str, Any]:
    """A checkpoint's settings; defaults for those that it lacks, as a converted one does."""
    return defaults(RunSettings) | info.settings


def view_settings(info: CheckpointInfo) -> ViewSettings:
    """The view settings that a checkpoint was trained with."""
    known = known_settings(info)
    # checkpoints older than a setting lack it, and have its default
    return ViewSettings.model_validate(
        {name: known[name] for name in ViewSettings.model_fields if name in known}
    )


def split_of(store: ClipStore, asked: str, info: CheckpointInfo) -> str:
    """The name of a split; `auto` is the one that the checkpoint was trained on, if it is there.

    Raises:
        UserError: the store has no such split, or several to choose from.
    """
    return store.split_name(asked, preferred=info.settings.get("split"))


def evaluate_checkpoint(
    checkpoint: str | Path,
    data: str | Path,
    split: str = AUTO_SPLIT,
    *,
    views_per_clip: int = 1,
    factory: str | None = None,
    accelerator: Accelerator | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Evaluates a checkpoint on the test part of a split, with the views that it was trained for.

    Args:
        checkpoint: path of the checkpoint.
        data: path of the store.
        split: of the store; `auto` is the one that the checkpoint was trained on.
        views_per_clip: 1 for the centre view, as during training. Further views are crops of each
            clip, the same ones every time, whose probabilities are averaged.
        factory: `package.module:factory` for a model that isn't built into lastkd.
        accelerator: the process group; None makes one.
        on_progress: called with the number of views that this process has done.

    Raises:
        UserError: the checkpoint or the store is missing or damaged, or they don't fit each other.
    """
    store = ClipStore.open(data)
    read = read_checkpoint(checkpoint)
    info = read.info
    check_fit(read.path, info.num_classes, info.class_names, info.layout.joints, store)
    split = split_of(store, split, info)
    _, test_clips = store.split(split)
    known = known_settings(info)
    accelerator = accelerator or make_accelerator()
    logits = clip_logits(
        read.build(factory).to(accelerator.device),
        Views(store, view_settings(info), view_device(store, accelerator.device)),
        test_clips,
        batch_size=int(known["eval_batch_size"]),
        accelerator=accelerator,
        views_per_clip=views_per_clip,
        # the precision of its training, for the same result
        precision=known.get("mixed_precision"),
        on_progress=on_progress,
    )
    labels = store.labels[test_clips]
    predictions = Predictions(
        names=tuple(store.names[clip] for clip in test_clips),
        labels=labels,
        logits=logits.numpy(),
        class_names=store.class_names,
        about={
            "checkpoint": str(checkpoint),
            "model": info.architecture.name,
            "weights_hash": read.weights_hash,
            "epoch": info.epoch,
            "chosen_by": info.chosen_by,
            "data_hash": store.content_hash,
            "split": split,
            "views_per_clip": views_per_clip,
        },
    )
    return Evaluation(Accuracy.of(logits, labels), predictions, views_per_clip)


def is_external(checkpoint: Path) -> bool:
    """Whether a checkpoint's model comes from a user's factory."""
    return read_info(checkpoint).architecture.factory is not None
