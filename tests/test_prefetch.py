"""Batches made ahead of the step by a thread, where they are made on another device."""

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


def test_the_order_stays_and_another_thread_makes_them() -> None:
    got = list(prefetch(items(7, []), THERE, HERE))
    assert [item.number for item in got] == list(range(7))
    assert all(item.thread is not threading.current_thread() for item in got)


def test_on_one_device_nothing_is_made_ahead() -> None:
    made: list[int] = []
    stream = prefetch(items(5, made), HERE, HERE)
    first = next(stream)
    assert (made, first.thread) == ([0], threading.current_thread())


def test_no_more_are_made_ahead_than_there_is_room_for() -> None:
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


def test_whoever_stops_early_leaves_no_thread_behind() -> None:
    for _ in prefetch(items(50, []), THERE, HERE):
        break
    assert not makers()


def test_an_error_is_raised_at_its_place() -> None:
    def broken() -> Iterator[Made]:
        yield Made(0)
        raise OSError("the disk is gone")

    stream = prefetch(broken(), THERE, HERE)
    assert next(stream).number == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(stream)
    assert not makers()
