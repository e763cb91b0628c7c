"""Joints that people keep themselves: an array or a table of numbers for each clip.

`.npy` and `.npz` hold `(T, M, V, C)` or `(T, V, C)`, in another order of axes if it can't be
mistaken, or `(T, V * C)`; an `.npz` may have the scores beside them. A table (`.csv`, `.tsv`,
`.txt`) has a line for each frame, or one for each joint of a frame, with or without a heading and
numbers of frames or times before the joints. One whose heading names joints is a `FrameTable`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import IN_ORDER
from lastkd.data.formats.assemble import Sample, reading_of_slots
from lastkd.data.formats.axes import (
    JOINTS,
    SCORES,
    USUAL,
    AxesError,
    arrange,
    channels_of,
    common_order,
    joined,
    unsaid_layout,
    with_scores,
)
from lastkd.data.formats.base import Reading
from lastkd.data.formats.clip_files import (
    LARGEST_FILE,
    BadClipError,
    ClipFiles,
    clip_a_file,
    read_limited,
    unique_names,
)
from lastkd.data.formats.image_shares import in_pixels
from lastkd.data.formats.labelled_clips import LabelledClips
from lastkd.data.formats.npy import npy_shape, parse_npy
from lastkd.data.formats.own.tables import (
    cells_of,
    delimiter_of,
    lines_of,
    numbers_of,
    split_lines,
)
from lastkd.data.layouts import Layout, get_layout
from lastkd.data.manifest import ManifestRow
from lastkd.errors import UserError

ARRAYS = (".npy", ".npz")
TABLES = (".csv", ".tsv", ".txt")
SUFFIXES = (*ARRAYS, *TABLES)
_OTHERS = (".json", ".jsonl", ".pkl", ".skeleton", ".zip")
"""Where most files are these, the numbers beside them are notes."""
_LEADING = re.compile(r"|frame\D*|index|idx|t|time\D*", re.ASCII)
"""Headings of columns before the joints; pandas leaves that of its index empty."""
_HEAD = 1 << 14
_LOOKED_AT = 8
"""Files that decide on the format, and clips by which the layout is checked."""
_FEWEST_NUMBERS, _FEWEST_LINES = 6, 10
"""In a line that is taken for a frame's joints, and of lines that are a joint each."""

Array = NDArray[Any]


class ClipArrays(LabelledClips):
    """A folder of joints, a file a clip, or one such file."""

    help = "joints of your own, an array or a table a clip (.npy, .npz, .csv, .txt; with --layout)"
    kind = "arrays of joints"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix.lower() == ".npy" or _holds_joints(path)
        counts: Counter[str] = Counter()
        looked_at: list[Path] = []
        for folder, _, names in os.walk(path):
            for name in names:
                suffix = "." + name.rpartition(".")[2].lower()
                counts[suffix] += 1
                if suffix in SUFFIXES and counts[suffix] <= _LOOKED_AT:
                    looked_at.append(Path(folder, name))
        ours = sum(counts[suffix] for suffix in SUFFIXES)
        if ours <= sum(counts[suffix] for suffix in _OTHERS):
            return False
        return 2 * sum(map(_holds_joints, looked_at)) > len(looked_at)

    def find(self, root: Path) -> list[ClipFiles]:
        if root.is_file():
            return clip_a_file(root, root.suffix.lower())
        table = self._options.labels.path.resolve() if self._options.labels is not None else None
        for together in (ARRAYS, TABLES):  # numbers in text beside arrays are notes
            found: list[ClipFiles] = []
            for suffix in together:
                clips = [
                    clip
                    for clip in clip_a_file(root, suffix)
                    if table is None or Path(clip.files[0]).resolve() != table
                ]
                if any(_holds_joints(Path(clip.files[0])) for clip in clips[:_LOOKED_AT]):
                    found += clips
            if found:
                return unique_names(found)
        return []

    def find_layout(self) -> Layout:
        asked = self._options.layout
        if asked is None:
            raise unsaid_layout(str(self._root), lambda layout: not any(self._problems(layout)))
        layout = get_layout(asked)
        problems = self._problems(layout)
        if all(problems):
            raise UserError(f"{self._root}: {problems[0]}")
        self._order = common_order(self._first_arrays(), layout)
        self._refuse_single_frames(layout)
        return layout

    def _refuse_single_frames(self, layout: Layout) -> None:
        """
        Raises:
            UserError: the first clips have one frame each, as where each frame has a file.
        """
        lengths = []
        for clip in self._clips[:_LOOKED_AT]:
            with contextlib.suppress(BadClipError, OSError):
                lengths.append(len(_joints(clip.files[0], layout, self._order)))
        if len(lengths) > 1 and max(lengths) == 1:
            raise UserError(
                f"{self._root}: its clips have one frame each, such as {self._clips[0].name!r}; "
                "save the frames of a clip as one array, for example by np.stack"
            )

    def _first_arrays(self) -> Iterator[Array]:
        for clip in self._clips[:_LOOKED_AT]:
            if Path(clip.files[0]).suffix.lower() in ARRAYS:
                with contextlib.suppress(BadClipError, OSError):
                    yield _array(clip.files[0])

    def _problems(self, layout: Layout) -> list[str]:
        """What is wrong with each of the first clips; nothing with one that is of this layout."""
        problems = []
        for clip in self._clips[:_LOOKED_AT]:
            try:
                _joints(clip.files[0], layout)
                problems.append("")
            except (BadClipError, OSError) as error:
                problems.append(f"clip {clip.name!r} {error}")
        return problems

    def assemble(self, clip: ClipFiles, sample: Sample, row: ManifestRow | None) -> Reading:
        joints, scores = with_scores(_joints(clip.files[0], self.layout, self._order), self.layout)
        if self.layout.dimensions == 2:
            joints = in_pixels(joints, self.image_size_of(row))
        return reading_of_slots(
            sample._replace(fps=self.fps_of(row)),
            joints,
            self.layout,
            scores=scores,
            rules=IN_ORDER,
            keep_bodies=self._options.keep_bodies,
        )


def _joints(file: str, layout: Layout, order: str = USUAL) -> Array:
    """The joints of a clip `(T, M, V, C)`.

    Args:
        order: of an array's axes, where it may be read in several.

    Raises:
        BadClipError: the file is damaged, or its numbers are no clip of this layout.
        OSError: it can't be read.
    """
    if Path(file).suffix.lower() not in ARRAYS:
        return _of_table(read_limited(file), layout)
    try:
        return arrange(_array(file), layout, usual=order)
    except AxesError as error:
        raise BadClipError(str(error)) from None


def _array(file: str) -> Array:
    """What an `.npy` or `.npz` holds, with scores as the last channel; errors as in `_joints`."""
    content = read_limited(file)
    try:
        if file.lower().endswith(".npz"):
            return _of_npz(content)
        return parse_npy(content, Path(file).name)
    except UserError as error:
        raise BadClipError(f"can't be read as an array: {error}") from None


# ------------------------------------------------------------------------------------------- arrays


def _of_npz(content: bytes) -> Array:
    """The joints that an `.npz` holds, with their scores as the last channel if it has any."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {
                one.filename.removesuffix(".npy"): one
                for one in archive.infolist()
                if one.filename.endswith(".npy")
            }
            if sum(one.file_size for one in members.values()) > LARGEST_FILE:
                raise BadClipError(f"holds more than {LARGEST_FILE >> 20} MB")
            # one that is alone may have any name
            names = [_first(members, JOINTS) or _only(members), _first(members, SCORES)]
            if names[0] is None:
                raise BadClipError(
                    f"holds {', '.join(members) or 'nothing'}, and none is called joints"
                )
            joints, scores = (
                parse_npy(archive.read(members[name]), name) if name is not None else None
                for name in names
            )
    except (BadClipError, UserError):
        raise
    except Exception as error:  # damage ends in whatever the fields of a zip say
        reason = " ".join(str(error).split())[:150]
        raise BadClipError(f"can't be read as an .npz ({reason})") from None
    assert joints is not None
    try:
        return joined(joints, scores)
    except AxesError as error:
        raise BadClipError(str(error)) from None


def _first(members: dict[str, Any], names: Sequence[str]) -> str | None:
    spelled = {name.lower(): name for name in members}
    return next((spelled[name] for name in names if name in spelled), None)


def _only(members: dict[str, Any]) -> str | None:
    return next(iter(members)) if len(members) == 1 else None


# ------------------------------------------------------------------------------------------- tables


def _of_table(content: bytes, layout: Layout) -> Array:
    heading, values = _table(content)
    by_joint = _without_joint_numbers(values, layout)
    if by_joint is not None:
        return by_joint
    while heading and values.shape[1] and _LEADING.fullmatch(heading[0].strip().lower()):
        name = heading.pop(0).strip()
        values = _without_first(values, f"column {name or 1!r}")
    shapes = {M * layout.num_joints * C for M in (1, 2) for C in channels_of(layout)}
    while values.shape[1] - 1 in shapes or values.shape[1] - 2 in shapes:
        if values.shape[1] in shapes:
            break
        values = _without_first(values, "its first column")
    lines, width = values.shape
    if width in channels_of(layout) and not lines % layout.num_joints:
        return values.reshape(-1, 1, layout.num_joints, width)
    if width not in shapes:
        V, (few, many) = layout.num_joints, channels_of(layout)
        raise BadClipError(
            f"has {lines} lines of {width} numbers, and layout {layout.name} needs a line a frame "
            f"of {few * V} or {many * V} (two bodies: twice that), or {V} lines a frame of {few} "
            f"or {many}"
        )
    return arrange(values, layout)


def _without_joint_numbers(values: Array, layout: Layout) -> Array | None:
    """Joints `(T, 1, V, C)` of lines that are a joint each and begin with its number, from 0 or 1,
    perhaps after that of the frame; None where they don't."""
    (lines, width), V = values.shape, layout.num_joints
    frames, rest = divmod(lines, V)
    for at in (0, 1):
        if rest or width - at - 1 not in channels_of(layout):
            continue
        numbers = values[:, at].reshape(frames, V)
        counted = np.array_equal(numbers, np.tile(np.arange(V) + numbers[0, 0], (frames, 1)))
        # one frame has one number, or one time, in all of its lines
        together = not at or np.all(values[:, 0].reshape(frames, V) == values[::V, :1])
        if counted and numbers[0, 0] in (0, 1) and together:
            return values[:, at + 1 :].reshape(frames, 1, V, width - at - 1)
    return None


def _without_first(values: Array, what: str) -> Array:
    """A table without a column of frames or times."""
    if not np.all(np.diff(values[:, 0]) > 0):
        raise BadClipError(
            f"has frames in {what} that don't follow one another; give a line for each frame, or "
            "an array (frames, bodies, joints, channels) where there are several people"
        )
    return values[:, 1:]


def _table(content: bytes) -> tuple[list[str], Array]:
    """The heading of a table, if it has one, and its numbers.

    Raises:
        BadClipError: it is empty, or has lines of different lengths or of other things.
    """
    rows = split_lines(lines_of(content))
    heading = [] if numbers_of(rows[0]) else rows.pop(0)
    if not rows:
        raise BadClipError("has no line below its heading")
    width = len(rows[0])
    values = np.empty((len(rows), width), np.float32)
    for at, row in enumerate(rows):
        numbers = numbers_of(row)
        if numbers is None:
            raise BadClipError(f"has {' '.join(row)[:40]!r} among its numbers")
        if len(numbers) != width:
            raise BadClipError(f"has a line of {len(numbers)} numbers, where others have {width}")
        values[at] = numbers
    return heading, values


# -------------------------------------------------------------------------------------- recognition


def _holds_joints(path: Path) -> bool:
    """Whether a file looks like one clip's joints, by its first bytes."""
    try:
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return _is_clip(npy_shape(path))
        if suffix == ".npz":
            return _is_clip(_of_npz(read_limited(str(path))).shape)
        return suffix in SUFFIXES and _is_table(path)
    except (BadClipError, UserError, OSError):
        return False


def _is_clip(shape: tuple[int, ...]) -> bool:
    if len(shape) == 2:
        return shape[1] >= _FEWEST_NUMBERS
    return len(shape) in (3, 4) and any(size in (2, 3, 4) for size in shape)


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        content = file.read(_HEAD)
    cut = len(content) == _HEAD
    lines = lines_of(content)[: -1 if cut else None]
    if not lines:
        return False
    delimiter = delimiter_of(lines[-1])
    rows = [numbers_of(cells_of(line, delimiter)) for line in lines]
    rows = rows[rows[0] is None :]  # without the heading
    if not rows or any(row is None for row in rows):
        return False
    width = len(rows[0] or ())
    return width >= _FEWEST_NUMBERS or (width > 1 and len(rows) >= _FEWEST_LINES)
