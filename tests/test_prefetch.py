"""Prefetching: a thread prepares batches where they are made on another device than the step."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from lastkd.training.batches import DEPTH, prefetch

HERE, THERE = torch.device("cpu"), torch.device("meta")


class Made:
    """An item, with the thread that made it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.thread = threading.current_thread()

    def used_on(self, stream: torch.cuda.Stream) -> None:
        raise AssertionError("there is no stream without a GPU")


def items(count: int, made: list[int]) -> Iterator[Made]:
    for number in range(count):
        made.append(number)
        yield Made(number)


def makers() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"views"}


def test_another_thread_prepares_the_items_in_order() -> None:
    got = list(prefetch(items(7, []), THERE, HERE))
    assert [item.number for item in got] == list(range(7))
    assert all(item.thread is not threading.current_thread() for item in got)


def test_nothing_is_prefetched_on_a_single_device() -> None:
    made: list[int] = []
    stream = prefetch(items(5, made), HERE, HERE)
    first = next(stream)
    assert (made, first.thread) == ([0], threading.current_thread())


def test_no_more_than_the_depth_is_prefetched() -> None:
    made: list[int] = []
    stream = prefetch(items(50, made), THERE, HERE)
    next(stream)
    for _ in range(100):
        if len(made) >= 1 + DEPTH + 1:
            break
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)
    assert len(made) == 1 + DEPTH + 1  # given, in the queue, and waiting to get in
    stream.close()


def test_stopping_early_leaves_no_thread_behind() -> None:
    for _ in prefetch(items(50, []), THERE, HERE):
        break
    assert not makers()


def test_an_error_is_raised_when_its_item_is_due() -> None:
    def broken() -> Iterator[Made]:
        yield Made(0)
        raise OSError("the disk is gone")

    stream = prefetch(broken(), THERE, HERE)
    assert next(stream).number == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)
    assert not makers()
