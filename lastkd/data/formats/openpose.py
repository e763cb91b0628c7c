"""OpenPose's `--write_json`: a file a frame, `CLIP_000000000042_keypoints.json`.

Each has `people`, and each of them `pose_keypoints_2d`: x, y and a score of 25 joints (BODY_25) or
18 (COCO), in pixels; (0, 0, 0) where a joint wasn't found.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from lastkd.data.formats.clip_files import (
    BadClipError,
    ClipFiles,
    clip_a_folder,
    decode,
    heads,
    read_limited,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.frames import Frame


class _Person(msgspec.Struct):
    pose_keypoints_2d: list[float]
    person_id: list[int] | int = -1


class _File(msgspec.Struct):
    people: list[_Person]


_DECODER = msgspec.json.Decoder(_File)


class OpenPoseJson(EstimatedClips):
    """A folder of OpenPose's JSON files, a folder a clip or a common beginning of their names."""

    help = "a folder of OpenPose's JSON files (BODY_25 or COCO)"
    kind = "OpenPose JSON"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and any(
            b'"people"' in head and b'"version"' in head for head in heads(path, ".json")
        )

    @classmethod
    def find(cls, root: Path) -> list[ClipFiles]:
        return clip_a_folder(root, ".json")

    def frames(self, clip: ClipFiles) -> list[tuple[int, Frame]]:
        return [
            (number, _frame(read_limited(file)))
            for number, file in zip(clip.numbers, clip.files, strict=True)
        ]


def _frame(text: bytes) -> Frame:
    try:
        people = _DECODER.decode(text).people
    except (msgspec.DecodeError, ValueError):
        try:
            people = msgspec.convert(decode(text), _File, strict=False).people
        except msgspec.ValidationError as error:
            raise BadClipError(f"has a file that isn't OpenPose's ({error})") from None
    people = [person for person in people if person.pose_keypoints_2d]
    if not people:
        return Frame()
    try:
        rows = np.array([person.pose_keypoints_2d for person in people], np.float32)
        rows = rows.reshape(len(people), -1, 3)
    except (ValueError, OverflowError):
        raise BadClipError("has people of different skeletons in one frame") from None
    ids = [p.person_id[0] if isinstance(p.person_id, list) else p.person_id for p in people]
    known = np.array(ids) if min(ids) >= 0 else None
    return Frame(rows[..., :2], scores=rows[..., 2], ids=known)
