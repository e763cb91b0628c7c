"""Tables of frames, as people write them from an estimator's results: a line a frame and a person.

Headings say what a column is: the clip (`clip`, `video`, `file`, ...), its `label`, `performer`,
`split`, `fps`, `width` and `height`, as in a table of labels; the `frame` or `time`; `person_id`
where several are followed; and the joints (`nose_x`, `x0`, ...), in any order. Other columns are
passed over. Without a column for the clip, a table is one clip, or as many as its frames start
again or its label changes. Without one for the label, a table of labels says it, or folders do.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lastkd.data.clip import FloatArray
from lastkd.data.formats.axes import unsaid_layout
from lastkd.data.formats.clip_files import BadClipError, ClipFiles, files_below, heads
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.image_shares import Size, are_centred
from lastkd.data.formats.own.heading import Heading
from lastkd.data.formats.own.table_clips import Lines, lines_by_clip
from lastkd.data.formats.own.tables import cells_of, lines_of, numbers_of
from lastkd.data.formats.people import People, frame_number, people_of_frames
from lastkd.data.frames import Frame
from lastkd.data.layouts import Layout, get_layout, layout_names
from lastkd.data.manifest import manifest_of
from lastkd.data.splits import names_part
from lastkd.errors import UserError

SUFFIXES = (".csv", ".tsv", ".txt")
_ENDING = re.compile(r"\.[a-zA-Z]\w{1,4}$", re.ASCII)
"""Of a video's name, as in `wave-1.mp4`."""
_FEWEST_JOINTS = 3


class FrameTable(EstimatedClips):
    """Such a table, or a folder of them."""

    help = "a table of frames (.csv, .tsv; a heading with clip, label, frame and the joints)"
    kind = "table of frames"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file() and path.suffix.lower() not in SUFFIXES:
            return False
        found = [_is_ours(head) for suffix in SUFFIXES for head in heads(path, suffix)]
        return any(found) and 2 * sum(found) >= len(found)  # a table of labels may lie beside it

    def find(self, root: Path) -> list[ClipFiles]:
        given = self._options.labels
        self._headings = {
            file: heading
            for suffix in SUFFIXES
            for _, files in files_below(root, suffix)
            for file in files
            if (given is None or not given.path.samefile(file))
            and (heading := Heading.of_file(Path(file))).has_joints(_FEWEST_JOINTS)
        }
        found: list[tuple[str, str, Lines]] = []
        stems = Counter(Path(file).stem for file in self._headings)
        for file, heading in self._headings.items():
            table = Path(file).stem
            if stems[table] > 1:
                table = Path(file).relative_to(root).with_suffix("").as_posix()
            clips = lines_by_clip(Path(file), heading, table)
            found += [(table, name, lines) for name, lines in clips.items()]
        times = Counter(name for _, name, _ in found)
        short = Counter(map(_without_ending, times))
        self._lines = {}
        for table, name, lines in found:
            plain = _without_ending(name) if short[_without_ending(name)] == 1 else name
            self._lines[plain if times[name] == 1 else f"{table}/{plain}"] = lines
        if given is None and any("label" in one.says for _, _, one in found):
            self._take_labels()
        return [
            ClipFiles(name, _folder_of(lines.file, root), (lines.file,))
            for name, lines in self._lines.items()
        ]

    def _take_labels(self) -> None:
        """What the tables say of their clips, as if a table of labels said it."""
        rows = []
        for name, lines in self._lines.items():
            part = Path(lines.file).stem
            split = {"split:": part} if names_part(part) else {}
            rows.append((lines.line, split | lines.says | {"file": name}))
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        self._options = replace(self._options, labels=manifest_of(self._root, rows, digest))

    def find_layout(self) -> Layout:
        asked = self._options.layout
        layout = get_layout(asked) if asked is not None else self._named_layout()
        for file, heading in self._headings.items():
            if heading.columns_for(layout) is None:
                raise UserError(
                    f"{file}: its heading names {heading.joints.in_words()}, and layout "
                    f"{layout.name} has {layout.num_joints} joints in {layout.dimensions} "
                    f"dimensions ({', '.join(layout.joints[:3])}, ...); name another --layout, or "
                    "call the columns nose_x, nose_y, ..."
                )
        if layout.dimensions == 2 and any(one.joints.spatial for one in self._headings.values()):
            self.remarks = (
                f"{self._root}: its z is left out, as layout {layout.name} is flat; describe the "
                "joints in a .yaml file and give it by --layout to keep it",
            )
        return layout

    def _named_layout(self) -> Layout:
        """The only layout whose joints the headings name."""
        headings = self._headings.values()
        named = {
            (layout.joints, layout.dimensions): layout
            for layout in map(get_layout, layout_names())
            if all(heading.joints.names_all_of(layout) for heading in headings)
        }
        if len(named) != 1:
            raise unsaid_layout(
                str(self._root),
                lambda layout: all(one.columns_for(layout) is not None for one in headings),
            )
        return next(iter(named.values()))

    def people(self, clip: ClipFiles) -> People:
        lines = self._lines[clip.name]
        heading = self._headings[lines.file]
        columns = heading.columns_for(self.layout)
        assert columns is not None  # find_layout has looked at every table
        if not lines.says.get("file", clip.name):
            raise BadClipError("has lines that name no clip")
        if lines.mixed:
            raise BadClipError("changes its label; give each action a clip of its own")
        rows = [cells_of(line, heading.delimiter) for line in lines_of(lines.read())]
        if any(len(row) < heading.width for row in rows):
            raise BadClipError(f"has a line that ends before the {heading.width} columns do")
        if heading.joint >= 0:
            rows = heading.widen(rows)
        cells = [[row[at] for at in columns.flat] for row in rows]
        numbers = [numbers_of(line) for line in cells]
        if None in numbers:
            bad = cells[numbers.index(None)]
            raise BadClipError(f"has {' '.join(bad)[:40]!r} among its numbers")
        joints = np.array(numbers, np.float32).reshape(len(rows), *columns.shape)
        return people_of_frames(_frames(rows, joints, heading, self.layout.dimensions))

    def scale(self, joints: FloatArray, size: Size | None) -> Size:
        return (1.0, 1.0) if are_centred(joints) else super().scale(joints, size)


def _frames(
    rows: Sequence[Sequence[str]], joints: FloatArray, heading: Heading, dimensions: int
) -> list[tuple[int, Frame]]:
    """The frames of a clip's lines with their numbers, in their order.

    Args:
        joints: `(lines, M, V, 2 to 4)`, M people side by side in a line.

    Raises:
        BadClipError: a number of a frame or a time is none.
    """
    at, unit = heading.time
    times = _column(rows, at, "time") if at >= 0 else None
    if times is not None:
        unit = unit or _unit_of(times)
        times = [value * unit for value in times]
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
    bodies = joints.shape[1]
    ids = np.arange(bodies)[None].repeat(len(rows), axis=0)
    if heading.person >= 0:
        people = [row[heading.person].strip() for row in rows]
        ids += np.unique(people, return_inverse=True)[1].reshape(-1, 1) * bodies
    followed = bodies > 1 or heading.person >= 0
    frames: dict[int, list[int]] = {}
    for line, number in enumerate(numbers):
        frames.setdefault(number, []).append(line)
    places, scores = joints[..., :dimensions], joints[..., dimensions:]
    return [
        (
            number,
            Frame(
                places[lines].reshape(-1, *places.shape[2:]),
                times[lines[0]] if times is not None else None,
                scores[lines, ..., 0].reshape(-1, scores.shape[2]) if scores.size else None,
                ids[lines].ravel() if followed else None,
            ),
        )
        for number, lines in sorted(frames.items())
    ]


def _unit_of(times: Sequence[float]) -> float:
    """The unit of times in seconds, where nothing says it: nobody takes less than a frame a second,
    so steps of more than one are milli-, micro- or nanoseconds."""
    steps = np.diff(np.unique(times))
    unit = 1.0
    while len(steps) and np.median(steps) * unit > 1 and unit > 1e-9:
        unit /= 1000
    return unit


def _column(rows: Sequence[Sequence[str]], at: int, name: str) -> list[float]:
    """
    Raises:
        BadClipError: a cell holds no number.
    """
    values = numbers_of([row[at] for row in rows])
    if values is None or not np.isfinite(values).all():
        raise BadClipError(f"has a {name} that is no number")
    return values


def _folder_of(file: str, root: Path) -> str:
    """The folder below the source in which a table lies; "" where it is in none."""
    folder = Path(file).parent
    return folder.relative_to(root).as_posix().strip(".") if root.is_dir() else ""


def _without_ending(name: str) -> str:
    return _ENDING.sub("", name)


def _is_ours(head: bytes) -> bool:
    """Whether a file begins as a table of frames, by its heading: it names joints, or the clip or
    the label beside numbers."""
    lines = lines_of(head)
    if len(lines) < 2:
        return False
    heading = Heading.of_lines(enumerate(lines, start=1))
    if heading.line >= len(lines):
        return False
    cells = cells_of(lines[heading.line], heading.delimiter)
    if not heading.has_joints(_FEWEST_JOINTS) or len(cells) < heading.width:
        return False
    if heading.joints.joints:
        return True
    told = "file" in heading.known or "label" in heading.known
    return told and numbers_of([cells[at] for at in heading.others]) is not None
