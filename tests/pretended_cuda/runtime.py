"""`torch.cuda` and what else of torch has to know of the pretended device, while it exists."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pretended_cuda.counts import Counts, counts
from pretended_cuda.native import load
from pretended_cuda.tensor import CUDA, DeviceMode, PretendedTensor, home


class Event:
    """`torch.cuda.Event`: all work is done at once."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None: ...
    def record(self, stream: Any = None) -> None: ...
    def synchronize(self) -> None: ...
    def wait(self, stream: Any = None) -> None: ...

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Event) -> float:
        return 0.0


class Stream:
    """`torch.cuda.Stream`: there is one."""

    def __init__(self, device: Any = None, **_: Any) -> None:
        self.device = CUDA

    def record_event(self, event: Event | None = None) -> Event:
        return event or Event()

    def wait_event(self, event: Event) -> None: ...
    def wait_stream(self, stream: Stream) -> None: ...
    def synchronize(self) -> None: ...


class _Properties:
    name = "Pretended GPU"
    total_memory = 16 << 30
    major, minor = 7, 5
    multi_processor_count = 40


def _synchronized(device: Any = None) -> None:
    counts.wait("synchronize")


def _pinned(self: Tensor, *_: Any) -> Tensor:
    copy: Any = self.clone(memory_format=torch.preserve_format)
    copy.pinned = True
    return copy


def _made_on(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`torch.tensor` and its like, which don't reach a dispatch mode with their device."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        x = make(*args, **kwargs)
        return x if device is None else x.to(device)

    return made


def _seen(run: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """A dispatch mode is one thread's: one that is started inside gets its own."""

    def seen(thread: threading.Thread) -> None:
        with DeviceMode():
            run(thread)

    return seen


def _replacements() -> Iterator[tuple[Any, str, Any]]:
    """What of torch's Python side has to know of the device."""
    for module in ("torch.cuda.amp.common", "torch.amp.grad_scaler", "torch.amp.autocast_mode"):
        if hasattr(sys.modules.get(module), "amp_definitely_not_available"):
            yield sys.modules[module], "amp_definitely_not_available", lambda: False
    supported = torch.utils._foreach_utils._foreach_supported_types
    yield torch.utils._foreach_utils, "_foreach_supported_types", [*supported, PretendedTensor]
    for name in ("tensor", "as_tensor"):
        yield torch, name, _made_on(getattr(torch, name))
    yield torch.Tensor, "pin_memory", _pinned
    yield threading.Thread, "run", _seen(threading.Thread.run)
    for name, value in {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "Event": Event,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "synchronize": _synchronized,
        "empty_cache": lambda: None,
        "mem_get_info": lambda device=None: (15 << 30, 16 << 30),
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "get_device_name": lambda device=None: _Properties.name,
        "get_device_properties": lambda device=None: _Properties,
        "get_device_capability": lambda device=None: (7, 5),
        "is_bf16_supported": lambda *_, **__: False,
        "manual_seed": lambda seed: None,
        "manual_seed_all": lambda seed: None,
    }.items():
        yield torch.cuda, name, value


@contextlib.contextmanager
def device(*, values: bool = True) -> Iterator[Counts]:
    """`cuda:0` exists inside; yields the counts, which start at zero.

    Args:
        values: whether tensors hold any; without them nothing is computed, and what depends on a
            value fails.
    """
    library = load()
    saved = []
    home.device = torch.device("cpu" if values else "meta")
    try:
        for owner, name, value in _replacements():
            saved.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        library.pretend(1)
        counts.reset()
        with DeviceMode():
            yield counts
    finally:
        home.device = torch.device("cpu")
        library.pretend(0)
        for owner, name, value in reversed(saved):
            setattr(owner, name, value)


@contextlib.contextmanager
def two_processes() -> Iterator[Any]:
    """Yields what a `Replica` needs of an accelerator of two processes; only this one exists.

    Collectives are torch's own over a group of one process, so that sums are this process's own.
    """
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield SimpleNamespace(
            num_processes=2,
            prepare_model=lambda model, evaluation_mode: (
                model
                if evaluation_mode
                else DistributedDataParallel(model.to(CUDA), device_ids=[0])
            ),
            no_sync=lambda model: model.no_sync(),
        )
    finally:
        dist.destroy_process_group()
