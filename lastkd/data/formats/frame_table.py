"""Tables of frames, as people write them from an estimator's results: a line a frame and a person.

Headings say what a column is: the clip (`clip`, `video`, `file`, ...), its `label`, `performer`,
`split`, `fps`, `width` and `height`, as in a table of labels; the `frame` or `time`; `person_id`
where several are followed; and the joints (`nose_x`, `x0`, ...), in any order. Other columns are
passed over. Without a column for the clip, a table is one clip, or as many as its frames start
again or its label changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lastkd.data.clip import FloatArray
from lastkd.data.formats.axes import channels_of, unsaid_layout
from lastkd.data.formats.clip_files import (
    LARGEST_FILE,
    BadClipError,
    ClipFiles,
    files_below,
    heads,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.image_shares import Size, are_centred
from lastkd.data.formats.joint_columns import JointColumns, joint_columns
from lastkd.data.formats.people import People, frame_number, people_of_frames
from lastkd.data.formats.tables import cells_of, delimiter_of, lines_of, numbers_of
from lastkd.data.frames import Frame
from lastkd.data.layouts import Layout, get_layout, layout_names
from lastkd.data.manifest import known_columns, manifest_of
from lastkd.data.splits import names_part
from lastkd.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt")
_FRAME = ("frame", *(f"frame_{word}" for word in ("id", "number", "no", "num", "index", "idx")))
_TIME = {"time": 1.0, "timestamp": 1.0, "time_s": 1.0, "seconds": 1.0}
_TIME |= {"time_ms": 1e-3, "timestamp_ms": 1e-3, "timestamp_us": 1e-6, "timestamp_ns": 1e-9}
_PERSON = ("person_id", "track_id", "track", "body_id", "body", "skeleton_id", "skeleton")
_FEWEST_JOINTS = 3
_NUMBERED = "{}-{:05}"


class FrameTable(EstimatedClips):
    """Such a table, or a folder of them."""

    help = (
        "a table of frames with a heading (.csv, .tsv; columns clip, label, frame and the joints)"
    )
    kind = "table of frames"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file() and path.suffix not in SUFFIXES:
            return False
        found = [_is_ours(head) for suffix in SUFFIXES for head in heads(path, suffix)]
        return 2 * sum(found) > len(found)

    def find(self, root: Path) -> list[ClipFiles]:
        given = self._options.labels
        ignored = given.path.resolve() if given is not None else None
        files = [
            Path(file)
            for suffix in SUFFIXES
            for _, group in files_below(root, suffix)
            for file in group
            if Path(file).resolve() != ignored
        ]
        self._tables = {str(file): _Heading.of_file(file) for file in sorted(files)}
        parts = [part for file in self._tables for part in self._parts_of(Path(file))]
        times: dict[str, int] = {}
        for part in parts:
            times[part.name] = times.get(part.name, 0) + 1
        self._parts: dict[str, _Part] = {}
        for part in parts:
            name = part.name
            if times[name] > 1:  # the same in several tables
                name = f"{Path(part.file).stem}/{name}"
            self._parts[name] = part
        if given is None and any("label" in part.says for part in parts):
            cells = [(part.line, {**part.says, "file": name}) for name, part in self._parts.items()]
            digest = hashlib.sha256(repr(cells).encode()).hexdigest()
            self._options = replace(self._options, labels=manifest_of(root, cells, digest))
        return [ClipFiles(name, "", (part.file,)) for name, part in self._parts.items()]

    def _parts_of(self, file: Path) -> list[_Part]:
        """The clips of one table, by one pass over its lines."""
        heading = self._tables[str(file)]
        known = dict(heading.known)
        split = {"split:": file.stem} if names_part(file.stem) else {}
        parts: dict[str, _Part] = {}
        stretches = 0
        last: tuple[float, str, str] | None = None
        with file.open("rb") as opened:
            start = 0
            for line, text in enumerate(opened, start=1):
                begin, start = start, start + len(text)
                if line <= heading.line or not text.strip():
                    continue
                cells = cells_of(text.decode("utf-8-sig", "replace"), heading.delimiter)
                says = {name: cells[at].strip() for name, at in known.items() if at < len(cells)}
                if "file" in known:
                    name = says.get("file", "")
                else:
                    now = (heading.moment(cells), says.get("label", ""), says.get("performer", ""))
                    stretches += last is None or now[0] < last[0] or now[1:] != last[1:]
                    last = now
                    name = _NUMBERED.format(file.stem, stretches - 1)
                part = parts.get(name)
                if part is None:
                    part = parts[name] = _Part(name, str(file), line, split | says)
                part.add(begin, start, says.get("label", ""))
        if "file" not in known and len(parts) == 1:
            (part,) = parts.values()
            return [replace(part, name=file.stem)]
        return list(parts.values())

    def find_layout(self) -> Layout:
        headings = self._tables.values()
        asked = self._options.layout
        if asked is None:
            named = [
                layout
                for layout in map(get_layout, layout_names())
                if all(heading.joints.names_all_of(layout) for heading in headings)
            ]
            if (
                len({layout.joints for layout in named}) != 1
                or len({layout.dimensions for layout in named}) != 1
            ):
                raise unsaid_layout(
                    str(self._root),
                    lambda layout: all(heading.columns_for(layout) for heading in headings),
                )
            asked = named[0]
        layout = get_layout(asked)
        for file, heading in self._tables.items():
            if heading.columns_for(layout) is None:
                raise UserError(
                    f"{file}: its heading names {heading.joints.in_words()}, and layout "
                    f"{layout.name} has {layout.num_joints} joints in {layout.dimensions} "
                    f"dimensions ({', '.join(layout.joints[:3])}, ...); name another --layout, or "
                    "call the columns nose_x, nose_y, ..."
                )
        return layout

    def people(self, clip: ClipFiles) -> People:
        part = self._parts[clip.name]
        heading = self._tables[part.file]
        columns = heading.columns_for(self.layout)
        assert columns is not None  # find_layout has looked at every table
        if part.labels > 1:
            raise BadClipError("changes its label; give each action a clip of its own")
        rows = [cells_of(line, heading.delimiter) for line in lines_of(part.read())]
        if any(len(row) < heading.width for row in rows):
            raise BadClipError(f"has a line that ends before the {heading.width} columns do")
        cells = [[row[at] for at in columns] for row in rows]
        chosen = [numbers_of(line) for line in cells]
        if None in chosen:
            bad = cells[chosen.index(None)]
            raise BadClipError(f"has {' '.join(bad)[:40]!r} among its numbers")
        joints = np.array(chosen, np.float32).reshape(len(rows), self.layout.num_joints, -1)
        return people_of_frames(_frames(rows, joints, heading, self.layout.dimensions))

    def scale(self, joints: FloatArray, size: Size | None) -> Size:
        return (1.0, 1.0) if are_centred(joints) else super().scale(joints, size)


class _Heading(NamedTuple):
    """What the first line of a table says.

    Attributes:
        line: its number.
        known: our name of each column that says something of the clip -> its place.
        joints: the joints that it names.
        others: the columns that are left, which are the joints' where these have no names.
        frame, person: columns, -1 where there is none.
        time: the column, and its unit in seconds.
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
    def of_file(cls, file: Path) -> _Heading:
        """
        Raises:
            UserError: the file can't be read, or is empty.
        """
        try:
            with file.open("rb") as opened:
                for line, text in enumerate(opened, start=1):
                    if found := lines_of(text):
                        return cls.of_line(found[0], line)
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}); check the path") from None
        raise UserError(f"{file}: is empty; give a table with a heading")

    @classmethod
    def of_line(cls, text: str, line: int) -> _Heading:
        delimiter = delimiter_of(text)
        cells = cells_of(text, delimiter)
        words = ["_".join(cell.lower().split()) for cell in cells]
        known = known_columns(cells)
        frame, person = (
            next((words.index(word) for word in wanted if word in words), -1)
            for wanted in (_FRAME, _PERSON)
        )
        time = next(
            ((words.index(word), _TIME[word]) for word in _TIME if word in words), (-1, 1.0)
        )
        used = {*known.values(), frame, person, time[0]}
        others = tuple(at for at, word in enumerate(words) if at not in used and word)
        joints = joint_columns([cell if at in others else "" for at, cell in enumerate(cells)])
        return cls(line, delimiter, len(cells), known, joints, others, frame, time, person)

    def columns_for(self, layout: Layout) -> list[int] | None:
        """The columns of a layout's joints, one joint's after the other's; None if they don't fit.

        Joints without names are all columns that are left, if these are as many as needed.
        """
        if self.joints.joints:
            return self.joints.columns_for(layout)
        each = [layout.num_joints * channels for channels in channels_of(layout)]
        return list(self.others) if len(self.others) in each else None

    def moment(self, cells: list[str]) -> float:
        """By which frames are seen to start again; 0 where nothing says it."""
        at = self.frame if self.frame >= 0 else self.time[0]
        numbers = numbers_of(cells[at : at + 1]) if at >= 0 else None
        return numbers[0] if numbers else 0.0


@dataclass
class _Part:
    """A clip's lines.

    Attributes:
        line: the first one.
        says: what it says of the clip, under our names of the columns.
        spans: the bytes of its lines, of neighbours together.
        labels: how many different ones its lines have.
    """

    name: str
    file: str
    line: int
    says: dict[str, str]
    spans: list[tuple[int, int]] = field(default_factory=list)
    labels: int = 1

    def add(self, begin: int, end: int, label: str) -> None:
        if label != self.says.get("label", ""):
            self.labels = 2
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


def _frames(
    rows: list[list[str]], joints: FloatArray, heading: _Heading, dimensions: int
) -> list[tuple[int, Frame]]:
    """The frames of a clip's lines with their numbers, in their order.

    Args:
        joints: `(lines, V, 2 to 4)`.

    Raises:
        BadClipError: a number of a frame or a time is none.
    """
    at, unit = heading.time
    times = [value * unit for value in _column(rows, at, "time")] if at >= 0 else None
    if heading.frame >= 0:
        found = _column(rows, heading.frame, "frame")
        if any(value != int(value) for value in found):
            raise BadClipError("has a frame that is no whole number")
        numbers = [frame_number(int(value), "frame") for value in found]
    elif times is not None:
        ranks = {time: at for at, time in enumerate(sorted(set(times)))}
        numbers = [ranks[time] for time in times]
    else:
        numbers = list(range(len(rows)))
    people: dict[str, int] = {}
    if heading.person >= 0:
        for row in rows:
            people.setdefault(row[heading.person].strip(), len(people))
    frames: dict[int, list[int]] = {}
    for line, number in enumerate(numbers):
        frames.setdefault(number, []).append(line)
    scored = joints.shape[2] > dimensions
    return [
        (
            number,
            Frame(
                joints[lines, :, :dimensions],
                times[lines[0]] if times is not None else None,
                joints[lines, :, dimensions] if scored else None,
                np.array([people[rows[line][heading.person].strip()] for line in lines], np.int64)
                if people
                else None,
            ),
        )
        for number, lines in sorted(frames.items())
    ]


def _column(rows: list[list[str]], at: int, name: str) -> list[float]:
    """
    Raises:
        BadClipError: a cell holds no number.
    """
    values = numbers_of([row[at] for row in rows])
    if values is None or not np.isfinite(values).all():
        raise BadClipError(f"has a {name} that is no number")
    return values


def _is_ours(head: bytes) -> bool:
    """Whether a file begins as a table of frames: a clip or a label, and joints, by its heading."""
    lines = lines_of(head)
    if len(lines) < 2:
        return False
    heading = _Heading.of_line(lines[0], 1)
    if not {"file", "label"} & set(heading.known):
        return False
    cells = cells_of(lines[1], heading.delimiter)
    if len(cells) < heading.width:
        return False
    if len(heading.joints.joints) >= _FEWEST_JOINTS:
        return True
    values = numbers_of([cells[at] for at in heading.others])
    return values is not None and len(values) >= _FEWEST_JOINTS * 2
