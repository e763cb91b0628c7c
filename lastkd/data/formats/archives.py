"""Raw `.skeleton` texts in a folder at any depth, in a zip as it was published, or in one file.

Nothing from a zip is written to disk: a text goes from the archive straight into memory.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from lastkd.errors import UserError

SUFFIX = ".skeleton"
ARRAYS = ".skeleton.npy"
"""What NTU's authors' script makes of such a text."""
LARGEST_TEXT = 32 * 2**20
"""Bytes; the longest recordings of NTU RGB+D have some four million."""
_LOCAL_HEADER = 30
LARGEST_RATIO = 200
"""Text of numbers is deflated to a quarter; what shrinks to less than this share is a bomb."""


def is_skeleton(name: str) -> bool:
    """Whether a file's name is that of a recording; hidden ones are none."""
    return name.endswith((SUFFIX, ARRAYS)) and not name.startswith(".")


def _stem(name: str) -> str:
    return name.removesuffix(ARRAYS).removesuffix(SUFFIX)


class BadSampleError(Exception):
    """What is wrong with one text, in a sentence that names it."""


class Archive(Protocol):
    """Named texts. Worker processes receive a copy by pickling."""

    def texts(self) -> Sequence[tuple[str, str]]:
        """`(stem, where)` of each text; `where` is what `read` takes and errors show."""

    def read(self, where: str) -> bytes:
        """
        Raises:
            BadSampleError: it can't be read, or is too large to be what it should be.
        """

    def identity(self) -> Iterator[str]:
        """Strings that change when a text changes."""


class SkeletonFolder:
    """The `.skeleton` files at any depth of a folder, or one file.

    Hidden files are passed over: archives made on a Mac hold `._S001...` twins that are none.

    Raises:
        UserError: on construction where there is no such folder or no such file in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_file():
            self._files = [path]
            return
        if not path.is_dir():
            raise UserError(f"{path} is not a folder; give the one that holds the .skeleton files")
        self._files = sorted(file for file in path.rglob(f"*{SUFFIX}*") if is_skeleton(file.name))
        if not self._files:
            raise UserError(
                f"{path} has no .skeleton file at any depth; give the folder or the zips that "
                "hold them"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_files": []}  # `read` alone is for other processes

    def texts(self) -> Sequence[tuple[str, str]]:
        return [(_stem(file.name), str(file)) for file in self._files]

    def read(self, where: str) -> bytes:
        try:
            with Path(where).open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > LARGEST_TEXT:
                    raise BadSampleError(_too_large(where))
                return file.read()
        except OSError as error:
            raise BadSampleError(
                f"{where} can't be read ({error.strerror}); mend that first"
            ) from None

    def identity(self) -> Iterator[str]:
        for file in self._files:
            about = file.stat()
            relative = file.name if file == self.path else file.relative_to(self.path)
            yield f"{relative} {about.st_size} {about.st_mtime_ns}"


class SkeletonZip:
    """The `.skeleton` members of a zip, at its top or in a folder inside it.

    Raises:
        UserError: on construction where the zip is damaged, has no such member, or one whose path
            leads out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: zipfile.ZipFile | None = None
        self._members: list[zipfile.ZipInfo] = []
        for member in self._zip().infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            if member.filename.endswith("/") or not is_skeleton(name.name):
                continue
            if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
                raise UserError(
                    f"{path}: its member {member.filename!r} leads out of the archive; fetch it "
                    "from where it is published"
                )
            self._members.append(member)
        if not self._members:
            raise UserError(f"{path}: has no .skeleton file in it; give NTU's skeleton zips")

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_open": None, "_members": []}

    def _zip(self) -> zipfile.ZipFile:
        if self._open is None:
            try:
                self._file = self.path.open("rb")
                self._open = zipfile.ZipFile(self._file)
            # a damaged directory ends in whatever its fields happen to say
            except Exception as error:
                raise UserError(
                    f"{self.path}: is damaged or no zip ({_said(error)}); fetch it again"
                ) from None
        return self._open

    def texts(self) -> Sequence[tuple[str, str]]:
        names = [one.filename for one in self._members]
        return [(_stem(PurePosixPath(name).name), name) for name in names]

    def read(self, where: str) -> bytes:
        shown = f"{self.path}: {where}"
        try:
            archive = self._zip()
            member = archive.getinfo(where)
            packed = max(member.compress_size, 1)
            if member.file_size > LARGEST_TEXT or member.file_size > LARGEST_RATIO * packed:
                raise BadSampleError(_too_large(shown))
            if stat.S_ISLNK(member.external_attr >> 16):
                raise BadSampleError(f"{shown} is a link; fetch the archive again")
            if member.flag_bits & 1:
                raise BadSampleError(f"{shown} is encrypted; make the archive without a password")
            return unpacked(self._file, member)
        except (BadSampleError, UserError):
            raise
        except Exception as error:  # zipfile raises what zlib, struct and its own checks do
            raise BadSampleError(
                f"{shown} can't be unpacked ({_said(error)}); fetch the archive again"
            ) from None

    def identity(self) -> Iterator[str]:
        for one in self._members:
            yield f"{one.filename} {one.file_size} {one.CRC}"


def holds_skeletons(path: Path) -> bool:
    """Whether a file is a zip with a `.skeleton` member, or one too damaged to say so."""
    if path.suffix == ".npz" or not zipfile.is_zipfile(path):
        return path.suffix == ".zip"
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith((SUFFIX, ARRAYS)) for name in archive.namelist())
    except Exception:  # whatever the fields of a damaged directory happen to say
        return True


def begin_of(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin; `file` is the archive.

    Raises:
        ValueError: there is no member at that place.
    """
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise ValueError("its own header is damaged")
    # the lengths of name and extra field may differ from the directory's
    lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    return member.header_offset + _LOCAL_HEADER + sum(lengths)


def unpacked(file: IO[bytes], member: zipfile.ZipInfo) -> bytes:
    """A member's content; never more than the directory says, whatever it would grow to.

    As `ZipFile.read`, in two thirds of its time.

    Raises:
        ValueError, zlib.error: it is damaged or neither stored nor deflated.
    """
    file.seek(begin_of(file, member))
    data = file.read(member.compress_size)
    if member.compress_type == zipfile.ZIP_DEFLATED:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, max(member.file_size, 1))
    elif member.compress_type != zipfile.ZIP_STORED:
        raise ValueError("neither stored nor deflated")
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise ValueError("its checksum is wrong")
    return data


def digest(words: Iterator[str]) -> str:
    """One hash of many strings."""
    hashed = hashlib.sha256()
    for word in words:
        hashed.update(f"{word}\n".encode(errors="surrogateescape"))
    return hashed.hexdigest()


def _said(error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    kind = type(error).__name__
    return f"{kind}: {reason}" if reason and not isinstance(error, zlib.error) else reason or kind


def _too_large(where: str) -> str:
    return (
        f"{where} unpacks to more than a recording can hold ({LARGEST_TEXT >> 20} MB); "
        "fetch it again or take it out"
    )
