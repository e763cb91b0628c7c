"""The frozen teacher: loaded strictly, in half precision on a GPU, never wrapped or saved.

Several teachers make an ensemble. Its logits are the logarithm of the mean of their probabilities,
so it gives one row of logits per clip, like a single teacher, for every loss, tau and cache.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Streams
from lastkd.models.bodies import BodyCounts
from lastkd.models.checkpoint import Checkpoint, CheckpointInfo, check_fit, read_checkpoint
from lastkd.models.registry import SkeletonModel, build_model
from lastkd.settings.architecture import ExternalArchitecture
from lastkd.settings.teachers import TeacherSource, check_distinct, teacher_sources


@dataclass(frozen=True)
class TeacherIdentity:
    """Identifies a teacher without building its model.

    Attributes:
        body_average: how its logits are averaged over bodies.
        accuracy: as its checkpoint records it; empty for an ensemble.
        members: the teachers of an ensemble, in a fixed order.
    """

    name: str
    weights_hash: str
    body_average: str
    accuracy: dict[str, Any]
    members: tuple[TeacherIdentity, ...] = ()

    @classmethod
    def of(cls, teacher: str | Path, store: ClipStore) -> TeacherIdentity:
        """
        Args:
            teacher: one or several, in the form that `teacher_sources` parses.

        Raises:
            UserError: a checkpoint is missing or damaged, or doesn't fit the store's classes or
                layout.
        """
        members = [cls._of_one(checkpoint) for checkpoint, _ in read_teachers(teacher, store)]
        if len(members) == 1:
            return members[0]
        hashes = " ".join(member.weights_hash for member in members)
        return cls(
            name=" + ".join(member.name for member in members),
            weights_hash=hashlib.sha256(hashes.encode()).hexdigest(),
            body_average=", ".join(member.body_average for member in members),
            accuracy={},
            members=tuple(members),
        )

    @classmethod
    def _of_one(cls, checkpoint: Checkpoint) -> TeacherIdentity:
        info = checkpoint.info
        average = getattr(info.architecture, "body_average", "first")
        return cls(info.architecture.name, checkpoint.weights_hash, average, info.accuracy)

    def describe(self) -> str:
        """Name and accuracy, for an ensemble those of each member."""
        if self.members:
            return f"ensemble of {', '.join(member.describe() for member in self.members)}"
        return f"{self.name}, top-1 {self.accuracy.get('top1', 'unknown')}"


class _Member:
    """One teacher's form for inference, with the precision that it runs in."""

    def __init__(self, model: SkeletonModel, device: torch.device) -> None:
        on_gpu = device.type == "cuda"
        self.precision = torch.float16 if on_gpu and model.inference_in_half else torch.float32
        self.autocast = on_gpu and not model.inference_in_half
        self.model = model.requires_grad_(False).for_inference().to(device, self.precision)

    def __call__(self, streams: Streams, bodies: BodyCounts) -> Tensor:
        cast = {name: stream.to(self.precision) for name, stream in streams.items()}
        device = next(iter(cast.values())).device.type
        with torch.autocast(device, torch.float16, enabled=self.autocast):
            logits: Tensor = self.model(cast, bodies)
        return logits.float()


class FrozenTeacher:
    """One teacher or an ensemble on one device, in each model's fastest form for inference.

    It isn't an `nn.Module`, so it can't become part of the student or of its
    checkpoint. On a GPU it runs in fp16: cast as a whole where its family allows that, otherwise
    under autocast, which lets a model of one's own compute in float32 where it has to. On a CPU it
    stays in float32: bfloat16 changes the logits by about 1e-2 of the largest, and at most 1e-3 is
    acceptable (`benchmarks/teacher_precision.py`).
    """

    def __init__(self, teacher: str | Path, store: ClipStore, device: torch.device) -> None:
        """
        Args:
            teacher: one or several, in the form that `teacher_sources` parses.

        Raises:
            UserError: a checkpoint is missing or damaged, or doesn't fit the store's classes or
                layout.
        """
        self._members = [
            _Member(checkpoint.build(factory), device)
            for checkpoint, factory in read_teachers(teacher, store)
        ]

    @property
    def size(self) -> int:
        """The number of values in parameters and buffers, of all members of an ensemble."""
        models = [member.model for member in self._members]
        tensors = (t for model in models for t in (*model.parameters(), *model.buffers()))
        return sum(tensor.numel() for tensor in tensors)

    @torch.no_grad()
    def __call__(self, streams: Streams, bodies: BodyCounts) -> Tensor:
        """Logits `(B, K)`, float32, for the view that the student sees."""
        logits = [member(streams, bodies) for member in self._members]
        if len(logits) == 1:
            return logits[0]
        probabilities = torch.stack([each.log_softmax(dim=1) for each in logits])
        return probabilities.logsumexp(dim=0) - math.log(len(logits))


def read_teachers(teacher: str | Path, store: ClipStore) -> list[tuple[Checkpoint, str | None]]:
    """Reads each teacher's checkpoint, with the user's factory that builds it, if any.

    They are sorted by the hashes of their weights, so that the order in which an ensemble is named
    doesn't matter.

    Raises:
        UserError: a checkpoint is missing or damaged, or doesn't fit the store's classes or layout,
            a factory doesn't do what it should, or a teacher is named twice.
    """
    sources = teacher_sources(teacher)
    check_distinct(sources)
    read = [_read(source, store) for source in sources]
    return sorted(read, key=lambda one: one[0].weights_hash) if len(read) > 1 else read


def _read(source: TeacherSource, store: ClipStore) -> tuple[Checkpoint, str | None]:
    if source.checkpoint is None:
        assert source.factory is not None
        own = build_model(source.factory, store.num_classes, store.layout)
        info = CheckpointInfo(
            architecture=ExternalArchitecture(name=source.factory),
            num_classes=store.num_classes,
            layout=store.layout,
        )
        return Checkpoint(Path(source.factory), info, own.state_dict()), source.factory
    checkpoint = read_checkpoint(source.checkpoint)
    info = checkpoint.info
    check_fit(checkpoint.path, info.num_classes, info.class_names, info.layout.joints, store)
    return checkpoint, source.factory
