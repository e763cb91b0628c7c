"""Pickles from elsewhere, read without running what is in them.

A plain `pickle.load` calls whatever a file names. This one calls nothing but its own constructors
of numpy arrays, and knows no other names.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from lastkd.errors import UserError

_KINDS_OF_DATA = "biufcSU"  # bools, numbers, text; no objects, records or memory of unknown type


def load_pickle(path: Path) -> Any:
    """The arrays, numbers, strings and containers that a pickle holds.

    Raises:
        UserError: the file can't be read, is no pickle, or holds anything else (of which nothing
            has run).
    """
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file).load()
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); mend that first") from None
    except _NotDataError as error:
        raise UserError(f"{path} holds {error}, which isn't data; refuse it") from None
    # a damaged stream ends in whatever its opcodes happen to ask for
    except Exception as error:
        raise UserError(
            f"{path} isn't a readable pickle ({type(error).__name__}: {error}); fetch it again"
        ) from None


class _NotDataError(Exception):
    """What the pickle holds that isn't data."""


class _DataUnpickler(pickle.Unpickler):
    def __init__(self, file: Any) -> None:
        # latin1: how arrays that Python 2 wrote become bytes again
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is None:
            raise _NotDataError(f"a {module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _NotDataError("a reference to something outside the file")


class _Constructor:
    """A callable that a pickle can't alter: it has no attributes to be set by a BUILD."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _NotDataError("a change to its own constructors")


def _dtype(code: Any, *_: Any) -> np.dtype[Any]:
    # a copy, since the pickle then sets the byte order of what it gets
    dtype: np.dtype[Any] = np.dtype(code, copy=True)
    if dtype.kind not in _KINDS_OF_DATA:
        what = "Python objects" if dtype.hasobject else f"dtype {dtype}"
        raise _NotDataError(f"an array of {what}")
    return dtype


def _empty_array(*_: Any) -> NDArray[np.int8]:
    """What numpy's `_reconstruct` answers: the pickle then sets shape, type and content."""
    return np.empty(0, np.int8)


def _scalar(dtype: np.dtype[Any], data: Any) -> Any:
    return np.frombuffer(_as_bytes(data), dtype)[0]


def _array_of_buffer(
    data: Any, dtype: np.dtype[Any], shape: Any, order: Literal["C", "F"]
) -> NDArray[Any]:
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    # bytes in the old protocols; other codecs would decompress or import
    if encoding not in {"latin1", "latin-1"}:
        raise _NotDataError(f"text to be encoded as {encoding!r}")
    return text.encode("latin1")


def _as_bytes(data: Any) -> Any:
    return data.encode("latin1") if isinstance(data, str) else data


def _not_by_itself(*_: Any) -> NoReturn:
    raise _NotDataError("a call of numpy.ndarray")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Constructor(_dtype),
    # only ever an argument of _reconstruct, which has no need of it
    ("numpy", "ndarray"): _Constructor(_not_by_itself),
    ("_codecs", "encode"): _Constructor(_encode),
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Constructor(_empty_array)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Constructor(_scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Constructor(_array_of_buffer)
for _builtins in ("builtins", "__builtin__"):  # Python 3 and Python 2
    for _type in (
        bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset
    ):  # fmt: skip
        _KNOWN[_builtins, _type.__name__] = _type
