"""OpenPose's `--write_json`: a file a frame, `CLIP_000000000042_keypoints.json`.

Each has `people`, and each of them `pose_keypoints_2d`: x, y and a score of 25 joints (BODY_25) or
18 (COCO), in pixels; (0, 0, 0) where a joint wasn't found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from lastkd.data.formats.people import NOBODY, People, check_alike


class OpenPoseJson(EstimatedClips):
    """A folder of OpenPose's JSON files, a folder a clip or a common beginning of their names."""

    help = "a folder of OpenPose's JSON files (BODY_25 or COCO)"
    kind = "OpenPose JSON"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_dir() and any(
            b'"people"' in head and b'"version"' in head for head in heads(path, ".json")
        )

    def find(self, root: Path) -> list[ClipFiles]:
        return clip_a_folder(root, ".json")

    def people(self, clip: ClipFiles) -> People:
        shown = [_people(decode(read_limited(file))) for file in clip.files]
        people = [person for frame in shown for person in frame]
        if not people:
            return NOBODY
        keypoints = [person["pose_keypoints_2d"] for person in people]
        check_alike([(len(one) // 3, 2) for one in keypoints if len(one) % 3 == 0])
        try:
            rows = np.array(keypoints, np.float32).reshape(len(people), -1, 3)
        except (TypeError, ValueError, OverflowError):
            raise BadClipError(
                "has a file that isn't OpenPose's (its keypoints aren't x, y and a score each)"
            ) from None
        ids = np.array([_id(person) for person in people], np.int64)
        counts = np.array([len(frame) for frame in shown], np.int64)
        return People(
            np.array(clip.numbers, np.int64)[counts > 0],
            counts[counts > 0],
            rows[..., :2],
            rows[..., 2],
            ids if ids.min() >= 0 else None,
        )


def _people(content: Any) -> list[dict[str, Any]]:
    """Those of a frame of whom anything was found."""
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(
        isinstance(person, dict) and isinstance(person.get("pose_keypoints_2d"), list)
        for person in people
    ):
        raise BadClipError("has a file that isn't OpenPose's (it has no people with keypoints)")
    return [person for person in people if person["pose_keypoints_2d"]]


def _id(person: dict[str, Any]) -> int:
    """-1 where people weren't tracked."""
    number = person.get("person_id", -1)
    if isinstance(number, list):
        number = number[0] if len(number) == 1 else -1
    return number if isinstance(number, int) and abs(number) < 2**62 else -1
