"""Azure Kinect's body tracking: a JSON file a recording, by Microsoft's offline_processor.

A file has `frames`, a list of `{"frame_id": 0, "timestamp_usec": 33333, "bodies": [{"body_id": 1,
"joint_positions": [[x, y, z], ...]}]}`: 32 joints in millimetres, with x to the right of the
picture, y down and z away from the camera. Y and z are turned round.
(https://github.com/microsoft/Azure-Kinect-Samples, body-tracking-samples/offline_processor)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.formats.clip_files import (
    BadClipError,
    ClipFiles,
    clip_a_file,
    decode,
    heads,
    read_limited,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.people import People, frame_number, people_of_frames
from lastkd.data.frames import Frame

_TO_METRES = np.array([1, -1, -1], np.float32) / 1000


class AzureKinectJson(EstimatedClips):
    """A folder of such recordings, or one."""

    help = "Azure Kinect's body tracking (offline_processor's JSON of each recording)"
    kind = "Azure Kinect JSON"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(
            b'"joint_positions"' in head or (b'"bone_list"' in head and b'"frames"' in head)
            for head in heads(path, ".json")
        )

    def find(self, root: Path) -> list[ClipFiles]:
        return clip_a_file(root, ".json")

    def people(self, clip: ClipFiles) -> People:
        content = decode(read_limited(clip.files[0]))
        frames = content.get("frames") if isinstance(content, dict) else None
        if not isinstance(frames, list) or not all(isinstance(one, dict) for one in frames):
            raise BadClipError("has no list of frames")
        numbered = [
            (frame_number(frame.get("frame_id", at), "frame_id"), _frame(frame))
            for at, frame in enumerate(frames)
        ]
        return people_of_frames(sorted(numbered, key=lambda pair: pair[0]))


def _frame(frame: Mapping[str, Any]) -> Frame:
    try:
        time = float(frame["timestamp_usec"]) / 1e6 if "timestamp_usec" in frame else None
        bodies = frame.get("bodies") or []
        joints = np.array([body["joint_positions"] for body in bodies], np.float32)
        ids = np.array([body["body_id"] for body in bodies], np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadClipError("has a body without body_id and joint_positions") from None
    if not bodies:
        return Frame(time=time)
    if joints.ndim != 3 or joints.shape[2] != 3:
        raise BadClipError(f"has joint_positions of shape {joints.shape[1:]}, not (32, 3)")
    return Frame(joints * _TO_METRES, time, ids=ids)
