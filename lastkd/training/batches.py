"""Batches of training views, prefetched where they are made on another device than the step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.transfer import to_device
from lastkd.data.views import Streams, Views


class OnDevice(Protocol):
    """Anything that holds tensors on the training device."""

    def used_on(self, stream: torch.cuda.Stream) -> None:
        """Records that `stream` reads the tensors, so that their memory isn't reused too early."""


Item = TypeVar("Item", bound=OnDevice)


DEPTH = 2
"""Items prepared ahead of the consumer."""


@dataclass(frozen=True)
class _Prefetched(Generic[Item]):
    """A prepared item and the event after which it may be read."""

    item: Item
    copied: torch.cuda.Event | None


def prefetch(items: Iterable[Item], device: torch.device, made_on: torch.device) -> Iterator[Item]:
    """Yields `items`, prepared up to `DEPTH` ahead by a thread if `made_on` isn't `device`.

    On a GPU the thread copies on a side stream while the step runs; the step's stream waits only
    for the item that it is about to read. Where both devices are the same, a thread gains nothing:
    a GPU queues work by itself, and on a CPU the thread would compete with the step.

    Raises:
        Exception: whatever preparing an item raised, when that item's turn comes.
    """
    if device.type == made_on.type:
        yield from items
        return
    ready: queue.Queue[_Prefetched[Item] | BaseException | None] = queue.Queue(DEPTH)
    stopped = threading.Event()
    side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def put(item: _Prefetched[Item] | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def prepare() -> None:
        try:
            if side is not None:
                torch.cuda.set_device(device)  # a new thread starts on GPU 0, whatever the rank
            with torch.cuda.stream(side):  # a no-op where side is None
                for item in items:
                    if not put(_Prefetched(item, side.record_event() if side else None)):
                        return
        except BaseException as error:  # raised again in the consumer's thread
            put(error)
        put(None)

    thread = threading.Thread(target=prepare, name="views", daemon=True)
    thread.start()
    try:
        while (prefetched := ready.get()) is not None:
            if isinstance(prefetched, BaseException):
                raise prefetched
            if prefetched.copied is not None:
                current = torch.cuda.current_stream(device)
                current.wait_event(prefetched.copied)
                prefetched.item.used_on(current)
            yield prefetched.item
    finally:
        stopped.set()
        thread.join()


class Batch(NamedTuple):
    """Clip indices and body counts `(B,)`, and on the training device views and labels `(B,)`."""

    clips: NDArray[np.int64]
    streams: Streams
    bodies: NDArray[np.int64]
    labels: Tensor

    @classmethod
    def of(
        cls, clips: NDArray[np.int64], views: Views, draws: Tensor, device: torch.device
    ) -> Batch:
        """The training views of `clips`, made on the store's device and copied to `device`.

        Args:
            draws: the epoch's random draws from `Views.draw`.
        """
        index = views.index(clips)
        streams = {name: to_device(x, device) for name, x in views.training(index, draws).items()}
        return cls(clips, streams, views.bodies(clips), to_device(views.labels[index], device))

    def used_on(self, stream: torch.cuda.Stream) -> None:
        """Records that `stream` reads the tensors, so that their memory isn't reused too early."""
        for tensor in (*self.streams.values(), self.labels):
            tensor.record_stream(stream)
