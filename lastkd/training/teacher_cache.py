"""Soft labels on disk: a teacher's logits of each epoch's views, replayed by later runs.

A view is a function of (seed, epoch, clip), so a run with the same teacher, data, view settings and
seed sees exactly the views of an earlier one and may read its logits instead of computing them.
A cache is a folder with `cache.json`, which records what it was made from, and one file per epoch:
float16 logits `(clips, K)`, one row per training clip of the split in the store's order.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lastkd.data.parts import Parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.files.atomic import replacing, write_text
from lastkd.files.lock import locked
from lastkd.settings.views import AUGMENTATIONS, ViewSettings
from lastkd.training.teacher import TeacherIdentity

FORMAT = 1
METADATA_FILE = "cache.json"
_DESCRIPTIONS = {
    "teacher": "teacher's weights (hash)",
    "body_average": "teacher's average over bodies",
    "data": "data (content hash)",
    "clips": "number of training clips",
    "classes": "number of classes",
    "crop_min": "shortest crop (--crop-min)",
    "turn_degrees": "turn (--turn-degrees)",
    "scale": "change of size (--scale)",
    "mirror": "mirrored share (--mirror)",
    "shear": "shear (--shear)",
    "time_warp": "time warp (--time-warp)",
    "joint_noise": "joint noise (--joint-noise)",
    "dropped_joints": "dropped joints (--dropped-joints)",
    "validation": "clips kept out (--validation)",
    "frames": "number of frames (--frames)",
    "seed": "seed (--seed)",
    "split": "split (--split)",
    "format": "format",
}


class CacheKey(BaseModel):
    """Everything that the soft labels of a training view depend on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: str
    body_average: str
    data: str
    split: str
    clips: int
    classes: int
    seed: int
    frames: int
    crop_min: float
    turn_degrees: float
    scale: float
    mirror: float = 0.0
    shear: float = 0.0
    time_warp: float = 0.0
    joint_noise: float = 0.0
    dropped_joints: float = 0.0
    validation: str | None = None
    format: int = FORMAT

    @classmethod
    def of(
        cls,
        identity: TeacherIdentity,
        store: ClipStore,
        parts: Parts,
        *,
        seed: int,
        views: ViewSettings,
    ) -> CacheKey:
        return cls(
            teacher=identity.weights_hash,
            body_average=identity.body_average,
            data=store.content_hash,
            split=parts.split,
            clips=len(parts.train),
            classes=store.num_classes,
            seed=seed,
            frames=views.frames,
            crop_min=views.crop_min,
            turn_degrees=views.turn_degrees,
            scale=views.scale,
            validation=parts.validation_hash,
            **{name: getattr(views, name) for name in AUGMENTATIONS},
        )


class CacheMetadata(BaseModel):
    """`cache.json`: the key, and what describes the teacher if its checkpoint isn't at hand.

    Attributes:
        members: the teachers of an ensemble.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: CacheKey
    model: str
    accuracy: dict[str, Any]
    members: tuple[TeacherIdentity, ...] = ()

    @classmethod
    def of(cls, key: CacheKey, identity: TeacherIdentity) -> CacheMetadata:
        return cls(
            key=key, model=identity.name, accuracy=identity.accuracy, members=identity.members
        )

    @property
    def identity(self) -> TeacherIdentity:
        return TeacherIdentity(
            self.model, self.key.teacher, self.key.body_average, self.accuracy, self.members
        )


class TeacherCache:
    """A cache folder, opened for one key."""

    def __init__(self, folder: Path, key: CacheKey) -> None:
        self.folder = folder
        self.key = key

    @classmethod
    def open(cls, folder: Path, key: CacheKey, identity: TeacherIdentity) -> TeacherCache:
        """Opens or creates a cache; several processes may do so at once.

        One that is there is only read, so it may lie on a disk that can't be written.

        Raises:
            UserError: the folder holds logits of something else (naming what differs), holds
                something that isn't a cache, or can't be written.
        """
        cache = cls(folder, key)
        existing = cls.read_metadata(folder)
        if existing is None:
            with cache._locked():
                existing = cls.read_metadata(folder)  # another process may have been first
                if existing is None:
                    metadata = CacheMetadata.of(key, identity)
                    write_text(folder / METADATA_FILE, metadata.model_dump_json(indent=1))
        if existing is not None:
            cls.check(folder, existing.key, key)
        return cache

    def _locked(self) -> AbstractContextManager[None]:
        advice = "choose another --teacher-cache"
        return locked(self.folder / ".lock", taken=None, advice=advice)

    @staticmethod
    def check(folder: Path, stored: CacheKey, key: CacheKey) -> None:
        """Compares a cache's key with the key that a run needs.

        Raises:
            UserError: the keys differ, naming the fields.
        """
        differing = [
            f"{_DESCRIPTIONS[name]} {getattr(stored, name)} there and {getattr(key, name)} here"
            for name in CacheKey.model_fields
            if getattr(stored, name) != getattr(key, name)
        ]
        if differing:
            raise UserError(
                f"{folder}: holds soft labels of something else ({'; '.join(differing)}); "
                "choose another --teacher-cache"
            )

    @staticmethod
    def read_metadata(folder: Path) -> CacheMetadata | None:
        """What a cache was made from; None if there isn't one yet.

        Raises:
            UserError: `cache.json` is damaged.
        """
        path = folder / METADATA_FILE
        if not path.exists():
            return None
        try:
            return CacheMetadata.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValueError, OSError):
            raise UserError(
                f"{path}: is damaged or of another version; remove {folder} and fill it again"
            ) from None

    def path(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def has(self, epoch: int) -> bool:
        return self.path(epoch).exists()

    def missing(self, epochs: int) -> list[int]:
        """The epochs from 1 to `epochs` that aren't cached."""
        return [epoch for epoch in range(1, epochs + 1) if not self.has(epoch)]

    def read(self, epoch: int) -> Tensor:
        """Reads an epoch's logits `(clips, K)`, float16, on the CPU.

        Raises:
            UserError: the file is damaged or belongs to another cache.
        """
        path = self.path(epoch)
        try:
            with safe_open(path, "pt") as file:
                key = CacheKey.model_validate_json((file.metadata() or {}).get("key", ""))
                self.check(path, key, self.key)
                logits: Tensor = file.get_tensor("logits")
        except (SafetensorError, OSError, ValidationError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: is damaged ({reason}); remove it, and a run with --teacher fills it again"
            ) from None
        if logits.shape != (self.key.clips, self.key.classes) or logits.dtype != torch.float16:
            raise UserError(f"{path}: holds {tuple(logits.shape)} logits; remove it")
        finite = logits.isfinite().all(dim=1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise UserError(
                f"{path}: holds soft labels that are not finite (row {row}); remove it, and a run "
                "with --teacher fills it again"
            )
        return logits

    def write(self, epoch: int, logits: Tensor) -> None:
        """Writes an epoch atomically; an existing one is kept.

        Raises:
            UserError: the disk is full or the folder can't be written.
        """
        path = self.path(epoch)
        with self._locked():
            if path.exists():
                return
            with replacing(path) as part:
                metadata = {"key": self.key.model_dump_json()}
                try:
                    save_file({"logits": logits.cpu().contiguous()}, part, metadata)
                except SafetensorError as error:  # how the library reports a full disk
                    raise OSError(str(error)) from error
