"""Clips in one pickle, `.npy` of objects or `.npz`, in the forms in which people save a list.

- `{"clip name": joints, ...}`, `{"clip name": {"joints": ..., "label": ...}, ...}` or
  `{"class": [joints, ...], ...}`
- `[{"joints": ..., "label": ..., "subject": ...}, ...]` or `[(joints, label), ...]`
- `(list of joints, list of labels)`, `[joints, ...]`
- `{"train": ..., "test": ...}` of any of these
- `{"X_train": ..., "y_train": ...}` or `{"data": [...], "labels": [...]}` (see `set_parts`)
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.formats.archives import unpacked
from lastkd.data.formats.axes import JOINTS, SCORES, AxesError, dense, joined
from lastkd.data.formats.clip_files import LARGEST_FILE
from lastkd.data.formats.datasets.pickled import StoredArray
from lastkd.data.formats.npy import parse_npy
from lastkd.data.formats.own.set_parts import (
    PARTS,
    LooseClips,
    SetPart,
    clips_of,
    parts_of_arrays,
    sorted_names,
    text_of,
    texts_of,
)
from lastkd.data.manifest import column_of, heading_words, known_columns
from lastkd.errors import UserError

_DEEPEST = 6
_LOOKED_AT = 8
"""Arrays of an `.npz` that tell whether it holds clips."""
_FEWEST_FRAMES = 6
"""Of a clip in three axes; one with fewer is a frame of some bodies."""


def parts_of_object(content: Any, where: str) -> dict[str, SetPart] | None:
    """The parts of what such a file holds; None where it is of no such form.

    Raises:
        UserError: it has another number of labels than of clips, or an entry lacks its joints.
    """
    content = _listed(content)
    if isinstance(content, dict):
        return _of_dict(content, where)
    if not isinstance(content, list | tuple) or not content:
        return None
    return _of_list(content, where)


def names_clips(path: Path) -> bool:
    """Whether an `.npz` holds several clips, each under its name."""
    if path.suffix != ".npz":
        return False
    clips = _members(path)
    words = heading_words(list(clips))
    if len(clips) < 2 or column_of(words, JOINTS) >= 0 or column_of(words, SCORES) >= 0:
        return False
    shapes = []
    for clip in islice(clips.values(), _LOOKED_AT):
        with contextlib.suppress(AxesError):  # one may be damaged
            shapes.append(np.shape(clip))
    alike = {shape[1:] for shape in shapes if len(shape) == 2}
    flat = len(alike) == 1 and all(len(shape) == 2 for shape in shapes)
    return bool(shapes) and (flat or all(len(shape) in (3, 4) for shape in shapes))


def parts_of_clips(path: Path) -> dict[str, SetPart]:
    """The clips of an `.npz` that holds each under its name."""
    clips = _members(path)
    return {"": SetPart(LooseClips(list(clips.values())), [{"file": name} for name in clips])}


def _members(path: Path) -> dict[str, _MemberClip]:
    with zipfile.ZipFile(path) as archive:
        return {
            one.filename.removesuffix(".npy"): _MemberClip(path, one)
            for one in archive.infolist()
            if one.filename.endswith(".npy")
        }


class _MemberClip:
    """One array of an `.npz`, read when it is asked for, without the zip's whole directory."""

    def __init__(self, path: Path, member: zipfile.ZipInfo) -> None:
        self._path, self._member = path, member

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self._member.file_size > LARGEST_FILE:
            raise AxesError(f"holds more than {LARGEST_FILE >> 20} MB")
        try:
            with self._path.open("rb") as file:
                content = unpacked(file, self._member)
            return parse_npy(content, self._member.filename).astype(dtype or np.float32)
        # a damaged or encrypted member ends in whatever zlib and numpy say
        except Exception as error:
            raise AxesError(f"can't be read ({' '.join(str(error).split())[:150]})") from None


def _of_dict(content: Mapping[Any, Any], where: str) -> dict[str, SetPart] | None:
    parts = sorted_names(content)
    if any("joints" in of and _is_clips(content[of["joints"]]) for of in parts.values()):
        return parts_of_arrays({key: _listed(content[key]) for key in content}, where)
    names = [str(key) for key in content]
    values = [_listed(value) for value in content.values()]
    if all(name.lower() in PARTS for name in names):
        return _of_parts(dict(zip(names, values, strict=True)), where)
    if all(isinstance(value, dict) for value in values):
        return _of_entries(values, [{"file": name} for name in names], where)
    if all(map(_is_list_of_clips, values)):
        says = [
            {"label": name, "file": f"{name}-{at:05}"}
            for name, value in zip(names, values, strict=True)
            for at in range(len(value))
        ]
        return {"": SetPart(LooseClips([clip for value in values for clip in value]), says)}
    if all(map(_is_clip, values)):
        return {"": SetPart(LooseClips(values), [{"file": name} for name in names])}
    return None


def _of_parts(parts: Mapping[str, Any], where: str) -> dict[str, SetPart] | None:
    """`{"train": ..., "test": ...}`, each a set of its own."""
    found = {}
    for name, value in parts.items():
        own = parts_of_object(value, f"{where}: {name}")
        if own is None or set(own) != {""}:
            return None
        part = own[""]
        found[name] = SetPart(part.clips, [said | {"split:": name} for said in part.says])
    return found


def _of_list(content: Sequence[Any], where: str) -> dict[str, SetPart] | None:
    if all(isinstance(one, dict) for one in content):
        return _of_entries(content, [{}] * len(content), where)
    if all(map(_is_pair, content)):
        says = [{"label": text_of(one[1]) or ""} for one in content]
        return {"": SetPart(LooseClips([one[0] for one in content]), says)}
    if len(content) == 2 and _is_clips(content[0]):
        clips = clips_of(content[0], where)
        labels = texts_of(_listed(content[1]), len(clips), f"{where}: the list of labels")
        return {"": SetPart(clips, [{"label": label} for label in labels])}
    if all(map(_is_clip, content)):
        return {"": SetPart(LooseClips(content), [{} for _ in content])}
    return None


def _of_entries(
    entries: Sequence[Mapping[Any, Any]], names: Sequence[dict[str, str]], where: str
) -> dict[str, SetPart] | None:
    """Clips that are a dict each.

    Args:
        names: what is said of each beside its own entry.
    """
    clips: list[Any] = []
    says = []
    for at, (entry, name) in enumerate(zip(entries, names, strict=True)):
        keys = [str(key) for key in entry]
        values = list(entry.values())
        words = heading_words(keys)
        joints = column_of(words, JOINTS)
        if joints < 0:
            if not clips:
                return None
            raise UserError(
                f"{where}: clip {at} has no joints, it holds {', '.join(keys)[:100]}; give each "
                f"clip its {JOINTS[0]}"
            )
        scores = column_of(words, SCORES)
        clips.append(values[joints] if scores < 0 else _Scored(values[joints], values[scores]))
        known = known_columns([key if i != joints else "" for i, key in enumerate(keys)])
        texts = {ours: text_of(values[i]) for ours, i in known.items()}
        says.append({ours: text for ours, text in texts.items() if text is not None} | name)
    return {"": SetPart(LooseClips(clips), says)}


class _Scored:
    """Joints with their scores as the last channel, put together when they are asked for."""

    def __init__(self, joints: Any, scores: Any) -> None:
        self._joints, self._scores = joints, scores

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return joined(dense(self._joints), dense(self._scores))


def _listed(value: Any) -> Any:
    """An array of objects as a list, whatever else as it is."""
    if isinstance(value, StoredArray) and value.dtype.kind == "O":
        value = value.read()
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return value.item() if not value.ndim else value.reshape(-1).tolist()
    return value


def _axes(value: Any) -> int:
    """The number of axes of an array or of nested lists of numbers; 0 for anything else."""
    if isinstance(value, np.ndarray | StoredArray):
        if value.dtype.kind in "fiu":
            return value.ndim
        value = _listed(value)
    depth = 0
    # a list in a pickle may hold itself
    while isinstance(value, list | tuple) and value and depth < _DEEPEST:
        value, depth = value[0], depth + 1
        if isinstance(value, np.ndarray | StoredArray):
            return depth + value.ndim if value.dtype.kind in "fiu" else 0
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return depth if number or value is None else 0


def _is_clip(value: Any) -> bool:
    return _axes(value) in (2, 3, 4)


def _is_clips(value: Any) -> bool:
    """Whether it is an array or a list with a clip in each row."""
    return _axes(_listed(value)) in (3, 4, 5)


def _is_list_of_clips(value: Any) -> bool:
    """Whether these are clips, and not the frames of one."""
    if isinstance(value, np.ndarray | StoredArray):
        return _axes(value) == 5
    return isinstance(value, list | tuple) and all(
        isinstance(one, np.ndarray | StoredArray)
        and (one.ndim == 4 or (one.ndim == 3 and one.shape[0] >= _FEWEST_FRAMES))
        for one in value
    )


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and _is_clip(value[0])
        and _axes(value[0]) > 1
        and text_of(value[1]) is not None
        and _axes(value[1]) <= 1
    )
