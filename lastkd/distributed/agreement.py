"""Decisions that all ranks must share, made without blocking the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from lastkd.errors import UserError

Tag = TypeVar("Tag")
Value = TypeVar("Value")


class AsyncMax(Generic[Tag]):
    """An elementwise maximum over all ranks, reduced in the background and read one call later.

    The reduction runs over gloo in main memory, so it neither waits for a GPU nor delays one. In a
    single process the result is available at once.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        alone = accelerator.num_processes == 1
        self._group: Any = None if alone else dist.new_group(backend="gloo")
        self._pending: tuple[Any, torch.Tensor, Tag] | None = None

    def exchange(self, numbers: Sequence[int], tag: Tag) -> tuple[list[int], Tag] | None:
        """Starts an exchange and returns the maxima and the tag of the previous one.

        Every rank must call it at the same points of the run.

        Returns:
            None if there was no previous exchange.
        """
        if self._group is None:
            return list(numbers), tag
        previous = self.settle()
        values = torch.tensor(numbers, dtype=torch.int32)
        work = dist.all_reduce(values, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._pending = work, values, tag
        return previous

    def settle(self) -> tuple[list[int], Tag] | None:
        """Waits for the pending exchange and returns its result; None if there is none."""
        if self._pending is None:
            return None
        work, maxima, tag = self._pending
        self._pending = None
        work.wait()
        return maxima.tolist(), tag


def gather_objects(accelerator: Accelerator, value: Value) -> list[Value]:
    """Every rank's `value`, by rank; all ranks must call it."""
    if accelerator.num_processes == 1:
        return [value]
    gathered: list[Value] = gather_object([value])
    return gathered


def decide_on_main_process(accelerator: Accelerator, decide: Callable[[], Value]) -> Value:
    """Calls `decide` on rank 0 and returns its result on every rank.

    Raises:
        UserError: `decide` raised one on rank 0; every rank raises it.
    """
    if accelerator.num_processes == 1:
        return decide()
    answer: list[Any] = [None, None]  # the result, or the text of an error
    error: UserError | None = None
    if accelerator.is_main_process:
        try:
            answer[0] = decide()
        except UserError as caught:
            error = caught
            answer[1] = str(caught)
    broadcast_object_list(answer, from_process=0)
    if error is not None:
        raise error
    if answer[1] is not None:
        raise UserError(answer[1])
    value: Value = answer[0]
    return value
