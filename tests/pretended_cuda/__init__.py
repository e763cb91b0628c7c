"""A CUDA device that isn't there: tensors that claim `cuda:0` and compute on the CPU.

It runs the CUDA path of a program on a machine without a GPU: autocast, GradScaler, the fused
optimiser and every branch on the device are torch's and lastkd's own code. It raises where a tensor
of the CPU meets one of the device or two dtypes meet in a matrix product, and it counts what the
device would have to do. It says nothing about time, about which kernels a card has, or about real
streams.

    import pretended_cuda

    pytestmark = pretended_cuda.needed         # builds it; skips visibly without g++

    def test_a_step_never_waits() -> None:
        with pretended_cuda.device() as counts:
            model = build_model("last_e_nano", 60).to("cuda")
            ...
            counts.reset()
            step()
        assert counts.launches.total() <= 600
        assert not counts.waits                # {("nonzero", "models/last_v2.py:81"): 1, ...}

Import it at the top of a test module: torch's autograd engine makes a thread for each device in its
first backward pass, and must know of this one by then. `device` may be entered many times; tensors
of one entry can be used in the next. `device(values=False)` computes nothing, for counting alone.
Of `torch.cuda` there is only what lastkd uses.

Counting: an operator that isn't a view is one launch (a fused or foreach one a launch for each
`TENSORS_PER_LAUNCH`), and moves the bytes of the tensors that it reads and writes, with the
elements of an expanded axis counted once. Moving a tensor to the device or back is a launch too,
and a wait unless host memory is pinned and the copy doesn't block.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from pretended_cuda.native import load
from pretended_cuda.native import needed as needed

CUDA = torch.device("cuda", 0)
TENSORS_PER_LAUNCH = {1: 110, 2: 64, 3: 48}
"""How many tensors a fused or foreach kernel takes at once, by the number of lists of them."""

_WAITS = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"} | {
    "_unique2",
    "unique_dim",
    "unique_consecutive",
}
_FACTORIES = {"empty", "zeros", "ones", "full", "empty_strided", "rand", "randn"}
_FREE = {"_unsafe_view", "empty", "empty_strided", "empty_like", "new_empty", "lift_fresh"} | {
    "set_",
    "resize_",
    "record_stream",
}
_PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "convolution", "convolution_backward", "linear"} | {
    "addbmm",
    "addmv",
    "mv",
    "dot",
}


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
        self.waits[kind, _place()] += 1


def _size(x: Tensor) -> int:
    """Bytes of a tensor, with the elements of an expanded axis counted once."""
    axes = zip(x.shape, x.stride(), strict=True)
    return math.prod(min(size, 1) if stride == 0 else size for size, stride in axes) * x.itemsize


counts = Counts()
_on = torch.device("cpu")  # where the inner tensors are


class PretendedTensor(torch.Tensor):
    """A tensor of the pretended device; `inner` holds its values on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendedTensor:
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
        )
        wrapper.inner = inner
        return wrapper

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(parts: dict[str, Tensor], *_: Any) -> PretendedTensor:
        return PretendedTensor(parts["inner"])

    def __repr__(self) -> str:
        return f"PretendedTensor({self.inner})"

    def record_stream(self, stream: Any) -> None:
        """There is one stream."""

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees the operators that make a tensor on the device from nothing."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.split("::")[1]
    tensors = [*_tensors(args), *_tensors(kwargs.values())]
    pretended = [x for x in tensors if isinstance(x, PretendedTensor)]
    device = kwargs.get("device")
    kind = None if device is None else torch.device(device).type
    if kwargs.get("pin_memory") and name in _FACTORIES:
        made = func(*args, **{**kwargs, "pin_memory": False})
        made.pinned = True
        return made
    if not pretended and kind != "cuda":
        return func(*args, **kwargs)
    if func is torch.ops.aten._to_copy.default:
        return _copied(args[0], kwargs, kind)
    if func is torch.ops.aten.copy_.default:
        return _copied_into(*args, **kwargs)
    _check(func, name, args, tensors)
    if name in _WAITS:
        counts.wait(name)
    a = _mapped(_inner, args)
    k = {key: _mapped(_inner, value) for key, value in kwargs.items()}
    if kind == "cuda":
        k["device"] = _on
    out = _computed(func, name, a, k)
    _count(func, name, (a, k), out)
    wrapped = _mapped(
        lambda x: PretendedTensor(x) if type(x) is Tensor and kind != "cpu" else x, out
    )
    if name in _WAITS or name.startswith(("_foreach", "_fused")):
        return _written(func, args, kwargs, wrapped)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _computed(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operator on the CPU, which has no kernel for some of what a GPU does."""
    if name == "_fused_sgd_" and _on.type == "meta":
        return None
    if name in ("_softmax", "_log_softmax") and args[2]:
        return func(args[0].float(), args[1], False)
    if name.endswith("softmax_backward_data") and args[3] != args[0].dtype:
        return func(*args[:3], args[0].dtype).to(args[3])
    return func(*args, **kwargs)


def _written(func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
    """The arguments that an operator wrote to, in place of what it returned."""
    schema = func._schema
    written = [
        args[i] if i < len(args) else kwargs.get(argument.name)
        for i, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    if not written or not schema.returns:
        return out
    return written[0] if len(schema.returns) == 1 else tuple(written)


def _copied(source: Tensor, kwargs: dict[str, Any], kind: str | None) -> Tensor:
    """`to`: within the device, from the host to it, or back."""
    options = {**kwargs, "device": torch.device("cpu")}
    if isinstance(source, PretendedTensor):
        if kind != "cpu":
            options.pop("device")
        out: Tensor = torch.ops.aten._to_copy.default(source.inner, **options)
        counts.launch("_to_copy", source.inner, out)
        if kind == "cpu":
            counts.wait("copy to pageable memory")
            return out
        if out.dtype != source.dtype:
            counts.casts[str(source.dtype), str(out.dtype), _place()] += 1
        return PretendedTensor(out)
    if not (kwargs.get("non_blocking") and getattr(source, "pinned", False)):
        counts.wait("copy from pageable memory")
    out = torch.ops.aten._to_copy.default(source, **options)
    counts.launch("_to_copy", source, out)
    return PretendedTensor(out.clone(memory_format=torch.preserve_format).to(_on))


def _copied_into(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if isinstance(target, PretendedTensor) != isinstance(source, PretendedTensor):
        host = source if isinstance(target, PretendedTensor) else target
        if not (non_blocking and getattr(host, "pinned", False)):
            counts.wait("copy to or from pageable memory")
    elif target.dtype != source.dtype:
        counts.casts[str(source.dtype), str(target.dtype), _place()] += 1
    _inner(target).copy_(_inner(source))
    counts.launch("copy_", target, source)
    return target


def _check(func: Any, name: str, args: Any, tensors: list[Tensor]) -> None:
    """
    Raises:
        RuntimeError: CUDA would refuse these operands.
    """
    on_device = any(isinstance(x, PretendedTensor) for x in tensors)
    if name in ("index", "index_put", "index_put_", "_unsafe_index"):
        for index in args[1]:
            if index is None:
                continue
            if index.dtype in (torch.bool, torch.uint8):
                counts.wait("boolean mask")
            if isinstance(index, PretendedTensor) and not isinstance(args[0], PretendedTensor):
                raise RuntimeError(f"{func}: indices on cuda, tensor on the CPU ({_place()})")
            if on_device and not isinstance(index, PretendedTensor):
                counts.wait("index from the host")
    elif on_device:
        host = [x for x in tensors if not isinstance(x, PretendedTensor) and x.dim() > 0]
        if host:
            shapes = [tuple(x.shape) for x in host]
            raise RuntimeError(f"{func}: tensors {shapes} are on the CPU ({_place()})")
    if name in _PRODUCTS:
        dtypes = {x.dtype for x in tensors}
        if len(dtypes) > 1:
            raise RuntimeError(f"{func}: a product of {dtypes} ({_place()})")


def _count(func: Any, name: str, inputs: Any, out: Any) -> None:
    schema = func._schema
    writes = any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments)
    views = not writes and any(r.alias_info is not None for r in schema.returns)
    if views or name in _FREE:
        return
    launches = 1
    if name.startswith(("_foreach", "_fused", "_amp_foreach")):
        lists = [x for x in inputs[0] if isinstance(x, list | tuple) and len(x) > 0]
        launches = math.ceil(len(lists[0]) / TENSORS_PER_LAUNCH.get(len(lists), 36))
    # what an `out=` names is written and not read
    outputs = {argument.name for argument in schema.arguments if argument.is_out}
    read = [x for key, x in inputs[1].items() if key not in outputs]
    moved = [*_tensors(inputs[0]), *_tensors(read), *_tensors((out,))]
    counts.launch(name, *moved, launches=launches)


# torch's own tree functions look at many more kinds of containers than operators have, and would
# take most of the time of a step here


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among an operator's arguments, those in lists included."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` of an argument, or of each element of a list of them."""
    if isinstance(value, list | tuple):
        return type(value)([_mapped(change, element) for element in value])
    return change(value)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, PretendedTensor) else value


def _place() -> str:
    """The line of lastkd that asked for it."""
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if "/lastkd/" in file:
            return f"{file.rpartition('/lastkd/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


@contextlib.contextmanager
def saved_bytes(model: torch.nn.Module) -> Iterator[Callable[[], int]]:
    """Bytes of what autograd keeps for the backward pass, each memory once; parameters aside."""
    kept: dict[int, int] = {}
    known = {_inner(x).untyped_storage()._cdata for x in model.state_dict().values()}

    def pack(x: Tensor) -> Tensor:
        storage = _inner(x.detach()).untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        yield lambda: sum(kept.values())


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
        with _Mode():
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
    global _on  # noqa: PLW0603
    library = load()
    saved = []
    _on = torch.device("cpu" if values else "meta")
    try:
        for owner, name, value in _replacements():
            saved.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)
        library.pretend(1)
        counts.reset()
        with _Mode():
            yield counts
    finally:
        _on = torch.device("cpu")
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
