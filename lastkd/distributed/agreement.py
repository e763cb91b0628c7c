"""What all ranks must decide alike, without making a device wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from lastkd.errors import UserError

Tag = TypeVar("Tag")
Value = TypeVar("Value")


class AsyncMax(Generic[Tag]):
    """The largest of all ranks' numbers, exchanged beside the steps and read one exchange later.

    The exchange goes over gloo and main memory, so it neither waits for a GPU nor is waited for. In
    a single process it is read at once.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        alone = accelerator.num_processes == 1
        self._group: Any = None if alone else dist.new_group(backend="gloo")
        self._under_way: tuple[Any, torch.Tensor, Tag] | None = None

    def exchange(self, numbers: Sequence[int], tag: Tag) -> tuple[list[int], Tag] | None:
        """Hands in this rank's numbers and returns the last exchange's largest, with its tag.

        Every rank must call it at the same places. None where no exchange was under way.
        """
        if self._group is None:
            return list(numbers), tag
        before = self.settle()
        mine = torch.tensor(numbers, dtype=torch.int32)
        work = dist.all_reduce(mine, dist.ReduceOp.MAX, group=self._group, async_op=True)
        self._under_way = work, mine, tag
        return before

    def settle(self) -> tuple[list[int], Tag] | None:
        """The result that is under way, waiting for it; None if there is none."""
        if self._under_way is None:
            return None
        work, largest, tag = self._under_way
        self._under_way = None
        work.wait()
        return largest.tolist(), tag


def decide_on_main_process(accelerator: Accelerator, decide: Callable[[], Value]) -> Value:
    """What `decide` answers on the first rank, on all ranks; it isn't called on the others.

    Raises:
        UserError: `decide` raised one; every rank raises it.
    """
    if accelerator.num_processes == 1:
        return decide()
    said: list[Any] = [None, None]
    error: UserError | None = None
    if accelerator.is_main_process:
        try:
            said[0] = decide()
        except UserError as caught:
            error = caught
            said[1] = str(caught)
    broadcast_object_list(said, from_process=0)
    if error is not None:
        raise error
    if said[1] is not None:
        raise UserError(said[1])
    value: Value = said[0]
    return value
