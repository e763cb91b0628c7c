"""Pickles from elsewhere, read without running what is in them.

A plain `pickle.load` calls whatever a file names, and believes every size in it. This one calls
nothing but its own constructors of numpy arrays and plain containers, and knows no other names. It
builds on Python's own unpickler in Python, since that one lets its opcodes be replaced: large
arrays can stay in the file until they are asked for, so that a set of several gigabytes is indexed
in little memory.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from struct import unpack
from typing import IO, Any, ClassVar, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from lastkd.data.formats.npy import NpyRows, open_stream, skip_header
from lastkd.errors import UserError

_KINDS_OF_DATA = "biufcSUO"  # bools, numbers, text and arrays of these; no records
_LARGE = 1024
"""Bytes; shorter ones are read at once."""
_LARGEST_MEMBER = 2**31
"""Bytes of one in a zip, which is read whole."""


def load_pickle(path: Path, *, lazily: bool = False) -> Any:
    """The arrays, numbers, strings and containers that a pickle holds.

    Args:
        lazily: arrays come as `StoredArray`, their content still in the file.

    Raises:
        UserError: the file can't be read, is no pickle, or holds anything else (of which nothing
            has run).
    """
    with _errors_of(path), path.open("rb") as file:
        return _DataUnpickler(_Bounded(file, path, path.stat().st_size), lazily).load()


def load_npy(path: Path, member: zipfile.ZipInfo | None = None) -> Any:
    """What an `.npy` array of objects holds: the array, or a single object as it is.

    Args:
        member: the array's place in an `.npz`; arrays of a file by itself come as `StoredArray`.

    Raises:
        UserError: as `load_pickle`.
    """
    if member is not None and member.file_size > _LARGEST_MEMBER:
        raise UserError(f"{path}: {member.filename} is too large; save it by itself")
    with _errors_of(path), open_stream(path, member) as file:
        size = path.stat().st_size if member is None else member.file_size
        return read_npy_object(file, size, path, lazily=member is None)


def read_npy_object(file: IO[bytes], size: int, where: Path | str, *, lazily: bool = False) -> Any:
    """As `load_npy`, of an open file.

    Args:
        size: of the file, in bytes.
        where: the file, as errors show it; a path where arrays are to come lazily.
    """
    with _errors_of(where):
        skip_header(file, str(where))
        array = _DataUnpickler(_Bounded(file, Path(where), size), lazily).load()
        if isinstance(array, StoredArray):
            array = array.read()
        if not isinstance(array, np.ndarray):
            raise UserError(f"{where} holds no array; fetch it again")
        return array if array.ndim else array.item()


@contextlib.contextmanager
def _errors_of(path: Path | str) -> Iterator[None]:
    """What goes wrong in a pickle, as a sentence."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); mend that first") from None
    except _NotDataError as error:
        raise UserError(
            f"{path} holds {error}, and reading that may run code; save it as plain data, a table "
            "by to_csv or arrays by np.savez"
        ) from None
    # a damaged stream ends in whatever its opcodes happen to ask for
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} isn't a readable pickle ({type(error).__name__}: {reason}); fetch it again"
        ) from None


class _NotDataError(Exception):
    """What the pickle holds that isn't data."""


class _InFile(NamedTuple):
    """Bytes that stay in the file."""

    path: Path
    offset: int
    length: int


Content = bytes | _InFile | list[Any]
"""Of an array: its bytes, or the objects in it."""


class StoredArray:
    """An array of a pickle; `read` gives its content, which until then stays in the file.

    An array of objects (dtype `O`) holds what the pickle puts into it, lists and arrays for one.
    """

    __slots__ = ("_content", "_fortran", "dtype", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype: np.dtype[Any] = np.dtype(np.int8)
        self._content: Content = b""
        self._fortran = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def build(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], content: Content, fortran: bool
    ) -> None:
        self.shape, self.dtype, self._content, self._fortran = shape, dtype, content, fortran

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.read() if dtype is None else self.read().astype(dtype)

    def rows(self) -> NpyRows | None:
        """Its rows, read one by one; None where that can't be."""
        content = self._content
        if not isinstance(content, _InFile) or self._fortran or not self.ndim:
            return None
        where = str(content.path)
        return NpyRows(where, content.path, content.offset, self.shape, self.dtype)

    def read(self) -> NDArray[Any]:
        """
        Raises:
            OSError: the file can't be read any more.
        """
        content = self._content
        if isinstance(content, list):
            return _objects(content, self.shape)
        if isinstance(content, _InFile):
            with content.path.open("rb", buffering=0) as file:
                file.seek(content.offset)
                content = file.read(content.length)
        order: Literal["C", "F"] = "F" if self._fortran else "C"
        array: NDArray[Any] = np.frombuffer(content, self.dtype).reshape(self.shape, order=order)
        return array


class _Bounded:
    """A file that never tries to give more than it has."""

    def __init__(self, file: IO[bytes], path: Path, size: int) -> None:
        self.path = path
        self._file = file
        self._size = size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        # most reads are of an opcode or a short word, where asking for the place would cost more
        if count > _LARGE:
            self.check(count)
        data = self._file.read(count)
        if len(data) < count:
            raise EOFError("it ends too early")
        return data

    def check(self, count: int) -> None:
        if count > self._size - self._file.tell():
            raise EOFError("it ends too early")

    def skip(self, count: int) -> _InFile:
        self.check(count)
        place = _InFile(self.path, self._file.tell(), count)
        self._file.seek(count, io.SEEK_CUR)
        return place


_PYTHONS: Any = pickle._Unpickler


class _DataUnpickler(_PYTHONS):  # type: ignore[misc]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_PYTHONS.dispatch)

    def __init__(self, file: _Bounded, lazily: bool) -> None:
        # latin1: how arrays that Python 2 wrote become bytes again
        super().__init__(file, encoding="latin1")
        self._bounded = file
        self._lazily = lazily

    def find_class(self, module: str, name: str) -> Any:
        if self._lazily and name == "_reconstruct" and (module, name) in _KNOWN:
            return _Constructor(lambda *_: StoredArray())
        if self._lazily and name == "_frombuffer" and (module, name) in _KNOWN:
            return _Constructor(_stored_of_buffer)
        known = _KNOWN.get((module, name))
        if known is None:
            raise _NotDataError(f"a {module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _NotDataError("a reference to something outside the file")

    def refuse(self) -> NoReturn:
        raise _NotDataError("a Python object")

    def load_frame(self) -> None:
        self.read(8)  # says how much could be read ahead

    def load_bytes(self, width: str, length: int) -> None:
        (count,) = unpack(width, self.read(length))
        if self._lazily and count >= _LARGE:
            self.append(self._bounded.skip(count))
        else:
            self.append(self.read(count))

    def load_bytearray8(self) -> None:
        (count,) = unpack("<Q", self.read(8))
        if self._lazily and count >= _LARGE:
            self.append(self._bounded.skip(count))
        else:
            self.append(bytearray(self.read(count)))

    def load_build(self) -> None:
        """Sets an array's content or a type's byte order, and nothing else of anything."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.dtype):
            order = state[1]
            if order not in ("<", ">", "=", "|"):
                raise _NotDataError(f"a dtype with byte order {str(order)[:20]!r}")
            if target.kind == "O":  # which has no byte order, and flags that must stay
                return
            size = target.itemsize if target.kind in "SU" else -1
            aligned = target.alignment if target.kind in "SU" else -1
            changed: Any = target
            changed.__setstate__((3, order, None, None, None, size, aligned, 0))
        elif isinstance(target, np.ndarray | StoredArray):
            _, shape, dtype, fortran, content = state
            _check_array(shape, dtype, content)
            if isinstance(target, StoredArray):
                target.build(shape, dtype, _as_bytes(content), bool(fortran))
            elif isinstance(content, list):
                array: Any = target
                array.__setstate__((1, shape, dtype, bool(fortran), content))
            else:
                array = target
                array.__setstate__((1, shape, dtype, bool(fortran), _as_bytes(content)))
        else:
            raise _NotDataError("a change to an object")

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_additems(self) -> None:
        _check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        _check_keys(self.stack)
        super().load_frozenset()

    for _opcode, _method in {
        pickle.FRAME: load_frame, pickle.BYTEARRAY8: load_bytearray8, pickle.BUILD: load_build,
        pickle.SETITEM: load_setitem, pickle.SETITEMS: load_setitems, pickle.DICT: load_dict,
        pickle.ADDITEMS: load_additems, pickle.FROZENSET: load_frozenset,
        pickle.BINBYTES: lambda self: self.load_bytes("<I", 4),
        pickle.BINBYTES8: lambda self: self.load_bytes("<Q", 8),
        **dict.fromkeys(
            (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2,
             pickle.EXT4),
            refuse,
        ),
    }.items():  # fmt: skip
        dispatch[_opcode[0]] = _method


class _Constructor:
    """A callable that has nothing to be altered."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def _check_keys(keys: Any) -> None:
    # a tuple of tuples of ... takes for ever to hash, however short the file
    plain = (str, bytes, int, float, complex, np.generic, type(None))
    if not all(isinstance(key, plain) for key in keys):
        raise _NotDataError("keys that are neither text nor numbers")


def _check_array(shape: Any, dtype: Any, content: Any) -> None:
    if not isinstance(dtype, np.dtype):
        raise _NotDataError("an array without a type")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _NotDataError("an array without a shape")
    if dtype.kind == "O" or isinstance(content, list):
        if not (
            dtype.kind == "O" and isinstance(content, list) and math.prod(shape) == len(content)
        ):
            raise _NotDataError("an array of Python objects without them")
        return
    size = dtype.itemsize
    for n in shape:
        size *= n
    length = content.length if isinstance(content, _InFile) else len(content)
    if size != length:
        raise ValueError(f"an array of shape {shape} has {length} bytes")


def _dtype(code: Any, *_: Any) -> np.dtype[Any]:
    if not isinstance(code, str) or len(code) > 20:
        raise _NotDataError(f"an array of dtype {str(code)[:40]}")
    # a copy, since the pickle then sets the byte order of what it gets
    dtype: np.dtype[Any] = np.dtype(code, copy=True)
    if dtype.kind not in _KINDS_OF_DATA:
        raise _NotDataError(f"an array of dtype {dtype}")
    return dtype


def _empty_array(*_: Any) -> NDArray[np.int8]:
    """What numpy's `_reconstruct` answers: the pickle then sets shape, type and content."""
    return np.empty(0, np.int8)


def _objects(content: list[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.empty(len(content), object)
    for at, value in enumerate(content):  # at once, numpy would look into lists
        array[at] = value
    return array.reshape(shape)


def _scalar(dtype: np.dtype[Any], data: Any) -> Any:
    if dtype.kind == "O":
        raise _NotDataError("a scalar of Python objects")
    return np.frombuffer(_as_bytes(data), dtype)[0]


def _array_of_buffer(
    data: Any, dtype: np.dtype[Any], shape: Any, order: Literal["C", "F"]
) -> NDArray[Any]:
    _check_array(shape, dtype, data)
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape, order=order)
    return array


def _stored_of_buffer(data: Any, dtype: np.dtype[Any], shape: Any, order: str) -> StoredArray:
    _check_array(shape, dtype, data)
    array = StoredArray()
    array.build(shape, dtype, data, order == "F")
    return array


def _encode(text: str, encoding: str) -> bytes:
    # bytes in the old protocols; other codecs would decompress or import
    if encoding not in {"latin1", "latin-1"}:
        raise _NotDataError(f"text to be encoded as {str(encoding)[:20]!r}")
    return text.encode("latin1")


def _as_bytes(data: Any) -> Any:
    return data.encode("latin1") if isinstance(data, str) else data


def _not_by_itself(*_: Any) -> NoReturn:
    raise _NotDataError("a call of numpy.ndarray")


def _plain(kind: type) -> Callable[..., Any]:
    """A builtin type, called with no more than a pickle of data needs to call it."""

    def call(*args: Any) -> Any:
        for arg in args:
            if kind in (bytes, bytearray, str):  # a number would ask for so many bytes
                fits = isinstance(arg, bytes | str)
            elif kind in (tuple, list, dict, set, frozenset):
                fits = isinstance(arg, tuple | list | dict | set | frozenset)
            else:
                short = isinstance(arg, str | bytes) and len(arg) < 100
                fits = short or isinstance(arg, int | float | complex)
            if not fits:
                raise _NotDataError(f"a call of {kind.__name__} on a {type(arg).__name__}")
            if kind in (set, frozenset):
                _check_keys(arg)
            if kind is dict:
                _check_keys(arg if isinstance(arg, dict) else [key for key, _ in arg])
        return kind(*args)

    return call


def _ordered_dict(*args: Any) -> dict[Any, Any]:
    pairs = list(args[0]) if args else []
    _check_keys([key for key, _ in pairs])
    return dict(pairs)


def _default_dict(*args: Any) -> dict[Any, Any]:
    """A plain dict: what would fill it up is of no use to whoever only reads it."""
    return _ordered_dict(*args[1:])


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Constructor(_dtype),
    # only ever an argument of _reconstruct, which has no need of it
    ("numpy", "ndarray"): _Constructor(_not_by_itself),
    ("_codecs", "encode"): _Constructor(_encode),
    ("collections", "OrderedDict"): _Constructor(_ordered_dict),
    ("collections", "defaultdict"): _Constructor(_default_dict),
}
for _core in ("numpy.core", "numpy._core"):  # numpy 1 and numpy 2
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Constructor(_empty_array)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Constructor(_scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Constructor(_array_of_buffer)
for _builtins in ("builtins", "__builtin__"):  # Python 3 and Python 2
    for _type in (
        bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset
    ):  # fmt: skip
        _KNOWN[_builtins, _type.__name__] = _Constructor(_plain(_type))
