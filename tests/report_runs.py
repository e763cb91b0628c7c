"""Run folders with the events and predictions that a report reads, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.runs.events import FILE_NAME, EventLog
from lastkd.runs.predictions import Predictions

CLIPS, CLASSES = 200, 4
NAMES = tuple(f"clip{k}" for k in range(CLIPS))
LABELS = np.arange(CLIPS) % CLASSES
CLASS_NAMES = ("sit", "stand", "wave", "clap")


SOFTNESS = {
    "tau": 4.0,
    "scale": 2.5,
    "top": 0.31,
    "entropy": 0.72,
    "agreement": 97.0,
    "share": 0.45,
    "even_tau": 4.4,
    "advice": "--tau 4.4",
    "clips": 64,
}


def predictions(
    right: int,
    seed: int,
    names: Sequence[str] = NAMES,
    labels: np.ndarray = LABELS,
    class_names: Sequence[str] = CLASS_NAMES,
) -> Predictions:
    """Predictions of which exactly `right` clips are right."""
    hits = np.random.default_rng(seed).permutation(len(names)) < right
    guess = np.where(hits, labels, (labels + 1) % len(class_names))
    logits = 5 * np.eye(len(class_names), dtype=np.float32)[guess]
    return Predictions(tuple(names), np.asarray(labels), logits, tuple(class_names))


def write_run(
    folder: Path,
    model: str,
    *,
    seed: int = 0,
    top1: tuple[float, ...] = (50.0, 60.0),
    teacher: bool = False,
    teacher_top1: float = 80.0,
    state: str | None = "finished",
    data: str = "d" * 64,
    about_data: dict[str, Any] | None = None,
    softness: dict[str, Any] | None = None,
    classes: int = CLASSES,
    tests: dict[str, float] | None = None,
    **settings: Any,
) -> None:
    """Writes a run's log.

    Args:
        folder: of the run; made.
        top1: of each epoch.
        about_data: more keys of the start event's data, such as those of a validation part.
        softness: of the teacher's labels.
        tests: by checkpoint, top-1 on the test part at the end.
    """
    folder.mkdir(parents=True)
    log = EventLog(folder / FILE_NAME)
    distilled = {"loss": "kd", "alpha": 0.7, "tau": 4.0} if teacher else {}
    known = {"hash": data, "source": "a test", "classes": classes, "train": 200, "test": 200}
    taught = {"model": "last_v2_tiny", "hash": "t" * 64, "accuracy": {"top1": teacher_top1}}
    log.write(
        "start",
        model=model,
        parameters=92_358,
        settings={"seed": seed, "split": "xsub", "epochs": len(top1), **distilled, **settings},
        versions={"lastkd": "0.1.0", "torch": "2.13.0"},
        data=known | (about_data or {}),
        teacher=taught if teacher else None,
        softness=softness,
    )
    for epoch, value in enumerate(top1, start=1):
        log.write("step", step=epoch, epoch=epoch, ce=2.0 / epoch, soft=0.5, total=3.0)
        by_class = [value] * classes
        log.write("epoch", epoch=epoch, top1=value, top5=90.0, mean_class=value, by_class=by_class)
    for checkpoint, value in (tests or {}).items():
        values = {"top1": value, "top5": 95.0, "mean_class": value, "by_class": [value] * classes}
        log.write("test", checkpoint=checkpoint, epoch=len(top1), **values)
    if state is not None:
        log.write("end", state=state)
    log.close()
