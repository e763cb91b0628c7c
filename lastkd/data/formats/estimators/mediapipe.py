"""MediaPipe's pose landmarks, a file a clip: JSON lines, a JSON list or a `.npy` array of frames.

A line is a list of 33 landmarks `{"x", "y", "z", "visibility"}` (or of 3 to 5 numbers each), or an
object that has them as `pose_landmarks` or `pose_world_landmarks`; an array is `(T, 33, 3 to 5)`
or `(T, 99)`, `(T, 132)` or `(T, 165)`.
Landmarks in the world are metres round the middle of the hips, with y down and z away from the
camera's back: both are turned round. Those in the image are shares of its width and height.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.clip import FloatArray
from lastkd.data.formats.assemble import Sample, reading_of_slots
from lastkd.data.formats.base import Reading
from lastkd.data.formats.clip_files import (
    BadClipError,
    ClipFiles,
    clip_a_file,
    decode,
    files_below,
    heads,
    read_limited,
    unique_names,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.image_shares import scale_of
from lastkd.data.formats.npy import npy_shape, parse_npy
from lastkd.data.formats.people import People, people_of_frames
from lastkd.data.frames import Frame, time_of
from lastkd.data.layouts import get_layout
from lastkd.data.manifest import ManifestRow
from lastkd.errors import UserError

LANDMARKS = 33
_FLATTENED = tuple(LANDMARKS * channels for channels in (3, 4, 5))
"""Numbers of a frame whose landmarks lie one after the other."""
_HIPS = (23, 24)
_CENTRED = 0.1
"""Metres; the middle of the hips is nearer to 0 than this in the world, and never in an image."""
_WORLD, _IMAGE = "pose_world_landmarks", "pose_landmarks"
_TURNED = np.array([1, -1, -1], np.float32)


class MediaPipeLandmarks(EstimatedClips):
    """A folder of MediaPipe's landmarks, or those of one video."""

    help = "MediaPipe's pose landmarks (.jsonl, .json or .npy of each video, in world or image)"
    kind = "MediaPipe landmarks"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if any(_is_line(head) for head in heads(path, ".jsonl")):
            return True
        if any(_is_list(head) for head in heads(path, ".json")):
            return True
        if path.is_file() and path.suffix != ".npy":
            return False
        return _is_array(next(_arrays(path), None))

    def find(self, root: Path) -> list[ClipFiles]:
        clips = [*clip_a_file(root, ".jsonl"), *clip_a_file(root, ".npy")]
        return unique_names(clips or clip_a_file(root, ".json"))

    def people(self, clip: ClipFiles) -> People:
        (file,) = clip.files
        if file.endswith(".npy"):
            poses = _array(file)[:20]  # assembled whole below; these tell the layout
            return people_of_frames([(at, self._frame(pose)) for at, pose in enumerate(poses)])
        text = read_limited(file)
        if file.endswith(".json"):
            values = decode(text)
            if not isinstance(values, list):
                raise BadClipError("has a file that isn't a list of frames")
            return people_of_frames([(at, self._of_line(one)) for at, one in enumerate(values)])
        lines = [(at, line) for at, line in enumerate(text.split(b"\n")) if line.strip()]
        return people_of_frames([(at, self._of_line(decode(line))) for at, line in lines])

    def _dimensions(self) -> int | None:
        """Those that were asked for by --layout."""
        asked = self._options.layout
        return get_layout(asked).dimensions if asked is not None else None

    def _of_line(self, value: Any) -> Frame:
        width, height, time, landmarks = 1.0, 1.0, None, value
        if isinstance(value, Mapping):
            dimensions = self._dimensions()
            order = (_IMAGE, _WORLD) if dimensions == 2 else (_WORLD, _IMAGE)
            landmarks = next((value[key] for key in order if value.get(key)), None)
            try:
                width, height = float(value.get("width", 1)), float(value.get("height", 1))
                time = time_of(value)
            except (TypeError, ValueError, OverflowError):
                raise BadClipError("has a width, height or time that is no number") from None
        if not landmarks:
            return Frame()
        return self._frame(_poses(landmarks), (width, height), time)

    def _frame(
        self,
        poses: FloatArray,
        size: tuple[float, float] = (1.0, 1.0),
        time: float | None = None,
    ) -> Frame:
        """A frame of poses `(bodies, 33, 3 to 5)`."""
        scores = poses[..., 3] if poses.shape[-1] > 3 else None
        hips = np.abs(poses[:, _HIPS, :3].mean(axis=1)).max()
        if hips < _CENTRED and self._dimensions() != 2:
            return Frame(poses[..., :3] * _TURNED, time, scores)
        return Frame(poses[..., :2] * np.array(size, np.float32), time, scores)

    def assemble(self, clip: ClipFiles, sample: Sample, row: ManifestRow | None) -> Reading:
        if not clip.files[0].endswith(".npy"):
            return super().assemble(clip, sample, row)
        poses = _array(clip.files[0])
        scores = poses[..., 3] if poses.shape[-1] > 3 else None
        if self.layout.dimensions == 3:
            joints = poses[..., :3] * _TURNED
        else:
            largest = float(np.nanmax(poses[..., :2], initial=0.0))
            size = scale_of(largest, self.image_size_of(row))
            joints = poses[..., :2] * np.array(size, np.float32)
        sample = sample._replace(fps=self.fps_of(row))
        return reading_of_slots(sample, joints, self.layout, scores=scores)


def _poses(landmarks: Any) -> FloatArray:
    """`(bodies, 33, 3 to 5)` of one pose's landmarks, or of a list of poses.

    Raises:
        BadClipError: they are no 33 landmarks.
    """
    try:
        poses = landmarks
        if isinstance(landmarks[0], Mapping) or not isinstance(landmarks[0][0], list | dict):
            poses = [landmarks]
        rows = [
            [
                [p["x"], p["y"], p.get("z", 0.0), p.get("visibility", 1.0)]
                if isinstance(p, Mapping)
                else list(p)[:5]
                for p in pose
            ]
            for pose in poses
        ]
        array = np.array(rows, np.float32)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise BadClipError("has a line that holds no landmarks") from None
    if array.ndim != 3 or array.shape[1] != LANDMARKS or not 3 <= array.shape[2] <= 5:
        raise BadClipError(f"has landmarks of shape {array.shape}, where a pose has 33 of 3 to 5")
    return array


def _array(file: str) -> FloatArray:
    """A file's landmarks `(T, M, 33, 3 to 5)`.

    Raises:
        BadClipError: the file is damaged or holds something else.
    """
    try:
        array = parse_npy(read_limited(file), Path(file).name).astype(np.float32)
    except UserError as error:
        raise BadClipError(f"can't be read: {error}") from None
    if array.ndim == 2 and array.shape[1] in _FLATTENED:
        array = array.reshape(len(array), LANDMARKS, -1)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or array.shape[2] != LANDMARKS or not 3 <= array.shape[3] <= 5:
        raise BadClipError(f"has an array of shape {array.shape}, not (frames, 33, 3 to 5)")
    return array


def _is_line(head: bytes) -> bool:
    """Whether JSON lines begin with landmarks; the first frames may be empty."""
    if b'"pose_landmarks"' in head or b'"pose_world_landmarks"' in head:
        return True
    for line in head.split(b"\n")[:5]:
        try:
            return len(_poses(decode(line))[0]) == LANDMARKS
        except BadClipError:
            continue
    return False


def _is_list(head: bytes) -> bool:
    """Whether a JSON file begins as a list of frames with landmarks."""
    start = b"".join(head[:200].split())
    named = b'"pose_landmarks"' in head or b'"pose_world_landmarks"' in head
    if start.startswith(b"[{"):
        return named
    return start.startswith((b"[[{", b"[[[{", b"[[]")) and b'"visibility"' in head


def _arrays(path: Path) -> Iterator[str]:
    return (file for _, files in files_below(path, ".npy") for file in files)


def _is_array(file: str | None) -> bool:
    if file is None:
        return False
    try:
        shape = npy_shape(Path(file))
    except (UserError, OSError):
        return False
    if len(shape) == 2:
        return shape[1] in _FLATTENED
    return len(shape) in (3, 4) and shape[-2] == LANDMARKS and 3 <= shape[-1] <= 5
