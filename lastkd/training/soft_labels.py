"""Where a run's soft labels come from: the live teacher, or a cache that an earlier run filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.store.clip_store import ClipStore
from lastkd.data.transfer import to_device
from lastkd.data.views import Streams
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.errors import UserError
from lastkd.settings.runs import DistillSettings
from lastkd.training.nonfinite import NonFiniteClips
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache

View = Callable[[NDArray[np.int64]], tuple[Streams, Tensor]]
"""Clips to their streams and numbers of bodies in this epoch."""


def rounded(logits: Tensor) -> Tensor:
    """Logits as a cache would give them back: so that live and replayed runs are the same."""
    return logits.half().float()


class SoftLabels:
    """Soft labels by clip, one epoch at a time.

    Args:
        identity: the teacher that they are of.
        load: makes the live teacher; called only if an epoch isn't cached.
        cache: where they are read from or, if an epoch is missing, written to.
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
        self._replayed: Tensor | None = None
        self._filled: Tensor | None = None
        self._epoch = 0

    @property
    def filling(self) -> bool:
        """Whether this epoch's labels are kept to be written."""
        return self._filled is not None

    def so_far(self) -> Tensor | None:
        """The labels kept of this epoch, float16 on the CPU; zero where there are none yet.

        Every rank must call it.
        """
        if self._filled is None:
            return None
        filled = self._filled
        if self._accelerator.num_processes > 1:  # a row is one rank's, and zero on the others
            filled = self._accelerator.reduce(filled, reduction="sum")
        return filled.half().cpu()

    def go_on(self, labels: Tensor | None) -> None:
        """Takes over the labels of this epoch that a stopped run had kept; on the first rank."""
        if self._filled is not None and labels is not None:
            self._filled.copy_(labels)

    def agree(self, value: bool) -> bool:
        """The first rank's answer, on all ranks: another run may be filling the cache just now."""
        if self._accelerator.num_processes == 1:
            return value
        said = torch.tensor(float(value and self._accelerator.is_main_process))
        said = said.to(self._accelerator.device)
        return bool(self._accelerator.reduce(said, reduction="sum").item())

    @property
    def live(self) -> bool:
        """Whether this epoch's labels are computed and not read."""
        return self._replayed is None

    def begin_epoch(self, epoch: int) -> None:
        """
        Raises:
            UserError: the epoch is in the cache, but damaged, or the teacher can't be loaded.
        """
        device = self._accelerator.device
        self._epoch = epoch
        self._replayed = self._filled = None
        if self.cache is not None and self.agree(self.cache.has(epoch)):
            self._replayed = self.cache.read(epoch).to(device)
            return
        self.teacher()
        if self.cache is not None:
            shape = len(self.clips), self._classes
            self._filled = torch.zeros(shape, dtype=torch.float32, device=device)

    def describe(self, epochs: int) -> str:
        """Where the labels of a run of so many epochs come from, to follow the teacher's name."""
        if self.cache is None:
            return ""
        missing = len(self.cache.missing(epochs))
        return f"; {epochs - missing} of {epochs} epochs in {self.cache.folder}"

    def teacher(self) -> FrozenTeacher:
        """The live teacher."""
        if self._teacher is None:
            self._teacher = self._load()
        return self._teacher

    def __call__(self, clips: NDArray[np.int64], streams: Streams, bodies: Tensor) -> Tensor:
        """Logits `(B, K)` in float32 of this epoch's views of `clips`."""
        rows = to_device(self._row[torch.from_numpy(clips)], self._accelerator.device)
        if self._replayed is not None:
            return self._replayed[rows].float()
        logits = rounded(self.teacher()(streams, bodies))
        self._nonfinite.put(clips, logits)
        if self._filled is not None:
            self._filled[rows] = logits
        return logits

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
        """Computes labels that are to be cached outside a training step, shared out by rank.

        Args:
            clips: those that no batch of the epoch held, on every rank the same.
            batch_size: clips a process and forward pass.
            view: gives their views.

        Yields:
            How many of `clips` are done, after each of this rank's batches.
        """
        if self._filled is None:
            return
        world, rank = self._accelerator.num_processes, self._accelerator.process_index
        for start in range(rank * batch_size, len(clips), world * batch_size):
            some = clips[start : start + batch_size]
            self(some, *view(some))
            yield min(start + batch_size, len(clips))

    def end_epoch(self) -> None:
        """Writes the epoch, if it is to be cached and isn't yet.

        Raises:
            UserError: the cache can't be written, or a label isn't finite: it is never cached.
        """
        if self.cache is None or self._filled is None:
            return
        filled, self._filled = self.so_far(), None
        cache = self.cache
        assert filled is not None

        def write() -> None:
            bad = np.flatnonzero(~filled.isfinite().all(dim=1).numpy())
            if len(bad):
                raise self.nonfinite_error(int(self.clips[bad[0]]))
            cache.write(self._epoch, filled)

        decide_on_main_process(self._accelerator, write)

    def about(self) -> dict[str, Any]:
        """What an event says of the teacher."""
        identity = self.identity
        return {
            "model": identity.name,
            "hash": identity.weights_hash,
            "accuracy": identity.accuracy,
            "cache": str(self.cache.folder) if self.cache else None,
        }


def open_soft_labels(
    settings: Sequence[DistillSettings],
    store: ClipStore,
    teacher: Path | None,
    accelerator: Accelerator,
) -> SoftLabels:
    """The soft labels that a run's settings ask for.

    Args:
        teacher: its checkpoint; None where a cache is to hold all epochs.

    Raises:
        UserError: teacher or cache are missing, damaged or don't fit, or the cache lacks epochs and
            no teacher was named.
    """
    common = settings[0]
    folder = common.teacher_cache
    if teacher is not None:
        identity = TeacherIdentity.of(teacher, store)
    else:
        about = TeacherCache.read_about(folder) if folder else None
        if about is None:
            raise UserError(f"{folder}: holds no soft labels yet, and no teacher was named")
        identity = about.identity
    clips, _ = store.split(common.split)
    cache: TeacherCache | None = None
    if folder is not None:
        key = CacheKey.of(identity, store, split=common.split, seed=common.seed, views=common)
        cache = TeacherCache.open(folder, key, identity)
        missing = cache.missing(common.epochs)
        if missing and teacher is None:
            raise UserError(
                f"{folder}: lacks epoch {missing[0]} (and {len(missing) - 1} more of "
                f"{common.epochs}); name the --teacher, or fill it with lastkd teacher-cache build"
            )

    def load() -> FrozenTeacher:
        if teacher is None:
            raise UserError(f"{folder}: an epoch has vanished, and no teacher was named")
        return FrozenTeacher(teacher, store, accelerator.device)

    return SoftLabels(identity, load, store, clips, accelerator, cache)
