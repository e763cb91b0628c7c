"""Where the clips of a table of frames lie: what its heading says, and which lines are whose."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.formats.axes import channels_of
from lastkd.data.formats.clip_files import LARGEST_FILE, BadClipError
from lastkd.data.formats.own.joint_columns import JointColumns, joint_columns
from lastkd.data.formats.own.tables import cells_of, delimiter_of, lines_of, numbers_of
from lastkd.data.layouts import Layout
from lastkd.data.manifest import column_of, heading_words, known_columns
from lastkd.errors import UserError

_FRAME = ("frame", *(f"frame_{word}" for word in ("id", "number", "no", "num", "index", "idx")))
_TIME = {"time": 0.0, "timestamp": 0.0, "time_s": 1.0, "seconds": 1.0}
_TIME |= {"time_ms": 1e-3, "timestamp_ms": 1e-3, "timestamp_us": 1e-6, "timestamp_ns": 1e-9}
_PERSON = ("person_id", "track_id", "track", "body_id", "body", "skeleton_id", "skeleton")


class Heading(NamedTuple):
    """What the first line of a table says.

    Attributes:
        line: its number.
        known: our name of each column that says something of the clip -> its place.
        joints: the joints that it names.
        others: the columns that are left, which are the joints' where these have no names.
        frame, person: columns, -1 where there is none.
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

    @classmethod
    def of_file(cls, file: Path) -> Heading:
        """That of an empty file names nothing.

        Raises:
            UserError: the file can't be read.
        """
        try:
            with file.open("rb") as opened:
                for line, text in enumerate(opened, start=1):
                    if found := lines_of(text):
                        return cls.of_line(found[0], line)
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from None
        return cls.of_line("", 0)

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
        return cls(line, delimiter, len(cells), known, joints, others, frame, time, person)

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


@dataclass
class Lines:
    """A clip's lines in its table.

    Attributes:
        line: the first one's number.
        says: what it says of the clip, under our names of the columns.
        spans: the bytes of its lines, of neighbours together.
        mixed: whether its lines have different labels.
    """

    file: str
    line: int
    says: dict[str, str]
    spans: list[tuple[int, int]] = field(default_factory=list)
    mixed: bool = False

    def add(self, begin: int, end: int, label: str) -> None:
        self.mixed |= label != self.says.get("label", "")
        if self.spans and self.spans[-1][1] == begin:
            begin = self.spans.pop()[0]
        self.spans.append((begin, end))

    def read(self) -> bytes:
        """
        Raises:
            BadClipError: there is more of it than a clip can have.
            OSError: the file can't be read.
        """
        if sum(end - begin for begin, end in self.spans) > LARGEST_FILE:
            raise BadClipError(f"has more than {LARGEST_FILE >> 20} MB")
        with Path(self.file).open("rb") as opened:
            texts = []
            for begin, end in self.spans:
                opened.seek(begin)
                texts.append(opened.read(end - begin))
        return b"\n".join(texts)


def lines_by_clip(file: Path, heading: Heading, name: str) -> dict[str, Lines]:
    """The clips of a table, by one pass over its lines.

    Without a column for the clip, one begins where the frames start again, or where the label or
    the performer changes. Where the frames start again with another person, it may be one clip of
    two or two clips of one, and nothing tells.

    Args:
        name: of the table; its only clip's where it has no column for it.

    Raises:
        UserError: the file can't be read, or nothing says which lines are whose.
    """
    clips: dict[str, Lines] = {}
    last: tuple[float, str, str] | None = None
    last_person = ""
    stretch = -1
    for number, begin, end, cells in _rows(file, heading):
        says = {ours: cells[at].strip() for ours, at in heading.known.items() if at < len(cells)}
        if "file" in heading.known:
            clip = says.get("file", "").replace("\\", "/")
        else:
            now = (heading.moment(cells), says.get("label", ""), says.get("performer", ""))
            person = cells[heading.person] if 0 <= heading.person < len(cells) else ""
            changed = last is None or now[1:] != last[1:]
            again = last is not None and now[0] < last[0]
            if again and not changed and person != last_person:
                raise UserError(
                    f"{file}: line {number} has another person and frames that start again, "
                    "perhaps of the same clip, perhaps of the next; give the table a column 'clip'"
                )
            stretch += changed or again
            last, last_person, clip = now, person, f"{name}-{stretch:05}"
        if clip not in clips:
            clips[clip] = Lines(str(file), number, says)
        clips[clip].add(begin, end, says.get("label", ""))
    if "file" not in heading.known and len(clips) == 1:
        return {name: next(iter(clips.values()))}
    return clips


def _rows(file: Path, heading: Heading) -> Iterator[tuple[int, int, int, list[str]]]:
    """Each line below the heading: its number, where it begins and ends, and its cells."""
    try:
        with file.open("rb") as opened:
            end = 0
            for number, text in enumerate(opened, start=1):
                begin, end = end, end + len(text)
                if number > heading.line and text.strip():
                    yield number, begin, end, cells_of(text.decode("utf-8"), heading.delimiter)
    except UnicodeDecodeError:
        raise UserError(f"{file}: isn't text in UTF-8; save the table as CSV in UTF-8") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from None
