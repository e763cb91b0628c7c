"""NTU's skeletons as its authors' `txt2npy.py` saves them: `S001C001P001R001A001.skeleton.npy`.

A pickled dict with `nbodys` (how many bodies each of the T frames has) and `skel_body0`, ...
`(T, 25, 3)` in metres, zeros where a frame has fewer. A body's place among a frame's says nothing
of who it is: people are followed by where they are.
"""

from __future__ import annotations

import io

import numpy as np

from lastkd.data.bodies import BodyTrack
from lastkd.data.formats.clip_files import BadClipError
from lastkd.data.formats.datasets.pickled import read_npy_object
from lastkd.data.formats.datasets.skeleton_text import MalformedError, Recording
from lastkd.data.formats.people import followed, people_of_frames
from lastkd.data.frames import Frame
from lastkd.data.layouts import Layout, get_layout
from lastkd.data.ntu import KINECT_FPS
from lastkd.errors import UserError

_MOST_BODIES = 16


def parse_skeleton_arrays(content: bytes) -> Recording:
    """The bodies of such a file.

    Raises:
        MalformedError: it is damaged or of another form.
    """
    try:
        said = read_npy_object(io.BytesIO(content), len(content), "it")
    except UserError as error:
        raise MalformedError(str(error).removeprefix("it ")) from None
    if not isinstance(said, dict) or "nbodys" not in said or "skel_body0" not in said:
        raise MalformedError("holds no nbodys and skel_body0")
    layout = get_layout("ntu25")
    try:
        counts = [int(count) for count in said["nbodys"]]
        T, most = len(counts), min(max(counts, default=0), _MOST_BODIES)
        bodies = np.zeros((T, most, layout.num_joints, 3), np.float32)
        for body in range(most):
            bodies[:, body] = said[f"skel_body{body}"]
    except (KeyError, TypeError, ValueError):
        raise MalformedError(
            "has other frames or joints in skel_body0, ... than nbodys says"
        ) from None
    if not np.isfinite(bodies).all():
        raise MalformedError("has a position that is not a finite number")
    frames = [(t, Frame(bodies[t, :count])) for t, count in enumerate(counts) if count]
    return Recording(_tracks(frames, layout), T)


def _tracks(frames: list[tuple[int, Frame]], layout: Layout) -> list[BodyTrack]:
    if not frames:
        return []
    try:
        people = people_of_frames(frames)
        bodies = followed(people, layout, fps=KINECT_FPS)
    except BadClipError as error:
        raise MalformedError(str(error)) from None
    first, stride = frames[0][0], people.stride
    return [
        BodyTrack(first + stride * places, joints, name)
        for name, (places, joints) in bodies.items()
    ]
