"""What the first lines of a table of frames say: the columns, and the joints that they hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.formats.axes import channels_of
from lastkd.data.formats.clip_files import BadClipError
from lastkd.data.formats.own.joint_columns import SCORES, JointColumns, joint_columns
from lastkd.data.formats.own.tables import cells_of, delimiter_of, lines_of, numbers_of
from lastkd.data.layouts import Layout
from lastkd.data.manifest import column_of, heading_words, known_columns
from lastkd.errors import UserError

_FRAME = ("frame", *(f"frame_{word}" for word in ("id", "number", "no", "num", "index", "idx")))
_TIME = {"time": 0.0, "timestamp": 0.0, "time_s": 1.0, "seconds": 1.0}
_TIME |= {"time_ms": 1e-3, "timestamp_ms": 1e-3, "timestamp_us": 1e-6, "timestamp_ns": 1e-9}
_PERSON = ("person_id", "track_id", "track", "body_id", "body", "skeleton_id", "skeleton")
_JOINT = tuple(
    f"{word}{more}"
    for word in ("joint", "keypoint", "landmark", "bodypart", "body_part", "marker")
    for more in ("", "_name", "_id", "_index", "_type")
)
_AXES: dict[str, Sequence[str]] = {
    "x": ("x", "position_x", "pos_x"),
    "y": ("y", "position_y", "pos_y"),
}
_AXES |= {"z": ("z", "position_z", "pos_z"), "score": SCORES}
"""Columns of a table with a line for each joint."""
_DEEPLABCUT = ("scorer", "individuals", "bodyparts", "coords")
"""How the lines of its headings begin, of which each says a part of a column's name."""
_LOOKED_AT = 3000
"""Lines in which all joints of a table with a line for each are named."""


class Heading(NamedTuple):
    """What the first line of a table says.

    Attributes:
        line: its number.
        known: our name of each column that says something of the clip -> its place.
        joints: the joints that it names.
        others: the columns that are left, which are the joints' where these have no names.
        frame, person, joint: columns, -1 where there is none. With a `joint`, the table has a line
            for each joint, and `joints` names columns of lines put together by `widen`.
        words: the headings, as they are compared.
        time: the column, and its unit in seconds; 0 where the heading doesn't say the unit.
    """

    line: int
    delimiter: str | None
    width: int
    known: Mapping[str, int]
    joints: JointColumns
    others: tuple[int, ...]
    frame: int
    time: tuple[int, float]
    person: int
    joint: int = -1
    words: tuple[str, ...] = ()

    @classmethod
    def of_file(cls, file: Path) -> Heading:
        """That of an empty file names nothing.

        Raises:
            UserError: the file can't be read.
        """
        try:
            with file.open("rb") as opened:
                numbered = enumerate(itertools.islice(opened, _LOOKED_AT), start=1)
                return cls.of_lines(
                    (at, text[0]) for at, one in numbered if (text := lines_of(one))
                )
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from None

    @classmethod
    def of_lines(cls, numbered: Iterator[tuple[int, str]]) -> Heading:
        """That of a table's first lines, which come with their numbers."""
        first = list(itertools.islice(numbered, len(_DEEPLABCUT) + 1))
        text, count = _joined([text for _, text in first])
        heading = cls.of_line(text, first[count - 1][0] if count else 0)
        if heading.joint < 0:
            return heading
        rows = (
            cells_of(text, heading.delimiter)
            for _, text in itertools.chain(first[count:], numbered)
        )
        return heading.with_joints(
            dict.fromkeys(row[heading.joint].strip() for row in rows if len(row) >= heading.width)
        )

    @classmethod
    def of_line(cls, text: str, line: int) -> Heading:
        delimiter = delimiter_of(text)
        cells = cells_of(text, delimiter)
        words = heading_words(cells)
        known = known_columns(cells)
        frame, person = column_of(words, _FRAME), column_of(words, _PERSON)
        units = ((column_of(words, [word]), unit) for word, unit in _TIME.items())
        time = next(((at, unit) for at, unit in units if at >= 0), (-1, 0.0))
        used = {*known.values(), frame, person, time[0]}
        others = tuple(at for at, word in enumerate(words) if at not in used and word)
        joints = joint_columns([cell if at in others else "" for at, cell in enumerate(cells)])
        joint = -1 if joints.joints else column_of(words, _JOINT)
        axes = [column_of(words, _AXES[axis]) for axis in "xy"]
        if joint < 0 or frame < 0 > time[0] or min(axes) < 0:
            joint = -1
        about = (known, joints, others, frame, time, person, joint, tuple(words))
        return cls(line, delimiter, len(cells), *about)

    def with_joints(self, names: Iterable[str]) -> Heading:
        """The heading of the lines that `widen` makes, with these joints after its own columns."""
        axes = list(self.axes)
        columns = tuple(
            {axis: self.width + joint * len(axes) + at for at, axis in enumerate(axes)}
            for joint, _ in enumerate(names)
        )
        return self._replace(joints=JointColumns(tuple(names), columns))

    @property
    def axes(self) -> dict[str, int]:
        """The columns of x, y and what else there is, in a table with a line for each joint."""
        words = ["" if at not in self.others else word for at, word in enumerate(self.words)]
        found = {axis: column_of(words, known) for axis, known in _AXES.items()}
        return {axis: at for axis, at in found.items() if at >= 0}

    def widen(self, rows: Sequence[list[str]]) -> list[list[str]]:
        """Lines of one joint each, put together to lines of one person and frame.

        Raises:
            BadClipError: a line has a joint that none of the table's first lines has, or one that
                the frame has already.
        """
        axes, joints = self.axes, {name: at for at, name in enumerate(self.joints.joints)}
        # loggers may stamp each line of a frame with a time of its own
        moment = self.frame if self.frame >= 0 else self.time[0]
        key = [at for at in (moment, self.person) if at >= 0]
        wide: dict[tuple[str, ...], list[str]] = {}
        for row in rows:
            whose = tuple(row[at].strip() for at in key)
            line = wide.setdefault(whose, [*row[: self.width], *[""] * len(axes) * len(joints)])
            name = row[self.joint].strip()
            at = self.width + joints.get(name, -1) * len(axes)
            if at < self.width:
                raise BadClipError(
                    f"has the joint {name[:40]!r}, which the first frames don't have"
                )
            if any(line[at : at + len(axes)]):
                raise BadClipError(
                    f"has the joint {name[:40]!r} twice in a frame; add a column person_id"
                )
            line[at : at + len(axes)] = [row[column] for column in axes.values()]
        return list(wide.values())

    def columns_for(self, layout: Layout) -> NDArray[np.intp] | None:
        """The columns of a layout's joints `(M, V, C)`; None if they don't fit.

        Joints without names are all columns that are left, if these are as many as needed.
        """
        if self.joints.joints:
            return self.joints.columns_for(layout)
        for bodies, channels in itertools.product((1, 2), channels_of(layout)):
            if len(self.others) == bodies * layout.num_joints * channels:
                return np.array(self.others).reshape(bodies, layout.num_joints, channels)
        return None

    def has_joints(self, fewest: int) -> bool:
        """Whether it has so many joints, by their names or by the columns that are left."""
        if self.joints.joints:
            return len(self.joints.joints) >= fewest
        return len(self.others) >= 2 * fewest

    def moment(self, cells: list[str]) -> float:
        """By which frames are seen to start again; 0 where nothing says it."""
        at = self.frame if self.frame >= 0 else self.time[0]
        numbers = numbers_of(cells[at : at + 1]) if at >= 0 else None
        return numbers[0] if numbers else 0.0


def _joined(texts: Sequence[str]) -> tuple[str, int]:
    """The heading in one line, and how many lines it takes."""
    if not texts or not texts[0].lower().startswith(_DEEPLABCUT[0]):
        return (texts[0], 1) if texts else ("", 0)
    rows = [cells_of(text, ",") for text in itertools.takewhile(_is_deeplabcut, texts)]
    columns = zip(*rows[1:], strict=False)
    return ",".join("frame" if at == 0 else "_".join(one) for at, one in enumerate(columns)), len(
        rows
    )


def _is_deeplabcut(text: str) -> bool:
    return text.split(",", 1)[0].lower() in _DEEPLABCUT
