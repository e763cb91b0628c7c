"""Writes clips as NTU's raw `.skeleton` text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lastkd.data.clip import Clip, FloatArray

_JOINTS = 25
# depth x y, colour x y, orientation w x y z (unknown), and tracking state 2: tracked
_UNKNOWN = "0 0 0 0 0 0 0 0 2"
# clipped edges, confidence and state of both hands, restricted, lean x y, tracking state
_BODY = "0 1 1 1 1 0 0 0 2"


def _body_id(body: int) -> str:
    return f"7205759403793{body + 1:04d}"


def _skeleton_text(joints: FloatArray) -> str:
    present = (np.abs(joints).sum(axis=(2, 3)) > 0).tolist()
    lines = [str(len(joints))]
    for bodies, here in zip(joints.tolist(), present, strict=True):
        lines.append(str(sum(here)))
        for body, places in enumerate(bodies):
            if not here[body]:
                continue
            lines += [f"{_body_id(body)} {_BODY}", str(_JOINTS)]
            lines += [f"{x:.9g} {y:.9g} {z:.9g} {_UNKNOWN}" for x, y, z in places]
    return "\n".join(lines) + "\n"


def write_skeleton_files(clips: Iterable[Clip], folder: Path) -> int:
    """Write each clip as `<name>.skeleton`, the text that the Kinect recordings come in.

    A body that is all zeros in a frame is left out of that frame. Coordinates keep nine digits, so
    reading them gives back the same float32. What a clip doesn't hold (depth and colour pixels,
    orientations) is written as zeros.

    Args:
        clips: with joints `(T, M, 25, 3)` in metres.
        folder: made if it isn't there; files of the same names are replaced.

    Returns:
        The number of files written.

    Raises:
        ValueError: a clip doesn't have 25 joints of three coordinates.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for clip in clips:
        if clip.joints.ndim != 4 or clip.joints.shape[2:] != (_JOINTS, 3):
            raise ValueError(
                f"clip {clip.name} has joints of shape {clip.joints.shape}; "
                "the raw text holds (T, M, 25, 3)"
            )
        text = _skeleton_text(clip.joints)
        (folder / f"{clip.name}.skeleton").write_text(text, encoding="utf-8", newline="\n")
        written += 1
    return written
