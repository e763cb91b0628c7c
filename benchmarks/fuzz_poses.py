"""The small valid inputs of estimators' formats and tables, for `fuzz.py`."""

from __future__ import annotations

import io
import json
import random

import numpy as np

Files = dict[str, bytes]
"""An input: relative path -> content."""
FRAMES = 4
LABELS = b"file,label,performer,split,width,height\na,0,1,train,640,480\nb,1,2,test,640,480\n"


def rows(joints: int, seed: int) -> list[list[float]]:
    """x, y and a score of each joint."""
    rng = random.Random(seed)
    return [
        [round(rng.uniform(100, 300), 2), round(rng.uniform(50, 400), 2), 0.8]
        for _ in range(joints)
    ]


def flat(joints: int, seed: int) -> list[float]:
    return [number for row in rows(joints, seed) for number in row]


def _dump(value: object) -> bytes:
    return json.dumps(value).encode()


def openpose() -> Files:
    files = {"labels.csv": LABELS}
    for clip in "ab":
        for frame in range(FRAMES):
            person = {"person_id": [-1], "pose_keypoints_2d": flat(25, frame)}
            content = {"version": 1.3, "people": [person, person][: 1 + frame % 2]}
            files[f"set/{clip}/{clip}_{frame:012}_keypoints.json"] = _dump(content)
    return files


def alphapose() -> Files:
    entries = [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": flat(17, frame),
         "score": 2.5, "idx": 1}
        for frame in range(FRAMES)
    ]  # fmt: skip
    return {"labels.csv": LABELS, **{f"set/{clip}.json": _dump(entries) for clip in "ab"}}


def mmpose() -> Files:
    frames = []
    for frame in range(FRAMES):
        points = rows(17, frame)
        one = {"keypoints": [p[:2] for p in points], "keypoint_scores": [p[2] for p in points]}
        frames.append({"frame_id": frame, "instances": [one]})
    content = _dump({"meta_info": {}, "instance_info": frames})
    return {"labels.csv": LABELS, "set/a.json": content, "set/b.json": content}


def ultralytics() -> Files:
    frames = []
    for frame in range(FRAMES):
        x, y, visible = map(list, zip(*rows(17, frame), strict=True))
        keypoints = {"x": x, "y": y, "visible": visible}
        frames.append([{"name": "person", "class": 0, "track_id": 1, "keypoints": keypoints}])
    return {"labels.csv": LABELS, "set/a.json": _dump(frames), "set/b.json": _dump(frames)}


def ultralytics_txt() -> Files:
    files = {"labels.csv": LABELS}
    for clip in "ab":
        for frame in range(FRAMES):
            values = [0, 0.5, 0.5, 0.2, 0.4]
            for x, y, score in rows(17, frame):
                values += [x / 640, y / 480, score]
            line = " ".join(f"{value:.5g}" for value in values) + " 1\n"
            files[f"set/{clip}_{frame}.txt"] = (line * (1 + frame % 2)).encode()
    return files


def mediapipe() -> Files:
    lines = []
    for frame in range(FRAMES):
        points = [
            {"x": x / 640, "y": y / 480, "z": 0.1, "visibility": score}
            for x, y, score in rows(33, frame)
        ]
        lines.append(_dump({"pose_landmarks": points, "width": 640, "height": 480}))
    content = b"\n".join(lines)
    return {"labels.csv": LABELS, "set/a.jsonl": content, "set/b.jsonl": content}


def mediapipe_npy() -> Files:
    packed = io.BytesIO()
    array = np.random.default_rng(0).normal(size=(FRAMES, 33, 4)).astype(np.float32)
    array[:, 23:25, :3] = 0.01
    np.save(packed, array)
    return {"labels.csv": LABELS, "set/a.npy": packed.getvalue(), "set/b.npy": packed.getvalue()}


def nw_ucla() -> Files:
    joints = np.random.default_rng(0).normal(size=(FRAMES, 20, 3)).round(4).tolist()
    names = ("a01_s01_e00_v01", "a02_s01_e00_v03")
    return {
        f"set/{name}.json": _dump({"file_name": name, "skeletons": joints, "label": 1})
        for name in names
    }


def csv_table() -> Files:
    return {**alphapose(), "labels.csv": LABELS}


def lists() -> Files:
    return {"train.txt": b"a 0\nb 1\n", "test.txt": b"videos/c.avi 2\n"}


def loose_array() -> Files:
    packed = io.BytesIO()
    np.save(packed, np.random.default_rng(0).normal(size=(6, 2, 25, 3)).astype(np.float32))
    return {"clip.npy": packed.getvalue()}
