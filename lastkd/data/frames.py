"""Frames of skeletons as pose estimators write them, one JSON value a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.files.json_text import parse_json


@dataclass(frozen=True)
class Frame:
    """What a source says of one moment.

    Attributes:
        joints: `(bodies, V, 2 or 3)`; None where nobody is seen.
        time: in seconds; None where the source doesn't say.
        scores: `(bodies, V)`.
        ids: `(bodies,)`, where the source follows its bodies.
        fault: why there is no frame here: what is broken.
    """

    joints: NDArray[np.floating] | None = None
    time: float | None = None
    scores: NDArray[np.floating] | None = None
    ids: NDArray[np.int64] | None = None
    fault: str | None = None


BROKEN = "lines that aren't JSON skipped"
FOREIGN = "lines that hold no skeletons skipped"


def parse_line(line: str | bytes, *, dimensions: int) -> Frame:
    """One line's frame; a broken line is a frame with a `fault`.

    Args:
        dimensions: of the model's skeleton; decides between MediaPipe's landmarks in space and in
            the image.
    """
    try:
        value = parse_json(line)
    except ValueError:
        return Frame(fault=BROKEN)
    try:
        return parse_frame(value, dimensions=dimensions)
    except (ValueError, TypeError, KeyError, IndexError):
        return Frame(fault=FOREIGN)


def parse_frame(value: Any, *, dimensions: int) -> Frame:
    """The frame in a JSON value; docs/live.md shows the forms.

    lastkd's own (`joints`, `time`, `scores`, `ids`, or the nested list of joints alone), OpenPose
    (`people`), AlphaPose (`keypoints`, alone or in a list), MMPose and RTMPose (`instances`),
    Ultralytics (a list of results with `keypoints`) and MediaPipe (`pose_landmarks`,
    `pose_world_landmarks`).

    Raises:
        ValueError, TypeError, KeyError, IndexError: it holds none of them.
    """
    if isinstance(value, list):
        if value and isinstance(value[0], Mapping):
            return _people([_detection(person) for person in value], time_of(value[0]))
        return Frame(_array(value) if value else None)
    if not isinstance(value, Mapping):
        raise ValueError("neither a list nor a mapping")
    time = time_of(value)
    if "people" in value:
        people = [_openpose(person) for person in value["people"]]
    elif "instances" in value:
        people = [_mmpose(person) for person in value["instances"]]
    elif "keypoints" in value:
        people = [_detection(value)]
    elif "joints" in value:
        return _own(value, time)
    else:
        return _mediapipe(value, time, dimensions)
    return _people(people, time)


Person = tuple[NDArray[np.floating], NDArray[np.floating] | None, int | None]
"""Joints `(V, 2 or 3)`, scores `(V,)` and an id."""


def _own(value: Mapping[str, Any], time: float | None) -> Frame:
    joints = _array(value["joints"]) if value["joints"] else None
    scores = _array(value["scores"]) if value.get("scores") else None
    ids = np.array(value["ids"], np.int64) if value.get("ids") else None
    return Frame(joints, time, scores, ids)


def _people(people: Sequence[Person], time: float | None) -> Frame:
    if not people:
        return Frame(time=time)
    joints, scores, ids = zip(*people, strict=True)
    if len({one.shape for one in joints}) > 1:
        raise ValueError("people of different skeletons")
    scored = None if any(one is None for one in scores) else np.stack(scores)
    named = None if any(one is None for one in ids) else np.array(ids, np.int64)
    return Frame(np.stack(joints), time, scored, named)


def _openpose(person: Mapping[str, Any]) -> Person:
    numbers = person.get("person_id", [-1])
    number = int(numbers[0] if isinstance(numbers, list) else numbers)
    if person.get("pose_keypoints_3d"):
        rows = _array(person["pose_keypoints_3d"]).reshape(-1, 4)
        joints, scores = rows[:, :3], rows[:, 3]
    else:
        rows = _array(person["pose_keypoints_2d"]).reshape(-1, 3)
        joints, scores = rows[:, :2], rows[:, 2]
    return joints, scores, number if number >= 0 else None


def _mmpose(person: Mapping[str, Any]) -> Person:
    joints = _array(person["keypoints"])
    scores = person.get("keypoint_scores")
    number = person.get("track_id", person.get("instance_id"))
    return joints, None if scores is None else _array(scores), _id(number)


def _detection(person: Mapping[str, Any]) -> Person:
    """AlphaPose's and Ultralytics' result of one person."""
    points = person["keypoints"]
    if isinstance(points, Mapping):
        joints = np.stack((_array(points["x"]), _array(points["y"])), axis=1)
        visible = points.get("visible")
        return joints, None if visible is None else _array(visible), _id(person.get("track_id"))
    rows = _array(points)
    if rows.ndim == 1:
        rows = rows.reshape(-1, 3)
    return rows[:, :2], rows[:, 2], _id(person.get("idx"))


def _mediapipe(value: Mapping[str, Any], time: float | None, dimensions: int) -> Frame:
    """In space: metres with y up and z towards the camera; in the image: pixels where it says how
    many it has, else shares of its width and height."""
    flat = dimensions == 2
    key = "pose_landmarks" if flat else "pose_world_landmarks"
    poses = value[key]
    if poses and isinstance(poses[0], Mapping):
        poses = [poses]
    if not poses:
        return Frame(time=time)
    rows = np.array(
        [
            [(p["x"], p["y"], p.get("z", 0.0), p.get("visibility", 1.0)) for p in pose]
            for pose in poses
        ],
        np.float32,
    )
    if flat:
        places = rows[..., :2] * _array([value.get("width", 1), value.get("height", 1)])
    else:
        places = rows[..., :3] * _array([1, -1, -1])
    return Frame(places, time, rows[..., 3])


def _id(number: Any) -> int | None:
    if isinstance(number, list):
        number = number[0] if len(number) == 1 else None
    return None if number is None else int(number)


def _array(value: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = np.array(value, np.float32)  # null becomes NaN
    return array


def time_of(value: Mapping[str, Any]) -> float | None:
    """The moment of a frame in seconds, by `time`, `timestamp` or `timestamp_ms`; else None."""
    if value.get("time") is not None:
        return float(value["time"])
    if value.get("timestamp") is not None:
        return float(value["timestamp"])
    if value.get("timestamp_ms") is not None:
        return float(value["timestamp_ms"]) / 1000
    return None
