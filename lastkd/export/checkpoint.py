"""Exporting a checkpoint: the file is written, compared with the checkpoint and timed."""

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

from lastkd.data.store.clip_store import AUTO_SPLIT
from lastkd.errors import UserError
from lastkd.evaluation.calibration import KEY, checkpoint_calibration
from lastkd.evaluation.checkpoint import view_settings
from lastkd.export.clips import ExampleClips
from lastkd.export.formats import ExportFormat, Runner, get_format
from lastkd.export.graph import ClipClassifier
from lastkd.files.atomic import replacing
from lastkd.models.checkpoint import Checkpoint, read_checkpoint
from lastkd.version import __version__

TOLERANCE = 1e-4
"""Largest allowed difference of a logit in a float32 file: absolute where the largest logit is at
most 1, relative to the largest logit otherwise."""
CHECKED_CLIPS = 64
TIMED_RUNS = 50


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how it compares with the checkpoint.

    Attributes:
        bodies, joints, classes: M, V and K of the model.
        size_mb, checkpoint_mb: sizes of the two files, in MB (10^6 bytes).
        latency_ms, checkpoint_latency_ms: median time of one clip of `timed_frames` frames on one
            CPU thread, from raw joints to logits; the checkpoint's in PyTorch.
        real: whether the clips come from a store; without one they are generated.
        clips, same_top1: clips compared, and those with the same most likely class.
        largest_difference: of any logit, beside `largest_logit`, the checkpoint's largest.
        top1, checkpoint_top1: percent of the test clips, if all of them were run (int8).
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
    form: str = "onnx",
    int8: bool = False,
    data: str | Path | None = None,
    split: str = AUTO_SPLIT,
    factory: str | None = None,
    on_progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> ExportReport:
    """Writes a checkpoint as a file that takes one clip's raw joints and runs without lastkd.

    The file is opened again in its runtime and compared with the checkpoint; a file that differs is
    removed.

    Args:
        checkpoint: the checkpoint, a `.safetensors` file.
        out: the file to write; by default beside the checkpoint, with the format's suffix.
        form: a name in `lastkd.export.formats.FORMATS`, or `package.module:Class` of a format of
            your own.
        int8: quantise weights and activations to 8 bits (onnx only), calibrated on training clips
            of `data`.
        data, split: the store and split whose test clips the file is checked on; without a store,
            clips are generated.
        factory: `package.module:factory`, for a model that isn't part of lastkd.
        on_progress: called with the current activity, the clips done and their total.

    Raises:
        UserError: checkpoint or store are missing or don't fit, `out` exists or can't be written,
            the model can't be exported, or the file differs from the checkpoint.
    """
    read = read_checkpoint(checkpoint)
    target = get_format(form)
    path = Path(out) if out else _beside(read.path, target, int8)
    if int8 and not target.takes_int8:
        raise UserError(f"--int8 is for ONNX Runtime, not for {form}; choose --format onnx")
    if int8 and data is None:
        raise UserError("--int8 takes its ranges from training clips; name a store with --data")
    if path.exists():
        raise UserError(f"{path}: exists already; remove it or choose another --out")
    target.require()
    clips = ExampleClips.of(read, data, split)
    model = read.build(factory)
    classifier = ClipClassifier(model, view_settings(read.info))
    example = classifier.fitted(clips.test(0))
    oracle = _oracle(classifier, model)
    with replacing(path) as part:
        _write(read, classifier, example, part, target)
        if int8:
            _quantised(part, classifier, clips, on_progress)
        run = target.open(part)
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
        format=target.name,
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
    """Replaces the ONNX file at `path` by one quantised to 8 bits."""
    from lastkd.export.int8 import CALIBRATION_CLIPS, quantise

    total = min(CALIBRATION_CLIPS, clips.training_count)
    calibration = []
    for number in range(total):
        calibration.append(classifier.fitted(clips.training(number, total)))
        on_progress("calibration clips", number + 1, total)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        shutil.move(path, whole)  # the folder may lie on another disk
        quantise(whole, path, calibration)


class _Agreement(NamedTuple):
    """How a file compares with its checkpoint on `clips` clips.

    Attributes:
        same: clips with the same most likely class.
        difference, largest: the largest difference of a logit, and the checkpoint's largest logit.
        right, oracle_right: clips that the file and the checkpoint classify correctly.
    """

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
    """Runs the file on raw joints and the model on the evaluation views of the same clips."""
    same = right = oracle_right = 0
    difference = largest = 0.0
    for number in range(count):
        joints = classifier.fitted(clips.test(number, count))
        ours = run(joints)
        seen = clips.evaluation(number, count)
        theirs = model(*(classifier.clip(joints) if seen is None else seen))
        label = clips.label(number, count)
        same += int(ours.argmax() == theirs.argmax())
        right += int(ours.argmax() == label)
        oracle_right += int(theirs.argmax() == label)
        apart = float((ours - theirs).abs().max())
        difference = apart if math.isnan(apart) else max(difference, apart)
        largest = max(largest, float(theirs.abs().max()))
        on_progress("clips compared", number + 1, count)
    return _Agreement(count, same, difference, largest, right, oracle_right)


def _beside(checkpoint: Path, target: ExportFormat, int8: bool) -> Path:
    return checkpoint.with_suffix((".int8" if int8 else "") + target.suffix)


def _about(read: Checkpoint, classifier: ClipClassifier) -> dict[str, Any]:
    info, calibration = read.info, checkpoint_calibration(read.path)
    return {
        "lastkd": __version__,
        "model": info.architecture.name,
        "weights_hash": read.weights_hash,
        "input": f"joints float32 (frames, {classifier.bodies}, {info.layout.num_joints}, 3), raw",
        "output": f"logits float32 (1, {info.num_classes})",
        "layout": info.layout.name,
        "joints": list(info.layout.joints),
        "skeleton": {
            "parents": list(info.layout.parents),
            "mirror": [list(pair) for pair in info.layout.mirror],
            "dimensions": info.layout.dimensions,
            **({"up": info.layout.up} if info.layout.up else {}),
        },
        "classes": list(info.shown_classes),
        "split": info.settings.get("split"),
        **({KEY: calibration.to_dict()} if calibration.fitted else {}),
    }


def _oracle(classifier: ClipClassifier, model: nn.Module) -> Runner:
    """The checkpoint's model in PyTorch, as it was trained."""

    @torch.no_grad()
    def run(joints: Tensor) -> Tensor:
        logits: Tensor = model(*classifier.clip(joints))
        return logits

    return run


def _write(
    read: Checkpoint,
    classifier: ClipClassifier,
    example: Tensor,
    path: Path,
    target: ExportFormat,
) -> None:
    try:
        target.write(classifier, example, path, _about(read, classifier))
    except (OSError, UserError):
        raise
    except Exception as error:
        factory = read.info.architecture.factory
        if factory is None:
            raise  # a fault of lastkd, not of its user
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{factory}: can't be exported as {target.name} ({type(error).__name__}: {reason})"
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
