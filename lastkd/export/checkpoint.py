"""A checkpoint exported, checked against itself, and measured."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import lastkd
from lastkd.architecture import is_factory
from lastkd.atomic import replacing
from lastkd.data.layouts import Layout
from lastkd.data.store import ClipStore
from lastkd.errors import UserError
from lastkd.evaluate import view_settings
from lastkd.export.formats import SUFFIXES, Format, Runner, open_exported, require_onnx, write
from lastkd.export.graph import ClipClassifier
from lastkd.models.checkpoint import Checkpoint, read_checkpoint
from lastkd.training.teacher import check_fit

TOLERANCE = 1e-4
"""Largest difference of a logit that a float32 file may have, where the largest logit is at most 1,
else the same share of that."""
CHECKED_CLIPS = 64
TIMED_RUNS = 50


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it does.

    Attributes:
        real: whether the clips were a store's, or made up for want of one.
        clips, same_top1, largest_difference: the comparison with the checkpoint; the difference is
            that of a logit, and `largest_logit` the checkpoint's largest.
        size_mb, checkpoint_mb: of the files.
        latency_ms, checkpoint_latency_ms: median time of one clip of `timed_frames` frames on one
            CPU thread, from raw joints to logits; the checkpoint's in PyTorch.
        top1, checkpoint_top1: percent of the test clips, where all of them were run (int8).
    """

    path: str
    format: str
    int8: bool
    model: str
    bodies: int
    joints: int
    classes: int
    size_mb: float
    checkpoint_mb: float
    latency_ms: float
    checkpoint_latency_ms: float
    timed_frames: int
    real: bool
    clips: int
    same_top1: int
    largest_difference: float
    largest_logit: float
    top1: float | None = None
    checkpoint_top1: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def export_checkpoint(
    checkpoint: str | Path,
    out: str | Path | None = None,
    *,
    form: Format = "onnx",
    int8: bool = False,
    data: str | Path | None = None,
    split: str = "xsub",
    factory: str | None = None,
    visited: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> ExportReport:
    """Writes a checkpoint as a file that takes one clip's raw joints and runs without lastkd.

    The file is opened again in its runtime and compared with the checkpoint; one that differs isn't
    kept.

    Args:
        out: the file; default: beside the checkpoint, with the format's suffix.
        int8: 8-bit weights and activations (onnx alone), calibrated on training clips of `data`.
        data, split: whose test clips it is checked on; without, on made-up clips.
        factory: `package.module:factory`, where the model isn't one of lastkd's.
        visited: called with what is being done, how far it is and of how many clips.

    Raises:
        UserError: checkpoint or store are missing or don't fit, `out` exists or can't be written,
            the model can't be exported, or what came out differs from the checkpoint.
    """
    read = read_checkpoint(checkpoint)
    path = Path(out) if out else _beside(read.path, form, int8)
    if int8 and form != "onnx":
        raise UserError(f"--int8 is for ONNX Runtime, not for {form}; choose --format onnx")
    if int8 and data is None:
        raise UserError("--int8 takes its ranges from training clips; name a store with --data")
    if path.exists():
        raise UserError(f"{path}: exists already; remove it or choose another --out")
    if form == "onnx":
        require_onnx()
    clips = _Clips.of(read, data, split)
    model = read.build(factory)
    classifier = ClipClassifier(model, read.info.layout, view_settings(read.info))
    example = classifier.fitted(clips.test(0))
    oracle = _oracle(classifier, model)
    with replacing(path) as part:
        _write(classifier, example, part, form, _about(read, classifier))
        if int8:
            from lastkd.export.int8 import CALIBRATION_CLIPS, quantise

            total = min(CALIBRATION_CLIPS, clips.training_count)
            calibration = []
            for number in range(total):
                calibration.append(classifier.fitted(clips.training(number, total)))
                visited("clips for the ranges", number + 1, total)
            with tempfile.TemporaryDirectory() as folder:
                whole = Path(folder) / "float32.onnx"
                part.replace(whole)
                quantise(whole, part, calibration)
        run = open_exported(part, form)
        count = clips.count if int8 else min(CHECKED_CLIPS, clips.count)
        same = right = checkpoint_right = 0
        difference = largest = 0.0
        for number in range(count):
            joints = classifier.fitted(clips.test(number, count))
            ours, theirs = run(joints), oracle(joints)
            same += int(ours.argmax() == theirs.argmax())
            difference = max(difference, float((ours - theirs).abs().max()))
            largest = max(largest, float(theirs.abs().max()))
            label = clips.label(number, count)
            right += int(ours.argmax()) == label
            checkpoint_right += int(theirs.argmax()) == label
            visited("clips compared", number + 1, count)
        wrong = difference > TOLERANCE * max(1.0, largest) or same < count
        if not int8 and (wrong or not math.isfinite(difference)):
            raise UserError(
                f"{path}: not kept, as it differs from {read.path} (by {difference:.1e} where the "
                f"largest logit is {largest:.3g}; the same top-1 for {same} of {count} clips)"
            )
        with _one_thread():
            latency, reference = _latency(run, example), _latency(oracle, example)
        size = part.stat().st_size
    return ExportReport(
        path=str(path),
        format=form,
        int8=int8,
        model=read.info.architecture.name,
        bodies=classifier.bodies,
        joints=read.info.layout.num_joints,
        classes=read.info.num_classes,
        size_mb=round(size / 1e6, 3),
        checkpoint_mb=round(read.path.stat().st_size / 1e6, 3),
        latency_ms=round(latency, 3),
        checkpoint_latency_ms=round(reference, 3),
        timed_frames=len(example),
        real=data is not None,
        clips=count,
        same_top1=same,
        largest_difference=difference,
        largest_logit=largest,
        top1=round(100 * right / count, 4) if int8 else None,
        checkpoint_top1=round(100 * checkpoint_right / count, 4) if int8 else None,
    )


def _beside(checkpoint: Path, form: Format, int8: bool) -> Path:
    return checkpoint.with_suffix((".int8" if int8 else "") + SUFFIXES[form])


def _about(read: Checkpoint, classifier: ClipClassifier) -> dict[str, Any]:
    info = read.info
    return {
        "lastkd": lastkd.__version__,
        "model": info.architecture.name,
        "weights_hash": read.weights_hash,
        "input": f"joints float32 (frames, {classifier.bodies}, {info.layout.num_joints}, 3), raw",
        "output": f"logits float32 (1, {info.num_classes})",
        "layout": info.layout.name,
        "joints": list(info.layout.joints),
        "classes": list(info.class_names),
    }


def _oracle(classifier: ClipClassifier, model: torch.nn.Module) -> Runner:
    """The checkpoint itself: its model as it was trained, in PyTorch."""

    @torch.no_grad()
    def run(joints: Tensor) -> Tensor:
        streams, there = classifier.clip(joints)
        logits: Tensor = model(streams, there.sum(dim=1))
        return logits

    return run


def _write(
    classifier: ClipClassifier, example: Tensor, path: Path, form: Format, about: dict[str, Any]
) -> None:
    try:
        write(classifier, example, path, form, about)
    except OSError:
        raise
    except Exception as error:
        if not is_factory(about["model"]):
            raise  # a fault of lastkd, not of its user
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{about['model']}: can't be exported as {form} ({type(error).__name__}: {reason})"
        ) from error


class _Clips:
    """Clips to check on and to take ranges from: a store's, or made up."""

    def __init__(self, layout: Layout, store: ClipStore | None, split: str) -> None:
        self.layout = layout
        self.store = store
        self._training, self._test = np.arange(0), np.arange(8)
        if store is not None:
            self._training, self._test = store.split(split)

    @classmethod
    def of(cls, read: Checkpoint, data: str | Path | None, split: str) -> _Clips:
        if data is None:
            return cls(read.info.layout, None, split)
        store, info = ClipStore.open(data), read.info
        check_fit(read.path, info.num_classes, info.class_names, info.layout.joints, store)
        return cls(info.layout, store, split)

    @property
    def count(self) -> int:
        return len(self._test)

    @property
    def training_count(self) -> int:
        return len(self._training)

    def test(self, number: int, count: int = 1) -> Tensor:
        """Joints `(T, M, V, 3)` of the number-th of `count` clips spread evenly over the test."""
        return self._joints(self._test, number, count)

    def training(self, number: int, count: int) -> Tensor:
        return self._joints(self._training, number, count)

    def label(self, number: int, count: int) -> int:
        """Its class; -1 where clips are made up."""
        return int(self.store.labels[_spread(self._test, number, count)]) if self.store else -1

    def _joints(self, clips: NDArray[np.int64], number: int, count: int) -> Tensor:
        clip = _spread(clips, number, count)
        if self.store is not None:
            return torch.from_numpy(self.store.clip(clip))
        made = torch.Generator().manual_seed(clip)
        frames = 40 + 10 * clip
        pose = torch.randn(1, 1, self.layout.num_joints, 3, generator=made) * 0.3
        walk = torch.randn(frames, 1, self.layout.num_joints, 3, generator=made).cumsum(0) * 0.02
        return pose + walk + torch.tensor([0.2, 0.1, 3.0])


def _spread(clips: NDArray[np.int64], number: int, count: int) -> int:
    return int(clips[number * len(clips) // count])


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _latency(run: Runner, joints: Tensor) -> float:
    """Median milliseconds of one call."""
    for _ in range(5):
        run(joints)
    times = []
    for _ in range(TIMED_RUNS):
        begun = time.perf_counter()
        run(joints)
        times.append(1000 * (time.perf_counter() - begun))
    return statistics.median(times)
