"""Rows of a large `.npy` array, alone or inside an uncompressed zip, without loading the rest."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from lastkd.data.formats.archives import begin_of
from lastkd.errors import UserError

LARGEST_ROW = 64 * 2**20
"""Bytes that one clip may take; one of 300 frames has 180 kB."""
NUMBERS = "fiu"
NUMBERS_OR_TEXT = "fiuU"
OBJECTS = "O"
NPY = b"\x93NUMPY"
"""How an `.npy` file begins."""


@dataclass(frozen=True)
class NpyRows:
    """An array that stays where it is until a range of its rows is read.

    Attributes:
        where: the file, and the member of a zip, as errors show them.
        begin: of the array's bytes in `path`.
    """

    where: str
    path: Path
    begin: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` to before `stop`.

        Raises:
            UserError: the file can't be read.
        """
        row = int(np.prod(self.shape[1:], dtype=object)) if len(self.shape) > 1 else 1
        try:
            flat = np.fromfile(
                self.path,
                self.dtype,
                (stop - start) * row,
                offset=self.begin + start * row * self.dtype.itemsize,
            )
            return flat.reshape(stop - start, *self.shape[1:])
        except (OSError, ValueError) as error:
            raise UserError(f"{self.where}: can't be read ({error}); fetch it again") from None


def read_header(
    file: IO[bytes], where: str, kinds: str = NUMBERS
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an `.npy` stream, which then stands at its first number.

    Args:
        kinds: of types that it may hold, as numpy's `dtype.kind`.

    Raises:
        UserError: it isn't an array of numbers in C order, or a row is beyond all measure.
    """
    shape, dtype, fortran = _header(file, where, kinds)
    if fortran:
        raise UserError(
            f"{where}: holds {dtype} in shape {shape} in Fortran order; it should be in C order"
        )
    return shape, dtype


def _header(
    file: IO[bytes], where: str, kinds: str = NUMBERS
) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type and whether the order is Fortran's; errors as in `read_header`."""
    try:
        version = npy_format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy_format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = npy_format.read_array_header_2_0(file)
    # the header is an expression, and a damaged one ends in whatever its parser says
    except Exception as error:
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"{where}: is no .npy array ({reason}); fetch it again") from None
    if dtype.kind == OBJECTS == kinds:  # a pickle follows, whatever its shape
        return shape, dtype, fortran
    if dtype.kind not in kinds or not shape or min(shape) < 0:
        what = "numbers or text" if kinds == NUMBERS_OR_TEXT else "numbers"
        raise UserError(f"{where}: holds {dtype} in shape {shape}; it should be {what}")
    if int(np.prod(shape[1:], dtype=object)) * dtype.itemsize > LARGEST_ROW:
        raise UserError(f"{where}: its shape {shape} is beyond what a clip can hold")
    return shape, dtype, fortran


def parse_npy(content: bytes, where: str) -> NDArray[Any]:
    """A whole array of numbers, in C or Fortran order.

    Raises:
        UserError: it is damaged, cut off or holds anything else.
    """
    file = io.BytesIO(content)
    shape, dtype, fortran = _header(file, where)
    count = int(np.prod(shape, dtype=object))
    if len(content) - file.tell() < count * dtype.itemsize:
        raise UserError(f"{where}: is shorter than its shape {shape} says; fetch it again")
    values = np.frombuffer(content, dtype, count, file.tell())
    return values.reshape(shape, order="F" if fortran else "C")


def npy_shape(path: Path) -> tuple[int, ...]:
    """The shape of an array of numbers, by its header alone.

    Raises:
        UserError: it is damaged or holds anything else.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return _header(file, str(path))[0]


def holds_objects(path: Path, member: zipfile.ZipInfo | None = None) -> bool:
    """Whether an `.npy` array, alone or in a zip, holds objects, such as clips of any length."""
    try:
        with open_stream(path, member) as file:
            return _header(file, str(path), OBJECTS)[1].kind == OBJECTS
    except Exception:  # whatever a damaged zip happens to say
        return False


def skip_header(file: IO[bytes], where: str) -> None:
    """Goes to where the objects of an array begin.

    Raises:
        UserError: it holds none.
    """
    _header(file, where, OBJECTS)


def open_stream(path: Path, member: zipfile.ZipInfo | None) -> IO[bytes]:
    """A file, or a member of a zip, to be closed by the caller."""
    return path.open("rb") if member is None else zipfile.ZipFile(path).open(member)


def open_npy(path: Path, kinds: str = NUMBERS) -> NpyRows:
    """
    Raises:
        UserError: the file is missing, damaged or cut off, or holds something else.
    """
    try:
        with path.open("rb") as file:
            shape, dtype = read_header(file, str(path), kinds)
            return _whole(NpyRows(str(path), path, file.tell(), shape, dtype), path.stat().st_size)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror}); mend that first") from None


def open_member(path: Path, member: zipfile.ZipInfo, kinds: str = NUMBERS) -> NpyRows | NpyStream:
    """An `.npy` array of an `.npz`, compressed or not.

    Raises:
        UserError: it is encrypted, packed in an unusual way, damaged or cut off.
    """
    where = f"{path}: {member.filename}"
    if member.flag_bits & 1:
        raise UserError(f"{path}: is encrypted; make it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{where} is neither stored nor deflated; pack it in one of these ways")
    try:
        if member.compress_type == zipfile.ZIP_DEFLATED:
            return NpyStream(path, member.filename, kinds)
        with path.open("rb") as file:
            first = begin_of(file, member)
            file.seek(first)
            shape, dtype = read_header(file, where, kinds)
            rows = NpyRows(where, path, file.tell(), shape, dtype)
    except UserError:
        raise
    # a damaged archive ends in whatever zipfile, zlib and struct say
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: is damaged ({reason}); fetch it again") from None
    return _whole(rows, min(first + member.file_size, path.stat().st_size))


def _whole(rows: NpyRows, end: int) -> NpyRows:
    size = int(np.prod(rows.shape, dtype=object)) * rows.dtype.itemsize
    if rows.begin + size > end:
        raise UserError(
            f"{rows.where}: shape {rows.shape} needs {size:,} bytes and has "
            f"{max(end - rows.begin, 0):,}; fetch it again"
        )
    return rows


def read_rows(
    file: IO[bytes], count: int, shape: tuple[int, ...], dtype: np.dtype[Any], where: str
) -> NDArray[Any]:
    """The next rows of a stream.

    Raises:
        UserError: it ends before.
    """
    size = count * int(np.prod(shape)) * dtype.itemsize
    data = file.read(size)
    if len(data) < size:
        raise UserError(f"{where}: ends too early; fetch it again")
    return np.frombuffer(data, dtype).reshape(count, *shape)


class NpyStream:
    """A compressed array, unpacked from its beginning to the row that is asked for."""

    def __init__(self, path: Path, member: str, kinds: str = NUMBERS) -> None:
        self._path = path
        self._member = member
        self._kinds = kinds
        self._file: IO[bytes] | None = None
        self._at = 0
        with self._begun() as file:
            self.shape, self._dtype = read_header(file, f"{path}: {member}", kinds)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_at": 0}

    def _begun(self) -> IO[bytes]:
        return zipfile.ZipFile(self._path).open(self._member)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from `start` to before `stop`; cheap where they follow on those read last.

        Raises:
            UserError: the file can't be read or is damaged.
        """
        where = f"{self._path}: {self._member}"
        try:
            if self._file is None or start < self._at:
                self._file = self._begun()
                read_header(self._file, where, self._kinds)
                self._at = 0
            while self._at < start:
                read_rows(self._file, 1, self.shape[1:], self._dtype, where)
                self._at += 1
            rows = read_rows(self._file, stop - start, self.shape[1:], self._dtype, where)
            self._at = stop
            return rows
        except UserError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{where}: can't be unpacked ({reason}); fetch it again") from None
