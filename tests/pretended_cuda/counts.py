"""What the pretended device would have to do."""

from __future__ import annotations

import inspect
import math
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

import lastkd

_PACKAGE = f"{Path(lastkd.__file__).parent}{os.sep}"


@dataclass
class Counts:
    """What the device did since the last `reset`.

    Attributes:
        launches: by operator.
        bytes: read and written, by operator.
        waits: by kind and place, each time the host would have waited for the device.
        casts: by place, copies from one dtype to another.
    """

    launches: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    casts: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def reset(self) -> None:
        for counter in (self.launches, self.bytes, self.waits, self.casts):
            counter.clear()

    def launch(self, name: str, *tensors: Any, launches: int = 1) -> None:
        """Counts an operator that reads and writes these tensors."""
        self.launches[name] += launches
        self.bytes[name] += sum(_size(x) for x in tensors if isinstance(x, Tensor))

    def wait(self, kind: str) -> None:
        self.waits[kind, place()] += 1


def _size(x: Tensor) -> int:
    """Bytes of a tensor, with the elements of an expanded axis counted once."""
    axes = zip(x.shape, x.stride(), strict=True)
    return math.prod(min(size, 1) if stride == 0 else size for size, stride in axes) * x.itemsize


counts = Counts()


def place() -> str:
    """The line of lastkd that asked for it."""
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGE):
            return f"{file.removeprefix(_PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"
