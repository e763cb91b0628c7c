"""Views made ahead of the step, where they are made on another device than the training's."""

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
    """What holds tensors on the training device."""

    def used_on(self, stream: torch.cuda.Stream) -> None:
        """Says of each tensor that `stream` reads it, so that its memory isn't reused before."""


Item = TypeVar("Item", bound=OnDevice)
DEPTH = 2


@dataclass(frozen=True)
class _Given(Generic[Item]):
    """An item on its way, and what to wait for before it is read."""

    item: Item
    copied: torch.cuda.Event | None


def prefetch(items: Iterable[Item], device: torch.device, made_on: torch.device) -> Iterator[Item]:
    """`items`, up to two of them made beforehand by a thread if `device` isn't where they are made.

    On a GPU the thread's copies run on a stream of their own, beside the step; the step's stream
    waits for those of its own item alone. On one and the same device nothing is gained: a GPU
    queues by itself, and on a CPU the thread would take from the step what it spends.

    Raises:
        whatever making an item raises, at its place in the order.
    """
    if device.type == made_on.type:
        yield from items
        return
    made: queue.Queue[_Given[Item] | BaseException | None] = queue.Queue(DEPTH)
    stopped = threading.Event()
    side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def put(item: _Given[Item] | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            if side is not None:
                torch.cuda.set_device(device)  # a new thread stands on GPU 0, whatever the rank
            with torch.cuda.stream(side):  # None changes nothing
                for item in items:
                    if not put(_Given(item, side.record_event() if side else None)):
                        return
        except BaseException as error:  # handed over, and raised where the item was wanted
            put(error)
        put(None)

    thread = threading.Thread(target=make, name="views", daemon=True)
    thread.start()
    try:
        while (given := made.get()) is not None:
            if isinstance(given, BaseException):
                raise given
            if given.copied is not None:
                current = torch.cuda.current_stream(device)
                current.wait_event(given.copied)
                given.item.used_on(current)
            yield given.item
    finally:
        stopped.set()
        thread.join()


class Batch(NamedTuple):
    """Clips with their views, numbers of bodies `(B,)` and labels `(B,)` on the training device."""

    clips: NDArray[np.int64]
    streams: Streams
    bodies: Tensor
    labels: Tensor

    @classmethod
    def of(
        cls, clips: NDArray[np.int64], views: Views, draws: Tensor, device: torch.device
    ) -> Batch:
        """The training views of some clips, made where the store is and brought to `device`.

        Args:
            draws: the epoch's, as `Views.draw` gives them.
        """
        index = views.index(clips)
        streams = {name: to_device(x, device) for name, x in views.training(index, draws).items()}
        bodies = to_device(views.bodies(index), device)
        return cls(clips, streams, bodies, to_device(views.labels[index], device))

    def used_on(self, stream: torch.cuda.Stream) -> None:
        """Says that `stream` reads the tensors, so that their memory isn't reused before."""
        for tensor in (*self.streams.values(), self.bodies, self.labels):
            tensor.record_stream(stream)
