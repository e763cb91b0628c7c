"""MMPose's and RTMPose's predictions: a JSON file a video, or one an image.

Of a video: a list of `{"frame_id": 0, "instances": [...]}`, or an object that has it under
`instance_info`. Of an image: the list of instances alone. An instance has `keypoints` and
`keypoint_scores`, in pixels; or, from a lifter, `keypoints` in space with z up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from lastkd.data.formats.people import People, frame_number, people_of_frames
from lastkd.data.frames import Frame


class MMPoseJson(EstimatedClips):
    """A folder of MMPose's predictions, or those of one video."""

    help = "MMPose's or RTMPose's predictions (a JSON file of each video)"
    kind = "MMPose JSON"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(b'"keypoint_scores"' in head for head in heads(path, ".json"))

    def find(self, root: Path) -> list[ClipFiles]:
        # instances alone are those of an image, and then a clip is a folder of them
        images = not any(b'"instances"' in head for head in heads(root, ".json"))
        return clip_a_folder(root, ".json") if images else clip_a_file(root, ".json")

    def people(self, clip: ClipFiles) -> People:
        if clip.numbers:
            return people_of_frames(
                [
                    (number, _frame(decode(read_limited(file))))
                    for number, file in zip(clip.numbers, clip.files, strict=True)
                ]
            )
        content = decode(read_limited(clip.files[0]))
        if isinstance(content, dict):
            content = content.get("instance_info")
        if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
            raise BadClipError("has a file that isn't a list of MMPose's frames")
        numbered = [
            (
                frame_number(entry.get("frame_id", at), "frame_id"),
                _frame(entry.get("instances", [])),
            )
            for at, entry in enumerate(content)
        ]
        return people_of_frames(sorted(numbered, key=lambda pair: pair[0]))


def _frame(instances: Sequence[Mapping[str, Any]]) -> Frame:
    if not isinstance(instances, list) or not all(isinstance(one, dict) for one in instances):
        raise BadClipError("has a frame without a list of instances")
    if not instances:
        return Frame()
    try:
        joints = np.array([one["keypoints"] for one in instances], np.float32)
        if joints.ndim == 4 and joints.shape[1] == 1:
            joints = joints[:, 0]
        scores = np.array([one["keypoint_scores"] for one in instances], np.float32)
        scores = scores.reshape(joints.shape[:2])
        ids = [one.get("track_id") for one in instances]
        known = np.array(ids, np.int64) if None not in ids else None
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadClipError("has an instance whose keypoints and scores don't fit") from None
    if joints.ndim == 3 and joints.shape[2] == 3:
        x, y, z = np.moveaxis(joints, -1, 0)
        joints = np.stack((x, z, -y), axis=-1)
    return Frame(joints, scores=scores, ids=known)
