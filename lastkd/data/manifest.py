"""A table of clips beside their files: `--labels labels.csv`."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Splits
from lastkd.data.splits import check_against, names_part, paired_splits
from lastkd.errors import UserError, nearest

_COLUMNS = {
    "file": (
        "file",
        "filename",
        "file_name",
        "path",
        "name",
        "clip",
        "video",
        "sample",
        "sequence",
        "recording",
        "frame_dir",
        *("clip_id", "video_id", "video_name", "sample_id", "sequence_id", "recording_id"),
    ),
    "label": (
        *("label", "class", "action", "category", "activity", "gesture"),
        *("class_name", "label_name", "action_label", "action_name"),
        *("class_id", "label_id", "action_id"),
    ),
    "performer": (
        *("performer", "subject", "person", "actor", "participant"),
        *("performer_id", "subject_id", "participant_id"),
    ),
    "camera": ("camera", "view"),
    "setup": ("setup", "session"),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
    "fps": ("fps", "frame_rate"),
}
_GAPS = re.compile(r"[\s_#]+")
_WHOLE = re.compile(r"-?\d{1,9}(\.0*)?", re.ASCII)
"""Numbers of classes and performers; spreadsheets and pandas write them as 1.0 too."""
_LARGEST = 2**26
_LARGEST_LABEL = 9_999


@dataclass(frozen=True)
class ManifestRow:
    """What the table says of one clip.

    Attributes:
        label: class index; None where the cell is empty or no number from 0.
        parts: split -> the part that the clip belongs to, as written.
        size: of the image, in pixels.
        line: in the file.
    """

    name: str
    label: int | None
    performer: int = -1
    camera: int = -1
    setup: int = -1
    parts: tuple[tuple[str, str], ...] = ()
    size: tuple[float, float] | None = None
    fps: float | None = None
    line: int = 0


@dataclass(frozen=True)
class Manifest:
    """The rows of a table of clips.

    Attributes:
        rows: by name as written, without what leads to it and without its ending.
        class_names: by label.
        digest: changes where the file does.
    """

    path: Path
    rows: Mapping[str, ManifestRow]
    class_names: tuple[str, ...]
    digest: str

    def find(self, name: str) -> ManifestRow | None:
        """The row of a clip, by its name: written alike, as a path, or with an ending."""
        for key in (name, name.rsplit("/", 1)[-1]):
            if key in self.rows:
                return self.rows[key]
        return None

    def rows_of(self, names: Sequence[str]) -> dict[str, ManifestRow | None]:
        """The row of each clip, None where it has none.

        Raises:
            UserError: none of the clips has a row.
        """
        found = {name: self.find(name) for name in names}
        if names and not any(row is not None for row in found.values()):
            raise UserError(
                f"{self.path}: has no line for any clip: it names "
                f"{reprlib.repr(next(iter(self.rows)))}, and clips are called "
                f"{reprlib.repr(names[0])}; make the names the same"
            )
        return found

    def remarks(self, found: Mapping[str, ManifestRow | None]) -> tuple[str, ...]:
        """A sentence about the lines that name no clip of `rows_of`; none where there are none."""
        used = {row.line for row in found.values() if row is not None}
        idle = {row.line: row.name for row in self.rows.values() if row.line not in used}
        if not idle:
            return ()
        first = min(idle)
        return (
            f"{self.path}: {len(idle):,} of its lines name no clip, such as line {first} "
            f"({reprlib.repr(idle[first])})",
        )

    def splits(self, names: Sequence[str]) -> Splits:
        """The splits of these clips, none where the table has no column for one.

        Raises:
            UserError: a cell names no part, or a split lacks one.
        """
        splits = paired_splits(self.lists(names), str(self.path))
        check_against(splits, dict.fromkeys(names), str(self.path))
        return splits

    def lists(self, names: Sequence[str]) -> dict[str, list[str]]:
        """`{"xsub_train": [...], ...}` of these clips, as `paired_splits` takes them.

        Raises:
            UserError: a cell names no part.
        """
        lists: dict[str, list[str]] = {}
        for name in names:
            row = self.find(name)
            if row is None:
                continue
            for split, part in row.parts:
                if not names_part(part):
                    raise UserError(
                        f"{self.path}: line {row.line} has {reprlib.repr(part)} for a split; write "
                        "train, val or test, or make another split by --split-by"
                    )
                key = f"{split}_{part}" if split else part
                lists.setdefault(key, []).append(name)
        return lists


def read_manifest(path: Path) -> Manifest:
    """Reads a CSV table with a heading; columns in any order, separated by `,`, `;` or tabs.

    `file` and `label` are needed (a number from 0, or a class name); `performer`, `camera`,
    `setup`, `width`, `height` and `fps` are optional. A column `split` says train, val or test; a
    column `split:xsub` is a split of that name.

    Raises:
        UserError: the file can't be read, lacks a column, or names a clip twice.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: isn't text in UTF-8; save the table as CSV in UTF-8") from None
    if len(content) > _LARGEST:
        raise UserError(f"{path}: is too large for a table of clips; check the path")
    separator = max(",;\t", key=text.split("\n", 1)[0].count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise UserError(f"{path}: isn't a CSV table ({error}); save it as one") from None
    heading = lines[0] if lines else []
    columns = known_columns(heading)
    for needed in ("file", "label"):
        if needed not in columns:
            named = [cell.strip().lower() for cell in heading]
            hint = nearest(needed, named) if any(named) else "it is empty"
            raise UserError(
                f"{path}: has no column {needed!r} in its heading; {hint[:200]} (the first line "
                "names the columns, such as file,label,performer,split)"
            )
    cells = [
        (number, {name: line[at].strip() for name, at in columns.items() if at < len(line)})
        for number, line in enumerate(lines[1:], start=2)
        if any(cell.strip() for cell in line)
    ]
    return manifest_of(path, cells, hashlib.sha256(content).hexdigest())


def manifest_of(
    path: Path, cells: Sequence[tuple[int, Mapping[str, str]]], digest: str
) -> Manifest:
    """A manifest of lines that have been read.

    Args:
        cells: of each clip, the number of its line and what it says under our names of the columns
            (see `known_columns`); `file` must be there.

    Raises:
        UserError: there is none, a value can't be what its column is for, or a clip is named twice.
    """
    labels, class_names = _labels([row.get("label", "") for _, row in cells])
    performers = _numbers([row.get("performer", "") for _, row in cells])
    rows: dict[str, ManifestRow] = {}
    for (number, row), label, performer in zip(cells, labels, performers, strict=True):
        _add(rows, path, _row(row, number, label, performer, path))
    if not rows:
        raise UserError(f"{path}: has no line below its heading; give each clip a line")
    return Manifest(path, rows, class_names, digest)


def known_columns(heading: Sequence[str]) -> dict[str, int]:
    """Our name of each column that says something of a clip -> its place."""
    words = heading_words(heading)
    found: dict[str, int] = {}
    for ours, known in _COLUMNS.items():
        at = column_of(words, known)
        if at >= 0:
            found[ours] = at
    for at, cell in enumerate(heading):
        text = " ".join(cell.split())
        if re.fullmatch("split([:_ ].*)?", text, re.IGNORECASE):
            found[f"split:{text[6:]}"] = at
    return found


def heading_words(heading: Sequence[str]) -> list[str]:
    """Headings as they are compared: `Frame ID`, `frame_id` and `frameId` are one."""
    return [_GAPS.sub("", cell.lower()) for cell in heading]


def column_of(words: Sequence[str], known: Iterable[str]) -> int:
    """The first column that has one of the known headings; -1 where none has.

    Args:
        words: as `heading_words` gives them.
    """
    wanted = heading_words(list(known))
    return next((words.index(word) for word in wanted if word in words), -1)


def _row(
    cells: Mapping[str, str], number: int, label: int | None, performer: int, path: Path
) -> ManifestRow:
    def positive(name: str) -> float | None:
        text = cells.get(name, "")
        try:
            value = float(text.replace(",", ".")) if text else None
        except ValueError:
            value = -1.0
        if value is not None and not 0 < value < 1e6:
            raise UserError(
                f"{path}: line {number} has {reprlib.repr(text)} for {name}; give a number above 0"
            )
        return value

    def index(name: str) -> int:
        text = cells.get(name, "")
        return int(text) if text.isdecimal() and len(text) < 10 else -1

    width, height = positive("width"), positive("height")
    parts = tuple((name[6:], text) for name, text in cells.items() if name[:6] == "split:" and text)
    return ManifestRow(
        name=cells["file"].replace("\\", "/"),
        label=label,
        performer=performer,
        camera=index("camera"),
        setup=index("setup"),
        parts=parts,
        size=(width, height) if width and height else None,
        fps=positive("fps"),
        line=number,
    )


def _add(rows: dict[str, ManifestRow], path: Path, row: ManifestRow) -> None:
    """Files a row under every way in which its clip may be called."""
    where = PurePosixPath(row.name)
    known = rows.get(row.name)
    if known is not None and known.name == row.name:
        raise UserError(
            f"{path}: lines {known.line} and {row.line} both name {reprlib.repr(row.name)}; keep "
            "one"
        )
    rows[row.name] = row
    for short in (str(where.with_suffix("")) if row.name else "", where.name, where.stem):
        rows.setdefault(short, row)


def _labels(texts: Sequence[str]) -> tuple[list[int | None], tuple[str, ...]]:
    """Class indices and names: numbers as they are, names in the order of the alphabet."""
    if all(_WHOLE.fullmatch(text) for text in texts if text):
        numbers = [int(float(text)) if text else -1 for text in texts]
        labels = [number if 0 <= number <= _LARGEST_LABEL else None for number in numbers]
        return labels, numbered_classes(1 + max((n for n in labels if n is not None), default=0))
    names = sorted({text for text in texts if text})
    order = {name: at for at, name in enumerate(names)}
    return [order.get(text) for text in texts], tuple(names)


def _numbers(texts: Sequence[str]) -> list[int]:
    """Numbers as they are; other words are numbered from 1 in the order of the alphabet."""
    if all(_WHOLE.fullmatch(text) and text[0] != "-" for text in texts if text):
        return [int(float(text)) if text else -1 for text in texts]
    order = {word: at for at, word in enumerate(sorted({text for text in texts if text}), start=1)}
    return [order.get(text, -1) for text in texts]
