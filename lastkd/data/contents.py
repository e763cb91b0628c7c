"""What a file or folder holds, in a few words: the answer to a source of no known format."""

from __future__ import annotations

import codecs
import itertools
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from lastkd.data.formats.npy import open_npy
from lastkd.errors import UserError
from lastkd.files.json_text import parse_json

_MOST_FILES = 2000
_DEEPEST = 2
"""Lists in lists that are described."""
_NO_SKELETONS = dict.fromkeys(
    (".avi", ".mkv", ".mov", ".mp4", ".webm", ".wmv"),
    "a video, of which a pose estimator has yet to make skeletons",
)
_NO_SKELETONS[".mat"] = (
    "a MATLAB file, whose arrays numpy.save keeps once scipy.io.loadmat has read them"
)
_HEAD = 1 << 16
"""Bytes that are looked at of a file."""
_LARGEST_JSON = 1 << 22


def describe_path(path: Path) -> str:
    """`a folder with 12 .json files, such as a/1.json (JSON: an object with version, people)`."""
    if path.is_dir():
        return _folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if zipfile.is_zipfile(path):
        return _zip(path)
    if head.startswith(b"\x93NUMPY"):
        return _npy(path)
    if head[:1] == b"\x80" and path.suffix in (".pkl", ".pickle", ".p"):
        return "a pickle"
    return _text(path, head)


def describe_value(value: Any, depth: int = 0) -> str:
    """The form of what a JSON file or a pickle holds: `a list of 3 objects with name, box`."""
    if isinstance(value, dict):
        keys = [str(key)[:30] for key in itertools.islice(value, 6)]
        more = ", ..." if len(value) > len(keys) else ""
        return f"an object with {', '.join(keys)}{more}" if keys else "an empty object"
    if isinstance(value, list | tuple):
        if not value:
            return "an empty list"
        if depth == _DEEPEST:
            return "a list of lists"
        inside = describe_value(value[0], depth + 1).removeprefix("an ").removeprefix("a ")
        return f"a list of {len(value):,}, the first of them: {inside}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype} of shape {tuple(value.shape)}"
    return {str: "text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")


def _folder(path: Path) -> str:
    counts: Counter[str] = Counter()
    first: dict[str, Path] = {}
    files = (one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
    for file in itertools.islice(files, _MOST_FILES):
        suffix = file.suffix.lower() or "nameless"
        counts[suffix] += 1
        first.setdefault(suffix, file)
    if not counts:
        return "a folder without any file"
    shown = counts.most_common(4)
    several = sum(counts.values()) >= _MOST_FILES
    parts = [f"{count:,} {suffix}" for suffix, count in shown]
    example = first[shown[0][0]]
    return (
        f"a folder with {'more than ' * several}{', '.join(parts)} files, such as "
        f"{example.relative_to(path)} ({describe_path(example)})"
    )


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.namelist() if not one.endswith("/")]
    except Exception as error:  # a damaged directory ends in whatever its fields say
        return f"a damaged zip ({type(error).__name__})"
    what = "npz" if path.suffix == ".npz" else "zip"
    shown = ", ".join(one.removesuffix(".npy")[:60] for one in members[:4])
    return f"an {what} with {shown}" if what == "npz" else f"a zip with {shown or 'nothing'}"


def _npy(path: Path) -> str:
    try:
        rows = open_npy(path)
    except UserError:
        return "a damaged .npy array"
    return f"an array of {rows.dtype} of shape {rows.shape}"


def _text(path: Path, head: bytes) -> str:
    if not head:
        return "an empty file"
    if path.suffix.lower() in _NO_SKELETONS:
        return _NO_SKELETONS[path.suffix.lower()]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text in UTF-16, which has yet to be saved in UTF-8"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] in (b"{", b"["):
        return _json(path, start)
    try:
        line_text = start.split(b"\n", 1)[0][:60].decode("utf-8").strip()
    except UnicodeDecodeError:
        return "a binary file"
    return f"text that begins with {line_text!r}" if line_text.isprintable() else "a binary file"


def _json(path: Path, start: bytes) -> str:
    """JSON, or JSON lines, of which the first is described."""
    whole = path.read_bytes() if path.stat().st_size <= _LARGEST_JSON else b""
    for text in (whole, start.split(b"\n", 1)[0]):
        try:
            return f"JSON: {describe_value(parse_json(text))}"
        except ValueError:
            continue
    return "damaged JSON" if whole else "JSON"
