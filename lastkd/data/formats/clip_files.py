"""Where the frames of clips lie that a pose estimator wrote: a file a frame, or a file a clip."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

LARGEST_FILE = 2**28
"""Bytes; an hour of one person in JSON has less."""
_HEAD = 1 << 16
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_LOOKED_AT = 8
"""Files of a folder that are looked at to recognise its format."""


class ClipFiles(NamedTuple):
    """A clip and the files that hold its frames, in their order.

    Attributes:
        name: as the table of labels and the store call it.
        group: the folder that it lies in below the source, which may name its class.
        numbers: the frame of each file, where each file holds one.
    """

    name: str
    group: str
    files: tuple[str, ...]
    numbers: tuple[int, ...] = ()


class BadClipError(ValueError):
    """What is wrong with a clip's files, in words that follow its name."""


_NUMBERED = re.compile(r"(?P<clip>.*?)[_\-. ]?(?P<frame>\d{1,18})(?:_keypoints)?")


def files_below(root: Path, suffix: str) -> Iterator[tuple[str, list[str]]]:
    """The folders at or below `root` that have files of a suffix: `(relative name, paths)`.

    Args:
        suffix: in small letters; a file's may have capitals.
    """
    if root.is_file():
        if root.suffix.lower() == suffix:
            yield "", [str(root)]
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = sorted(name for name in files if _ends_in(name, suffix))
        if here:
            relative = Path(folder).relative_to(root).as_posix()
            yield "" if relative == "." else relative, [f"{folder}{os.sep}{name}" for name in here]


def _ends_in(name: str, suffix: str) -> bool:
    return name.lower().endswith(suffix) and name[0] != "."


def _name_of(file: str) -> str:
    """A file's name without its folder: a `Path` for each would take as long as its reading."""
    return file.rpartition(os.sep)[2]


def clip_a_folder(root: Path, suffix: str) -> list[ClipFiles]:
    """Clips with a file a frame: a folder a clip, or files whose names begin alike."""
    clips = []
    for relative, files in files_below(root, suffix):
        groups: dict[str, list[tuple[int, str]]] = {}
        for at, file in enumerate(files):
            stem = _name_of(file)[: -len(suffix)]
            match = _NUMBERED.fullmatch(stem)
            prefix = match["clip"] if match else stem.removesuffix("_keypoints")
            groups.setdefault(prefix, []).append((int(match["frame"]) if match else at, file))
        group, _, folder = relative.rpartition("/")
        for prefix, numbered in groups.items():
            numbered.sort()
            alone = len(groups) == 1 and folder
            name = folder if alone else prefix or folder or root.name
            where = group if alone else relative
            numbers, paths = zip(*numbered, strict=True)
            clips.append(ClipFiles(name, where, tuple(paths), tuple(numbers)))
    return unique_names(clips)


def clip_a_file(root: Path, suffix: str, usual: Container[str] = ()) -> list[ClipFiles]:
    """Clips of a file each, named by it, or by its folder where all files have the usual name."""
    clips = []
    for relative, files in files_below(root, suffix):
        for file in files:
            if _name_of(file) in usual and root.is_dir():
                group, _, folder = relative.rpartition("/")
                clips.append(ClipFiles(folder or root.name, group, (file,)))
            else:
                clips.append(ClipFiles(_name_of(file)[: -len(suffix)], relative, (file,)))
    return unique_names(clips)


def unique_names(clips: Sequence[ClipFiles]) -> list[ClipFiles]:
    """The clips, with their folder before a name that several have."""
    times = Counter(clip.name for clip in clips)
    named = [
        clip._replace(name=f"{clip.group}/{clip.name}".lstrip("/"))
        if times[clip.name] > 1
        else clip
        for clip in clips
    ]
    taken: Counter[str] = Counter()
    for at, clip in enumerate(named):
        taken[clip.name] += 1
        if taken[clip.name] > 1:  # a folder `a` beside files `a_1.json`, `a_2.json`
            named[at] = clip._replace(name=f"{clip.name}#{taken[clip.name]}")
    return named


def read_limited(path: str) -> bytes:
    """
    Raises:
        BadClipError: the file is larger than anything that an estimator writes of a clip.
        OSError: it can't be read.
    """
    # a file a frame makes many thousands; open() asks the system twice as often
    file = os.open(path, _READ)
    try:
        size = os.fstat(file).st_size
        if size > LARGEST_FILE:
            raise BadClipError(f"has a file of more than {LARGEST_FILE >> 20} MB, {_name_of(path)}")
        text = os.read(file, size)
        while len(text) < size and (more := os.read(file, size - len(text))):
            text += more
        return text
    finally:
        os.close(file)


def heads(path: Path, suffix: str) -> Iterator[bytes]:
    """The first bytes of a file, or of the first few files of a suffix in a folder at any depth."""
    files = (file for _, group in files_below(path, suffix) for file in group[:_LOOKED_AT])
    for file, _ in zip(files, range(_LOOKED_AT), strict=False):
        try:
            with Path(file).open("rb") as opened:
                yield opened.read(_HEAD)
        except OSError:
            continue


def decode(text: bytes) -> Any:
    """What JSON says, in a third of the time of Python's own parser; NaN and Infinity included.

    Raises:
        BadClipError: it isn't JSON.
    """
    try:
        return from_json(text)
    except ValueError as error:
        reason = " ".join(str(error).split())[:100]
        raise BadClipError(f"has a file that isn't JSON ({reason})") from None
