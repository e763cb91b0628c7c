"""Evaluating a checkpoint on a split: the same numbers as during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator

from lastkd.config import RunSettings, defaults
from lastkd.data.store import ClipStore
from lastkd.data.view_settings import ViewSettings
from lastkd.data.views import Views
from lastkd.models.checkpoint import read_checkpoint
from lastkd.training.device import view_device
from lastkd.training.evaluation import Accuracy, evaluate
from lastkd.training.processes import make_accelerator
from lastkd.training.teacher import check_fit


def evaluate_checkpoint(
    checkpoint: Path, data: Path, split: str, *, accelerator: Accelerator | None = None
) -> tuple[Accuracy, ClipStore]:
    """Accuracy on the test part of a split, with the views the checkpoint was trained for.

    Raises:
        UserError: the checkpoint or the store is missing, damaged, or they don't fit each other.
    """
    store = ClipStore.open(data)
    read = read_checkpoint(checkpoint)
    info = read.info
    check_fit(checkpoint, info.num_classes, info.class_names, info.layout.joints, store)
    _, test_clips = store.split(split)
    known = defaults(RunSettings) | info.settings
    views = ViewSettings.model_validate({name: known[name] for name in ViewSettings.model_fields})
    # in the precision of its training, so that the numbers are the same
    accelerator = accelerator or make_accelerator(mixed_precision=known.get("mixed_precision"))
    accuracy = evaluate(
        read.build().to(accelerator.device),
        Views(store, views, view_device(store, accelerator.device)),
        test_clips,
        batch_size=int(known["eval_batch_size"]),
        accelerator=accelerator,
    )
    return accuracy, store


def as_json(accuracy: Accuracy, store: ClipStore, split: str, confused: int) -> dict[str, Any]:
    """The result as plain values."""
    names = store.class_names
    return {
        "split": split,
        **accuracy.summary(),
        "most_confused": [
            {"class": names[true], "taken_for": names[said], "clips": count, "percent": percent}
            for true, said, count, percent in accuracy.most_confused(confused)
        ],
    }
