"""A checkpoint exported, checked against itself, and measured."""

from __future__ import annotations

import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lastkd.errors import UserError
from lastkd.evaluation.checkpoint import view_settings
from lastkd.export.clips import ExampleClips
from lastkd.export.formats import SUFFIXES, Format, Runner, open_exported, require_onnx, write
from lastkd.export.graph import ClipClassifier
from lastkd.files.atomic import replacing
from lastkd.models.checkpoint import Checkpoint, read_checkpoint
from lastkd.settings.architecture import is_factory
from lastkd.version import __version__

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

    def to_dict(self) -> dict[str, Any]:
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
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> ExportReport:
    """Writes a checkpoint as a file that takes one clip's raw joints and runs without lastkd.

    The file is opened again in its runtime and compared with the checkpoint; one that differs isn't
    kept.

    Args:
        out: the file; default: beside the checkpoint, with the format's suffix.
        int8: 8-bit weights and activations (onnx alone), calibrated on training clips of `data`.
        data, split: whose test clips it is checked on; without, on made-up clips.
        factory: `package.module:factory`, where the model isn't one of lastkd's.
        on_progress: called with what is being done, how far it is and of how many clips.

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
    clips = ExampleClips.of(read, data, split)
    model = read.build(factory)
    classifier = ClipClassifier(model, read.info.layout, view_settings(read.info))
    example = classifier.fitted(clips.test(0))
    oracle = _oracle(classifier, model)
    with replacing(path) as part:
        _write(classifier, example, part, form, _about(read, classifier))
        if int8:
            _quantised(part, classifier, clips, on_progress)
        run = open_exported(part, form)
        count = clips.count if int8 else min(CHECKED_CLIPS, clips.count)
        found = _compared(run, model, classifier, clips, count, on_progress)
        if not int8 and not found.holds:
            raise UserError(
                f"{path}: not kept, as it differs from {read.path} (by {found.difference:.1e} "
                f"where the largest logit is {found.largest:.3g}; the same top-1 for {found.same} "
                f"of {count} clips)"
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
        same_top1=found.same,
        largest_difference=found.difference,
        largest_logit=found.largest,
        top1=round(100 * found.right / count, 4) if int8 else None,
        checkpoint_top1=round(100 * found.oracle_right / count, 4) if int8 else None,
    )


def _quantised(
    path: Path,
    classifier: ClipClassifier,
    clips: ExampleClips,
    on_progress: Callable[[str, int, int], None],
) -> None:
    """Puts an 8-bit file in the place of the ONNX file at `path`."""
    from lastkd.export.int8 import CALIBRATION_CLIPS, quantise

    total = min(CALIBRATION_CLIPS, clips.training_count)
    calibration = []
    for number in range(total):
        calibration.append(classifier.fitted(clips.training(number, total)))
        on_progress("clips for the ranges", number + 1, total)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        shutil.move(path, whole)  # another disk, perhaps
        quantise(whole, path, calibration)


class _Agreement(NamedTuple):
    """A file beside its checkpoint on `clips` clips."""

    clips: int
    same: int
    difference: float
    largest: float
    right: int
    oracle_right: int

    @property
    def holds(self) -> bool:
        within = self.difference <= TOLERANCE * max(1.0, self.largest)  # false for NaN
        return within and self.same == self.clips


@torch.no_grad()
def _compared(
    run: Runner,
    model: nn.Module,
    classifier: ClipClassifier,
    clips: ExampleClips,
    count: int,
    on_progress: Callable[[str, int, int], None],
) -> _Agreement:
    """Runs the file on raw joints, and the model on the views that an evaluation makes of them."""
    same = right = oracle_right = 0
    difference = largest = 0.0
    for number in range(count):
        joints = classifier.fitted(clips.test(number, count))
        ours = run(joints)
        seen = clips.evaluation(number, count)
        if seen is None:
            streams, there = classifier.clip(joints)
            seen = streams, there.sum(dim=1)
        theirs = model(*seen)
        label = clips.label(number, count)
        same += int(ours.argmax() == theirs.argmax())
        right += int(ours.argmax() == label)
        oracle_right += int(theirs.argmax() == label)
        apart = float((ours - theirs).abs().max())
        difference = apart if math.isnan(apart) else max(difference, apart)
        largest = max(largest, float(theirs.abs().max()))
        on_progress("clips compared", number + 1, count)
    return _Agreement(count, same, difference, largest, right, oracle_right)


def _beside(checkpoint: Path, form: Format, int8: bool) -> Path:
    return checkpoint.with_suffix((".int8" if int8 else "") + SUFFIXES[form])


def _about(read: Checkpoint, classifier: ClipClassifier) -> dict[str, Any]:
    info = read.info
    return {
        "lastkd": __version__,
        "model": info.architecture.name,
        "weights_hash": read.weights_hash,
        "input": f"joints float32 (frames, {classifier.bodies}, {info.layout.num_joints}, 3), raw",
        "output": f"logits float32 (1, {info.num_classes})",
        "layout": info.layout.name,
        "joints": list(info.layout.joints),
        "classes": list(info.class_names),
    }


def _oracle(classifier: ClipClassifier, model: nn.Module) -> Runner:
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
