"""Where the clips of a table of frames lie: which of its lines are whose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lastkd.data.formats.clip_files import LARGEST_FILE, BadClipError
from lastkd.data.formats.own.heading import Heading
from lastkd.data.formats.own.tables import cells_of
from lastkd.errors import UserError


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
            if again and not changed and heading.joint >= 0:
                raise UserError(
                    f"{file}: line {number} has frames that start again, perhaps of another "
                    "joint, perhaps of the next clip; give the table a column 'clip'"
                )
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
