"""Evaluating a checkpoint on a split: the same numbers as during training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from lastkd.data.store.clip_store import ClipStore
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
    """A checkpoint on the test part of a split.

    Attributes:
        accuracy: over all test clips.
        predictions: each clip's logits.
        views_per_clip: 1, the centre view; more are averaged.
    """

    accuracy: Accuracy
    predictions: Predictions
    views_per_clip: int

    def against(self, reference: Evaluation) -> PairedComparison:
        """This one beside another on the same clips."""
        return compare(self.predictions.right, reference.predictions.right)

    @property
    def describe_views(self) -> str:
        if self.views_per_clip == 1:
            return "one view each"
        return f"{self.views_per_clip} views each, their probabilities averaged"

    def to_dict(self, confused: int = 5) -> dict[str, Any]:
        """Plain values.

        Args:
            confused: how many of the most confused pairs to name.
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
                {"class": names[true], "taken_for": names[said], "clips": count, "percent": percent}
                for true, said, count, percent in self.accuracy.most_confused(confused)
            ],
        }


def known_settings(info: CheckpointInfo) -> dict[str, Any]:
    """A checkpoint's settings, with the defaults for what it doesn't say (a converted one)."""
    return defaults(RunSettings) | info.settings


def view_settings(info: CheckpointInfo) -> ViewSettings:
    """How the views were cut that a checkpoint was trained for."""
    known = known_settings(info)
    return ViewSettings.model_validate({name: known[name] for name in ViewSettings.model_fields})


def evaluate_checkpoint(
    checkpoint: str | Path,
    data: str | Path,
    split: str = "xsub",
    *,
    views_per_clip: int = 1,
    factory: str | None = None,
    accelerator: Accelerator | None = None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """A checkpoint on the test part of a split, with the views that it was trained for.

    Args:
        views_per_clip: 1 for the centre view, as during training; more adds crops of each clip, the
            same ones every time, and averages the probabilities.
        factory: `package.module:factory`, where the model isn't one of lastkd's.
        on_progress: called with the number of this process's views done.

    Raises:
        UserError: the checkpoint or the store is missing, damaged, or they don't fit each other.
    """
    store = ClipStore.open(data)
    read = read_checkpoint(checkpoint)
    info = read.info
    check_fit(read.path, info.num_classes, info.class_names, info.layout.joints, store)
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
        # that of its training, so that the numbers are the same
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


def is_own(checkpoint: Path) -> bool:
    """Whether a checkpoint's model is made by a factory that isn't lastkd's."""
    return read_info(checkpoint).architecture.factory is not None
