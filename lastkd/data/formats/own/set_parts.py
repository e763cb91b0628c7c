"""The parts of a whole set in arrays: `X_train`, `y_train`, ... in a folder or an `.npz`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lastkd.data.formats.axes import dense
from lastkd.data.formats.datasets.pickled import StoredArray, load_npy
from lastkd.data.formats.npy import (
    NUMBERS_OR_TEXT,
    NpyRows,
    NpyStream,
    holds_objects,
    open_member,
    open_npy,
)
from lastkd.errors import UserError

PARTS = ("", "train", "training", "val", "valid", "validation", "test")
_PART = "|".join(PARTS[1:])
_WHAT = {
    "joints": "x|data|joints?|skeletons?|keypoints?|poses?",
    "labels": "y|labels?|targets?",
    "performers": "subjects?|performers?|persons?",
    "names": "names?|files?|filenames?|clips?|videos?",
}
_NAME = re.compile(
    rf"((?P<before>{_PART})[_-]?)?"
    + "("
    + "|".join(f"(?P<{what}>{names})" for what, names in _WHAT.items())
    + rf")([_-]?(?P<after>{_PART}))?",
    re.IGNORECASE,
)
_COLUMNS = {"labels": "label", "performers": "performer", "names": "file"}
"""What arrays are for, and the column of a table of labels that says it."""
_MOST_CLIPS = 2_000_000

Rows = NpyRows | NpyStream


class Clips(Protocol):
    """The joints of some clips, each an array of any order of axes."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int) -> NDArray[Any]:
        """
        Raises:
            AxesError: it holds no numbers.
            UserError: it can't be read.
        """

    @property
    def shapes(self) -> Collection[tuple[int, ...]]:
        """Of all clips, as far as it is known without reading them."""


@dataclass(frozen=True)
class StackedClips:
    """Clips of one length in one array, read one by one."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> NDArray[Any]:
        clip: NDArray[Any] = self.rows.read(at, at + 1)[0]
        return clip

    @property
    def shapes(self) -> Collection[tuple[int, ...]]:
        return {self.rows.shape[1:]} if len(self) else set()


@dataclass
class LooseClips:
    """Clips of any length, each an array or nested lists."""

    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: int) -> NDArray[Any]:
        return dense(self.values[at])

    @cached_property
    def shapes(self) -> Collection[tuple[int, ...]]:
        return {
            tuple(value.shape)
            for value in self.values
            if isinstance(value, np.ndarray | StoredArray) and value.dtype.kind in "fiu"
        }


@dataclass
class SetPart:
    """Clips of one array or list.

    Attributes:
        says: what is said of each, as a line of a table of labels would say it (`file`, `label`,
            `performer`, `split:`, ...).
    """

    clips: Clips
    says: list[dict[str, str]]


def parts_of_files(path: Path) -> dict[str, SetPart]:
    """The parts of a folder of `.npy` files or of an `.npz`; '' is the whole set.

    Raises:
        UserError: an array is missing, damaged or of another form.
    """
    return parts_of_arrays({name: opens() for name, opens in _openers(path).items()}, str(path))


def names_a_set(path: Path) -> bool:
    """Whether the arrays of a folder or an `.npz` are called `X_train`, `y_train` and so on."""
    openers = _openers(path)
    for arrays in sorted_names(openers).values():
        if {"joints", "labels"} <= set(arrays):
            # beside a single clip, an npz may have its label
            return path.is_dir() or bool(_shape(openers[arrays["labels"]]()))
    return False


def sorted_names(names: Collection[Any]) -> dict[str, dict[str, str]]:
    """Part ('' for the whole set) -> joints, labels, performers, names -> what it is called."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = _NAME.fullmatch(name) if isinstance(name, str) else None
        if match is None or (match["before"] and match["after"]):
            continue
        part = (match["before"] or match["after"] or "").lower()
        what = next(what for what in _WHAT if match[what])
        found.setdefault(part, {})[what] = name
    with_joints = {part: of for part, of in found.items() if {"joints", "labels"} & set(of)}
    return dict(sorted(with_joints.items(), key=lambda pair: PARTS.index(pair[0])))


def parts_of_arrays(arrays: Mapping[str, Any], where: str) -> dict[str, SetPart]:
    """The parts of a set whose arrays or lists have such names.

    Raises:
        UserError: a part has no joints, or another number of labels than of clips.
    """
    parts = {}
    for part, of in sorted_names(arrays).items():
        if "joints" not in of or ("labels" not in of and part):
            lacking = "labels" if "joints" in of else "joints"
            raise UserError(
                f"{where}: has no {lacking} of the part {part or 'without a name'}; give each "
                "X_train its y_train"
            )
        clips = clips_of(arrays[of["joints"]], f"{where}: {of['joints']}")
        columns = {"split:": [part] * len(clips)} if part else {}
        for what, column in _COLUMNS.items():
            if what in of:
                columns[column] = texts_of(arrays[of[what]], len(clips), f"{where}: {of[what]}")
        says = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        parts[part] = SetPart(clips, says or [{} for _ in range(len(clips))])
    return parts


def clips_of(value: Any, where: str) -> Clips:
    """The clips of one array, or of a list or an object array of them.

    Raises:
        UserError: it is none of these.
    """
    if isinstance(value, NpyRows | NpyStream):
        return StackedClips(value)
    if isinstance(value, StoredArray):
        rows = value.rows()
        if rows is not None:
            return StackedClips(rows)
        value = value.read()
    if not isinstance(value, np.ndarray | list | tuple) or not _shape(value):
        raise UserError(f"{where} holds no clips; give an array or a list of them")
    return LooseClips(list(value))


def texts_of(value: Any, count: int, where: str) -> list[str]:
    """A label, a performer or a name for each clip, from numbers, texts or one-hot rows.

    Raises:
        UserError: there is another number of them, or they are of another kind.
    """
    shape = _shape(value)
    if not shape or shape[0] != count or len(shape) > 2 or count > _MOST_CLIPS:
        raise UserError(f"{where} is of shape {shape} for {count} clips; give one value a clip")
    if isinstance(value, NpyRows | NpyStream):
        value = value.read(0, count)
    if isinstance(value, list | tuple):
        texts = [text_of(one) for one in value]
    else:
        value = np.asarray(value)
        texts = _texts(value)
    if None in texts:
        raise UserError(f"{where} holds {value[texts.index(None)]}; give numbers or names"[:300])
    return [text for text in texts if text is not None]


def text_of(value: Any) -> str | None:
    """A label or a name in whatever wrapping: an array of one, a one-hot row (-1 if it is none),
    text in bytes; None where it is neither number nor text."""
    if isinstance(value, np.ndarray | StoredArray | list | tuple):
        array = np.asarray(value)
        return _texts(array.reshape(1, -1))[0] if array.size else "-1"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value) if isinstance(value, str | int | float | np.integer | np.floating) else None


def _texts(values: NDArray[Any]) -> list[str | None]:
    """As `text_of`, for each of an array `(N,)`, `(N, 1)` or one-hot `(N, K)`."""
    if values.ndim == 2 and values.shape[1] > 1:
        if values.dtype.kind not in "biuf":
            return [None] * len(values)
        one_hot = (values != 0).sum(axis=1) == 1
        values = np.where(one_hot, (values != 0).argmax(axis=1), -1)
    return [text_of(one) for one in values.reshape(-1).tolist()]


def _shape(value: Any) -> tuple[int, ...]:
    """That of an array, or of a list of values."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return (len(value),) if isinstance(value, list | tuple) else ()
    return tuple(shape)


def _openers(path: Path) -> dict[str, Callable[[], Any]]:
    """What opens each array of a folder or an `.npz`, by its name."""
    if path.is_dir():
        return {file.stem: partial(_open, file) for file in sorted(path.glob("*.npy"))}
    with zipfile.ZipFile(path) as archive:
        return {
            member.filename.removesuffix(".npy"): partial(_open, path, member)
            for member in archive.infolist()
            if member.filename.endswith(".npy")
        }


def _open(path: Path, member: zipfile.ZipInfo | None = None) -> Any:
    """Rows that stay in the file, or the objects of an array of objects."""
    if holds_objects(path, member):
        return load_npy(path, member)
    if member is None:
        return open_npy(path, NUMBERS_OR_TEXT)
    return open_member(path, member, NUMBERS_OR_TEXT)
