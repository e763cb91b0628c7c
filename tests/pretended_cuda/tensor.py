"""The tensor of the pretended device, and what every operator on one does and counts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from pretended_cuda.counts import counts, place

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


class _Home:
    """Where the values are: on the CPU, or nowhere (meta) where only counts are wanted."""

    device = torch.device("cpu")


home = _Home()


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


class DeviceMode(TorchDispatchMode):
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
    a = _mapped(inner_of, args)
    k = {key: _mapped(inner_of, value) for key, value in kwargs.items()}
    if kind == "cuda":
        k["device"] = home.device
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
    if name == "_fused_sgd_" and home.device.type == "meta":
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
            counts.casts[str(source.dtype), str(out.dtype), place()] += 1
        return PretendedTensor(out)
    if not (kwargs.get("non_blocking") and getattr(source, "pinned", False)):
        counts.wait("copy from pageable memory")
    out = torch.ops.aten._to_copy.default(source, **options)
    counts.launch("_to_copy", source, out)
    return PretendedTensor(out.clone(memory_format=torch.preserve_format).to(home.device))


def _copied_into(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    if isinstance(target, PretendedTensor) != isinstance(source, PretendedTensor):
        host = source if isinstance(target, PretendedTensor) else target
        if not (non_blocking and getattr(host, "pinned", False)):
            counts.wait("copy to or from pageable memory")
    elif target.dtype != source.dtype:
        counts.casts[str(source.dtype), str(target.dtype), place()] += 1
    inner_of(target).copy_(inner_of(source))
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
                raise RuntimeError(f"{func}: indices on cuda, tensor on the CPU ({place()})")
            if on_device and not isinstance(index, PretendedTensor):
                counts.wait("index from the host")
    elif on_device:
        host = [x for x in tensors if not isinstance(x, PretendedTensor) and x.dim() > 0]
        if host:
            shapes = [tuple(x.shape) for x in host]
            raise RuntimeError(f"{func}: tensors {shapes} are on the CPU ({place()})")
    if name in _PRODUCTS:
        dtypes = {x.dtype for x in tensors}
        if len(dtypes) > 1:
            raise RuntimeError(f"{func}: a product of {dtypes} ({place()})")


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


def inner_of(value: Any) -> Any:
    return value.inner if isinstance(value, PretendedTensor) else value


@contextlib.contextmanager
def saved_bytes(model: torch.nn.Module) -> Iterator[Callable[[], int]]:
    """Bytes of what autograd keeps for the backward pass, each memory once; parameters aside."""
    kept: dict[int, int] = {}
    known = {inner_of(x).untyped_storage()._cdata for x in model.state_dict().values()}

    def pack(x: Tensor) -> Tensor:
        storage = inner_of(x.detach()).untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        yield lambda: sum(kept.values())
