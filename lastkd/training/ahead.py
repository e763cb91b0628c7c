"""Views made ahead of the step, where they are made on another device than the training's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch

Item = TypeVar("Item")
DEPTH = 2
_END = object()


def ahead(items: Iterable[Item], device: torch.device, made_on: torch.device) -> Iterator[Item]:
    """`items`, up to two of them made beforehand by a thread if `device` isn't where they are made.

    On one and the same device nothing is gained: a GPU queues by itself, and on a CPU the thread
    would take from the step what it spends.

    Raises:
        whatever making an item raises, at its place in the order.
    """
    if device.type == made_on.type:
        yield from items
        return
    made: queue.Queue[object] = queue.Queue(DEPTH)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # handed over, and raised where the item was wanted
            put(error)
        put(_END)

    thread = threading.Thread(target=make, name="views", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
