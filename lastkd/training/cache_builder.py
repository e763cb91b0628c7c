"""Fills a teacher cache without training a student, and verifies one."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from accelerate import Accelerator

from lastkd import rng
from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Views
from lastkd.distributed.device import view_device
from lastkd.errors import UserError
from lastkd.settings.resolve import TeacherCacheSettings
from lastkd.terminal import Progress
from lastkd.training.schedule import with_epochs
from lastkd.training.soft_labels import SoftLabels
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache
from lastkd.training.training_views import TrainingViews


class CacheBuilder:
    """Computes the soft labels of one teacher cache from its teacher, store and view settings."""

    def __init__(
        self,
        folder: Path,
        settings: TeacherCacheSettings,
        data: Path,
        teacher: Path,
        accelerator: Accelerator,
    ) -> None:
        """
        Raises:
            UserError: the store or the teacher is missing, they don't fit each other, or the folder
                holds soft labels made from something else.
        """
        self.accelerator = accelerator
        self.store = ClipStore.open(data)
        parts = split_parts(self.store, settings.split, settings.validation, settings.performers)
        settings = with_epochs(settings, len(parts.train), accelerator.num_processes)
        self.settings = settings
        identity = TeacherIdentity.of(teacher, self.store)
        key = CacheKey.of(identity, self.store, parts, seed=settings.seed, views=settings)
        self.cache = TeacherCache.open(folder, key, identity)
        self.teacher = FrozenTeacher(teacher, self.store, accelerator.device)
        self.soft_labels = SoftLabels(
            identity, lambda: self.teacher, self.store, parts.train, accelerator, self.cache
        )
        views = Views(self.store, settings, view_device(self.store, accelerator.device))
        self.training_views = TrainingViews(
            views, parts.train, seed=settings.seed, device=accelerator.device
        )

    def fill(self) -> None:
        """Computes the missing epochs in the batches that training would use.

        Raises:
            UserError: the cache can't be written.
        """
        settings, clips = self.settings, len(self.training_views.clips)
        total = settings.epochs * clips
        with Progress(
            self.cache.folder.name, total, shown=self.accelerator.is_main_process
        ) as progress:
            cached = settings.epochs - len(self.cache.missing(settings.epochs))
            progress.echo(
                f"{self.cache.folder}: {cached} of {settings.epochs} epochs are cached; "
                f"{clips:,} clips per epoch"
            )
            for epoch in range(1, settings.epochs + 1):
                started = time.perf_counter()
                self.soft_labels.begin_epoch(epoch)
                if not self.soft_labels.live:
                    continue
                views = self.training_views.epoch(epoch)
                for done in self.soft_labels.compute(
                    views.order, settings.batch_size, views.inputs
                ):
                    rate = done / (time.perf_counter() - started)
                    at = f"epoch {epoch}/{settings.epochs} | {rate:.0f} clips/s"
                    progress.update((epoch - 1) * clips + done, at)
                self.soft_labels.end_epoch()
            progress.echo(f"{self.cache.folder}: all {settings.epochs} epochs are cached")

    def verify(self, count: int) -> tuple[int, float]:
        """Recomputes a sample of the cached logits, spread evenly over the epochs.

        Args:
            count: rows to recompute; at least one per epoch is.

        Returns:
            The number of recomputed rows, and the largest difference from the cached logits
            relative to the largest logit.

        Raises:
            UserError: an epoch is missing or damaged.
        """
        settings = self.settings
        missing = self.cache.missing(settings.epochs)
        if missing:
            raise UserError(
                f"{self.cache.folder}: lacks epoch {missing[0]} of {settings.epochs}; fill it with "
                "lastkd teacher-cache build, or pass fewer --epochs"
            )
        clips = self.training_views.clips
        each = min(max(1, count // settings.epochs), len(clips))
        compared, difference, largest = 0, 0.0, 0.0
        for epoch in range(1, settings.epochs + 1):
            cached = self.cache.read(epoch)
            rows = rng.permutation(settings.seed, "verify", epoch, count=len(clips))[:each]
            streams, bodies = self.training_views.epoch(epoch).inputs(clips[rows])
            fresh = self.teacher(streams, bodies).cpu()
            replayed = cached[torch.from_numpy(rows)].float()
            compared += len(rows)
            # a NaN counts as an infinite difference
            gap = torch.nan_to_num((replayed - fresh).abs(), nan=torch.inf)
            difference = max(difference, float(gap.max()))
            largest = max(largest, float(fresh.abs().max()))
        return compared, difference / largest
