"""The frozen teacher: loaded strictly, in half precision on a GPU, never wrapped or saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Streams
from lastkd.models.checkpoint import Checkpoint, CheckpointInfo, check_fit, read_checkpoint
from lastkd.models.registry import build_model
from lastkd.settings.architecture import ExternalArchitecture, is_factory


@dataclass(frozen=True)
class TeacherIdentity:
    """Who the soft labels are of; known without building the model."""

    name: str
    weights_hash: str
    body_average: str
    accuracy: dict[str, Any]

    @classmethod
    def of(cls, path: Path, store: ClipStore) -> TeacherIdentity:
        """
        Raises:
            UserError: the checkpoint is missing or damaged, or doesn't fit the store's classes or
                layout.
        """
        checkpoint, _ = read_teacher(path, store)
        info = checkpoint.info
        average = getattr(info.architecture, "body_average", "first")
        return cls(info.architecture.name, checkpoint.weights_hash, average, info.accuracy)


class FrozenTeacher:
    """Soft labels of one teacher on one device, by the lean formulation where there is one.

    It is no `nn.Module`, so it can't end up inside the student, its DDP wrapper or its checkpoint.
    On a GPU it runs in fp16. On a CPU it stays in float32: bfloat16 moves the logits by about 1e-2
    of the largest, and 1e-3 is what may be lost (`benchmarks/teacher_precision.py`).
    """

    def __init__(self, path: Path, store: ClipStore, device: torch.device) -> None:
        """
        Raises:
            UserError: the checkpoint is missing or damaged, or doesn't fit the store's classes or
                layout.
        """
        checkpoint, factory = read_teacher(path, store)
        self.precision = torch.float16 if device.type == "cuda" else torch.float32
        model = checkpoint.build(factory).requires_grad_(False)
        self._model = model.for_inference().to(device, self.precision)

    @torch.no_grad()
    def __call__(self, streams: Streams, bodies: Tensor) -> Tensor:
        """Logits `(B, K)` in float32, of the very view that the student sees."""
        cast = {name: stream.to(self.precision) for name, stream in streams.items()}
        device = next(iter(cast.values())).device.type
        with torch.autocast(device, enabled=False):
            logits: Tensor = self._model(cast, bodies)
        return logits.float()


def read_teacher(path: Path, store: ClipStore) -> tuple[Checkpoint, str | None]:
    """A teacher's checkpoint, and the factory to build it with where it is one's own.

    Args:
        path: of a checkpoint; or `package.module:factory`, whose model has its weights already.

    Raises:
        UserError: the checkpoint is missing or damaged, or doesn't fit the store's classes or
            layout, or the factory doesn't do what it should.
    """
    if is_factory(str(path)):
        own = build_model(str(path), store.num_classes, store.layout)
        info = CheckpointInfo(
            architecture=ExternalArchitecture(name=str(path)),
            num_classes=store.num_classes,
            layout=store.layout,
        )
        return Checkpoint(path, info, own.state_dict()), str(path)
    checkpoint = read_checkpoint(path)
    info = checkpoint.info
    check_fit(path, info.num_classes, info.class_names, info.layout.joints, store)
    return checkpoint, None
