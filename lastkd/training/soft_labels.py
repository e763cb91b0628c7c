"""A run's soft labels, from the live teacher or from a cache that an earlier run filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.transfer import to_device
from lastkd.data.views import Streams
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.errors import UserError
from lastkd.models.bodies import BodyCounts
from lastkd.settings.runs import DistillSettings
from lastkd.training.nonfinite import NonFiniteClips
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache

View = Callable[[NDArray[np.int64]], tuple[Streams, BodyCounts]]
"""Maps clip indices to their streams and body counts `(B,)` in the current epoch."""

MOST_PREVIEWED, LEAST_PREVIEWED = 128, 16
"""Views of which the labels are measured before training."""


def rounded(logits: Tensor) -> Tensor:
    """Logits rounded as in a cache, so that live and replayed runs give the same result."""
    return logits.half().float()


class SoftLabels:
    """The teacher's logits of every training view, one epoch at a time.

    Args:
        identity: identifies the teacher.
        load: loads the live teacher; called only if an epoch isn't cached.
        clips: the training clips, as indices into the store.
        cache: read for the epochs that it holds, and written for those that it lacks.
    """

    def __init__(
        self,
        identity: TeacherIdentity,
        load: Callable[[], FrozenTeacher],
        store: ClipStore,
        clips: NDArray[np.int64],
        accelerator: Accelerator,
        cache: TeacherCache | None = None,
    ) -> None:
        self.identity = identity
        self.cache = cache
        self.clips = clips
        self._load = load
        self._teacher: FrozenTeacher | None = None
        self._accelerator = accelerator
        self._classes = store.num_classes
        self._names = store.names
        self._nonfinite = NonFiniteClips(accelerator.device)
        self._row = torch.zeros(len(store), dtype=torch.int64)
        self._row[torch.from_numpy(clips)] = torch.arange(len(clips))
        self._previewed: dict[bytes, Tensor] = {}
        self._replayed: Tensor | None = None
        self._filled: Tensor | None = None
        self._epoch = 0

    @property
    def filling(self) -> bool:
        """Whether this epoch's labels are collected for the cache."""
        return self._filled is not None

    def collected(self) -> Tensor | None:
        """This epoch's labels so far, float16 on the CPU; rows not computed yet are zero.

        Every rank must call it.
        """
        if self._filled is None:
            return None
        filled = self._filled
        if (
            self._accelerator.num_processes > 1
        ):  # each row is set on one rank and zero on the others
            filled = self._accelerator.reduce(filled, reduction="sum")
        return filled.half().cpu()

    def restore(self, labels: Tensor | None) -> None:
        """Restores this epoch's labels from a checkpoint; only rank 0 passes them."""
        if self._filled is not None and labels is not None:
            self._filled.copy_(labels)

    @property
    def live(self) -> bool:
        """Whether this epoch's labels come from the live teacher."""
        return self._replayed is None

    def begin_epoch(self, epoch: int) -> None:
        """Reads the epoch's labels from the cache, or loads the teacher to compute them.

        Raises:
            UserError: the cached epoch is damaged, or the teacher can't be loaded.
        """
        device = self._accelerator.device
        self._epoch = epoch
        self._replayed = self._filled = None
        cache = self.cache
        # rank 0 decides: another run may be filling the cache right now
        if cache is not None and decide_on_main_process(
            self._accelerator, lambda: cache.has(epoch)
        ):
            self._replayed = to_device(cache.read(epoch), device)
            return
        self.teacher()
        if self.cache is not None:
            shape = len(self.clips), self._classes
            self._filled = torch.zeros(shape, dtype=torch.float32, device=device)

    def describe(self, epochs: int) -> str:
        """How many of a run's epochs are cached, as text that follows the teacher's name."""
        if self.cache is None:
            return ""
        missing = len(self.cache.missing(epochs))
        return f"; {epochs - missing} of {epochs} epochs in {self.cache.folder}"

    def teacher(self) -> FrozenTeacher:
        """The live teacher, loaded on first use."""
        if self._teacher is None:
            self._teacher = self._load()
        return self._teacher

    def __call__(self, clips: NDArray[np.int64], streams: Streams, bodies: BodyCounts) -> Tensor:
        """The teacher's logits `(B, K)`, float32, for this epoch's views of `clips`."""
        rows = to_device(self._row[torch.from_numpy(clips)], self._accelerator.device)
        if self._replayed is not None:
            return self._replayed[rows].float()
        previewed = self._previewed.pop(clips.tobytes(), None) if self._epoch == 1 else None
        logits = rounded(self.teacher()(streams, bodies)) if previewed is None else previewed
        self._nonfinite.put(clips, logits)
        if self._filled is not None:
            self._filled[rows] = logits
        return logits

    def to_preview(self, order: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
        """The clips whose views are looked at before training: the first epoch's first batches.

        Args:
            order: of the clips in the first epoch.
            batch_size: clips per forward pass.
        """
        size = min(self._preview_size(), len(order))
        return order[: max(1, size // batch_size) * batch_size]

    def _preview_size(self) -> int:
        """How many views to look at; fewer of a large teacher on a CPU."""
        if self._is_cached(1) or self._accelerator.device.type == "cuda":
            return MOST_PREVIEWED
        of_this_size = MOST_PREVIEWED * 10**6 // max(1, self.teacher().size)
        return min(MOST_PREVIEWED, max(LEAST_PREVIEWED, of_this_size))

    def preview(self, clips: NDArray[np.int64], batch_size: int, view: View) -> Tensor:
        """Logits `(N, K)` of the first epoch's views of some clips, on the training device.

        No other rank takes part. Batches that training has too aren't computed again.

        Args:
            clips: indices into the store.
            batch_size: clips per forward pass.
            view: makes the views of a batch.
        """
        device = self._accelerator.device
        if self.cache is not None and self._is_cached(1):
            rows = self._row[torch.from_numpy(clips)]
            return to_device(self.cache.read(1)[rows], device).float()
        for at in range(0, len(clips), batch_size):
            batch = clips[at : at + batch_size]
            self._previewed[batch.tobytes()] = rounded(self.teacher()(*view(batch)))
        return torch.cat(list(self._previewed.values()))

    def _is_cached(self, epoch: int) -> bool:
        return self.cache is not None and self.cache.has(epoch)

    def take_nonfinite(self, *, all_: bool = False) -> int | None:
        """The first clip for which the teacher's logits weren't finite; None if there is none.

        On a GPU the answer lags behind by two batches, so that the host needn't wait for it.
        """
        return self._nonfinite.take(all_=all_)

    def nonfinite_error(self, clip: int) -> UserError:
        """The error about a clip for which the teacher's logits aren't finite."""
        return UserError(
            f"{self.identity.name}: the teacher's logits of the clip {self._names[clip]} are not "
            "finite numbers; look at the clip with lastkd show and leave it out, or choose another "
            "--teacher"
        )

    def compute(self, clips: NDArray[np.int64], batch_size: int, view: View) -> Iterator[int]:
        """Computes labels for the cache outside a training step, divided among the ranks.

        Args:
            clips: clips that no batch of the epoch contained; the same on every rank.
            batch_size: clips per forward pass of a process.
            view: makes the views of a batch.

        Yields:
            The number of `clips` done after each batch of this rank.
        """
        if self._filled is None:
            return
        world, rank = self._accelerator.num_processes, self._accelerator.process_index
        for start in range(rank * batch_size, len(clips), world * batch_size):
            batch = clips[start : start + batch_size]
            self(batch, *view(batch))
            self.take_nonfinite()  # only to empty its queue: `end_epoch` tells all ranks alike
            yield min(start + batch_size, len(clips))

    def end_epoch(self) -> None:
        """Writes the epoch to the cache if it was computed for one.

        Raises:
            UserError: the cache can't be written, or a label isn't finite: it is never cached.
        """
        if self.cache is None or self._filled is None:
            return
        filled, self._filled = self.collected(), None
        cache = self.cache
        assert filled is not None

        def write() -> None:
            bad = np.flatnonzero(~filled.isfinite().all(dim=1).numpy())
            if len(bad):
                raise self.nonfinite_error(int(self.clips[bad[0]]))
            cache.write(self._epoch, filled)

        decide_on_main_process(self._accelerator, write)

    def about(self) -> dict[str, Any]:
        """The teacher's entry in a start event."""
        identity = self.identity
        entry: dict[str, Any] = {
            "model": identity.name,
            "hash": identity.weights_hash,
            "accuracy": identity.accuracy,
            "cache": str(self.cache.folder) if self.cache else None,
        }
        if identity.members:
            entry["members"] = [
                {"model": one.name, "hash": one.weights_hash, "accuracy": one.accuracy}
                for one in identity.members
            ]
        return entry


def open_soft_labels(
    settings: Sequence[DistillSettings],
    store: ClipStore,
    teacher: Path | None,
    accelerator: Accelerator,
) -> SoftLabels:
    """The soft labels for students trained together.

    Args:
        settings: one per student; they agree in all that soft labels depend on.
        teacher: path of the teacher's checkpoint; None if the cache must hold every epoch.

    Raises:
        UserError: the teacher or the cache is missing, damaged or doesn't fit, or the cache lacks
            epochs and no teacher was named.
    """
    common = settings[0]
    folder = common.teacher_cache
    if teacher is not None:
        identity = TeacherIdentity.of(teacher, store)
    else:
        metadata = TeacherCache.read_metadata(folder) if folder else None
        if metadata is None:
            raise UserError(f"{folder}: holds no soft labels yet, and no teacher was named")
        identity = metadata.identity
    parts = split_parts(store, common.split, common.validation, common.performers)
    cache: TeacherCache | None = None
    if folder is not None:
        key = CacheKey.of(identity, store, parts, seed=common.seed, views=common)
        cache = TeacherCache.open(folder, key, identity)
        missing = cache.missing(common.epochs)
        if missing and teacher is None:
            raise UserError(
                f"{folder}: lacks epoch {missing[0]} (and {len(missing) - 1} more of "
                f"{common.epochs}); name the --teacher, or fill it with lastkd teacher-cache build"
            )

    def load() -> FrozenTeacher:
        if teacher is None:
            raise UserError(f"{folder}: an epoch has been removed, and no teacher was named")
        return FrozenTeacher(teacher, store, accelerator.device)

    return SoftLabels(identity, load, store, parts.train, accelerator, cache)
