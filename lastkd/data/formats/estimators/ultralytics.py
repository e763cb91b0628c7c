"""Ultralytics' pose results: `save_txt`'s labels, a file a frame, or JSON.

A line of `CLIP_42.txt` is a person: class, box (4), then x, y and a score of each joint, as shares
of the image; perhaps a confidence and a track number follow. JSON is `result.to_json()` of a frame
a file, or a list of those of a whole video: `keypoints` with lists `x`, `y` and `visible`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray
from lastkd.data.formats.clip_files import (
    BadClipError,
    ClipFiles,
    clip_a_file,
    clip_a_folder,
    decode,
    heads,
    read_limited,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.people import NOBODY, People, people_of_frames
from lastkd.data.frames import Frame, parse_frame

_BEFORE = 5  # class and box
_JOINTS = (17, 26, 33, 21, 18, 25)
"""Of the skeletons that lines are tried for, the likeliest first."""


class UltralyticsPoses(EstimatedClips):
    """A folder of Ultralytics' results, or a JSON file of one video."""

    help = "Ultralytics' pose results (labels/*.txt of save_txt, or JSON)"
    kind = "Ultralytics poses"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if any(b'"keypoints"' in h and b'"visible"' in h for h in heads(path, ".json")):
            return True
        return path.is_dir() and any(_is_label(head) for head in heads(path, ".txt"))

    def find(self, root: Path) -> list[ClipFiles]:
        if root.is_dir() and any(_is_label(head) for head in heads(root, ".txt")):
            return clip_a_folder(root, ".txt")
        nested = any(head.lstrip()[1:].lstrip()[:1] == b"[" for head in heads(root, ".json"))
        return clip_a_file(root, ".json") if nested else clip_a_folder(root, ".json")

    def people(self, clip: ClipFiles) -> People:
        if not clip.numbers:
            content = decode(read_limited(clip.files[0]))
            if not isinstance(content, list):
                raise BadClipError("has a file that isn't a list of frames")
            return people_of_frames([(at, _json_frame(frame)) for at, frame in enumerate(content)])
        texts = [read_limited(file) for file in clip.files]
        if clip.files[0].endswith(".txt"):
            return _of_texts(clip.numbers, texts)
        frames = [_json_frame(decode(text)) for text in texts]
        return people_of_frames(list(zip(clip.numbers, frames, strict=True)))


def _json_frame(people: Any) -> Frame:
    if not isinstance(people, list):
        raise BadClipError("has a frame that isn't a list of people")
    people = [one for one in people if isinstance(one, dict) and one.get("keypoints")]
    try:
        return parse_frame(people, dimensions=2)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise BadClipError("has a person without keypoints x and y") from None


def _is_label(head: bytes) -> bool:
    """Whether a text begins with a line of a person, and isn't a table that numbers its lines."""
    lines = [line.split() for line in head.split(b"\n")[:3] if line.strip()]
    if not lines or not any(len(lines[0]) - _BEFORE in _widths(joints) for joints in _JOINTS):
        return False
    try:
        classes = [int(words[0]) for words in lines]
        box = [float(word) for word in lines[0][1:_BEFORE]]
    except ValueError:
        return False
    numbered = len(classes) > 1 and all(b > a for a, b in pairwise(classes))
    shares = all(-1 < value < 2 for value in box[:2]) and all(0 < value < 1.5 for value in box[2:])
    return shares and not numbered


def _widths(joints: int) -> tuple[int, ...]:
    """How many values may follow the box, for joints with and without scores."""
    return tuple(joints * channels + more for channels in (3, 2) for more in (0, 1, 2))


def _of_texts(numbers: Sequence[int], texts: Sequence[bytes]) -> People:
    """The people of a text a frame, all numbers of which are read at once."""
    counts = np.zeros(len(texts), np.int64)
    lines: list[bytes] = []
    for at, text in enumerate(texts):
        before = len(lines)
        lines += [line for line in text.splitlines() if line.strip()]
        counts[at] = len(lines) - before
    if not lines:
        return NOBODY
    words = [line.split() for line in lines]
    width = len(words[0])
    if any(len(one) != width for one in words):
        raise BadClipError("has lines of different lengths")
    try:
        values = np.array([float(word) for line in words for word in line]).reshape(-1, width)
    except ValueError:
        raise BadClipError("has a line that isn't numbers") from None
    points, scores, ids = _columns(values)
    shown = counts > 0
    return People(np.array(numbers, np.int64)[shown], counts[shown], points, scores, ids)


def _columns(
    values: NDArray[np.float64],
) -> tuple[FloatArray, FloatArray | None, NDArray[np.int64] | None]:
    """Points `(N, V, 2)`, scores `(N, V)` and ids `(N,)` of lines of equally many values.

    Raises:
        BadClipError: they are of no known skeleton.
    """
    width = values.shape[1] - _BEFORE
    fitting = [
        (joints, channels)
        for joints in _JOINTS
        for channels in (3, 2)
        if 0 <= width - joints * channels <= 2
    ]
    if not fitting:
        raise BadClipError(f"has lines of {width + _BEFORE} values, which are no known skeleton")
    joints, channels = fitting[0]
    points = values[:, _BEFORE : _BEFORE + joints * channels].reshape(-1, joints, channels)
    last = values[:, -1]
    whole = bool((np.isfinite(last) & (last == np.floor(last)) & (abs(last) < 1e9)).all())
    tracked = width > joints * channels and whole and last.min() >= 1
    return (
        points[..., :2].astype(np.float32),
        points[..., 2].astype(np.float32) if channels == 3 else None,
        last.astype(np.int64) if tracked else None,
    )
