"""The pace of a machine: what each step of a whole sequence takes on it, by a short measurement."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from lastkd.data.ntu import NTU_60
from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import StopRequests
from lastkd.pipeline.bench import random_store
from lastkd.pipeline.estimate import measure, seconds_left
from lastkd.pipeline.settings import SequenceSettings, sequence_settings
from lastkd.pipeline.steps import TrainingStep, make_steps
from lastkd.settings.students import model_of
from lastkd.terminal import duration

CPU_BATCH = 4
"""Clips a step where a CPU is measured: a step of the base teacher at 16 takes a minute there."""
RANDOM_CLIPS = 256
"""Enough for a batch of two processes, of training and of evaluation."""


class SetSize(NamedTuple):
    """The size of a set."""

    train_clips: int
    test_clips: int
    classes: int


NTU60 = SetSize(*NTU_60.sizes["xsub"], NTU_60.num_classes)
"""NTU RGB+D 60 cross-subject, for which a sequence on generated clips is reckoned."""


def sequence_of(data: Path, split: str, out: Path, teacher_model: str) -> SequenceSettings:
    """The sequence that is checked: one seed of all four students, with the recipe's settings."""
    return sequence_settings(
        {"data": data, "split": split, "out": out, "teacher_model": teacher_model}, None
    )


def measure_pace(
    data: Path | None, split: str, teacher_model: str, launch: Launch, folder: Path
) -> dict[str, Any]:
    """Times a few steps of each kind and reckons the whole sequence.

    Args:
        data: a store; None for generated clips, reckoned at the size of NTU RGB+D 60.
        folder: for generated clips and the folders of runs, which aren't begun.

    Returns:
        `title`, `device`, `processes`, `hours` in all, and `steps`: each with `step`, `ms` a
        training step and `time`.

    Raises:
        Stopped: this process was asked to stop.
        UserError: the store is missing, or the measurement failed; its output stands above.
    """
    if data is None:
        store = random_store(folder / "pace", RANDOM_CLIPS, test_clips=RANDOM_CLIPS)
        size, title = NTU60, "NTU RGB+D 60 xsub"
    else:
        store = ClipStore.open(data)
        train, test = store.split(split)
        size, title = SetSize(len(train), len(test), store.num_classes), f"{data}, {split}"
    sequence = sequence_of(store.path, split, folder / "runs", teacher_model)
    if not torch.cuda.is_available():
        small = {"batch_size": CPU_BATCH, "eval_batch_size": CPU_BATCH}
        sequence = sequence.model_copy(update={"settings": sequence.settings | small})
    steps = make_steps(sequence)
    with StopRequests() as requests:
        parts = {part for step in steps for part in step.parts}
        measured = measure(sequence, launch, parts, requests)
    for part in measured["parts"].values():
        part["steps_per_epoch"] = size.train_clips // part["global_batch"]
        part["evaluated_clips"] = part["test_clips"] = size.test_clips
    rows: list[dict[str, Any]] = []
    total = 0.0
    for step in steps:
        seconds = seconds_left(step, step.status(), measured)
        if seconds is None:
            continue
        total += seconds
        part = measured["parts"].get(step.part) if isinstance(step, TrainingStep) else None
        ms = f"{1000 * part['step_s']:,.0f}" if part else ""
        rows.append({"step": step.title, "ms": ms, "time": duration(seconds)})
    rows.append({"step": "all", "ms": "", "time": duration(total)})
    return {
        "title": f"{title}: a whole sequence on {measured['device']}",
        "device": measured["device"],
        "processes": measured["processes"],
        "hours": round(total / 3600, 2),
        "steps": rows,
    }


def student_models(sequence: SequenceSettings) -> list[str]:
    """The models of a sequence's students."""
    return [model_of(variant) for variant in sequence.variant]
