"""Estimators' files and tables of made-up clips: small for `fuzz.py`, many for `prepare.py`."""

from __future__ import annotations

import io
import json
import pickle
import random
from collections.abc import Sequence

import numpy as np

Files = dict[str, bytes]
"""An input: relative path -> content."""
CLIPS, FRAMES = ("a", "b"), 4
UCLA_CLIPS = ("a01_s01_e00_v01", "a02_s01_e00_v03")


def labels(clips: Sequence[str] = CLIPS) -> bytes:
    """A table: every second clip tests."""
    lines = ["file,label,performer,split,width,height,fps"]
    for at, clip in enumerate(clips):
        lines.append(f"{clip},{at % 2},{1 + at % 2},{'test' if at % 2 else 'train'},640,480,25")
    return "\n".join(lines).encode()


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


def openpose(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    files = {"labels.csv": labels(clips)}
    for clip in clips:
        for frame in range(frames):
            person = {"person_id": [-1], "pose_keypoints_2d": flat(25, frame)}
            content = {"version": 1.3, "people": [person, person][: 1 + (frame == 1)]}
            files[f"set/{clip}/{clip}_{frame:012}_keypoints.json"] = _dump(content)
    return files


def alphapose(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    entries = [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": flat(17, frame),
         "score": 2.5, "idx": 1}
        for frame in range(frames)
    ]  # fmt: skip
    return {"labels.csv": labels(clips), **{f"set/{clip}.json": _dump(entries) for clip in clips}}


def mmpose(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    entries = []
    for frame in range(frames):
        points = rows(17, frame)
        one = {"keypoints": [p[:2] for p in points], "keypoint_scores": [p[2] for p in points]}
        entries.append({"frame_id": frame, "instances": [one]})
    content = _dump({"meta_info": {}, "instance_info": entries})
    return {"labels.csv": labels(clips), **{f"set/{clip}.json": content for clip in clips}}


def kinetics() -> Files:
    data = []
    for frame in range(FRAMES):
        points = rows(18, frame)
        pose = {"pose": [x for p in points for x in p[:2]], "score": [p[2] for p in points]}
        data.append({"frame_index": frame + 1, "skeleton": [pose]})
    return {
        f"set/{clip}.json": _dump({"data": data, "label": clip, "label_index": at})
        for at, clip in enumerate(CLIPS)
    }


def azure_kinect() -> Files:
    files = {"labels.csv": labels(CLIPS)}
    for clip in CLIPS:
        frames = []
        for frame in range(FRAMES):
            places = [[x, -y, 2000 + score] for x, y, score in rows(32, frame)]
            body = {"body_id": 1, "joint_positions": places}
            frames.append({"bodies": [body], "frame_id": frame, "timestamp_usec": 33333 * frame})
        files[f"set/{clip}.json"] = _dump({"bone_list": [], "frames": frames})
    return files


def ultralytics(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    results = []
    for frame in range(frames):
        x, y, visible = map(list, zip(*rows(17, frame), strict=True))
        keypoints = {"x": x, "y": y, "visible": visible}
        results.append([{"name": "person", "class": 0, "track_id": 1, "keypoints": keypoints}])
    content = _dump(results)
    return {"labels.csv": labels(clips), **{f"set/{clip}.json": content for clip in clips}}


def ultralytics_txt(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    files = {"labels.csv": labels(clips)}
    for clip in clips:
        for frame in range(frames):
            values = [0, 0.5, 0.5, 0.2, 0.4]
            for x, y, score in rows(17, frame):
                values += [x / 640, y / 480, score]
            line = " ".join(f"{value:.5g}" for value in values) + " 1\n"
            files[f"set/{clip}_{frame}.txt"] = (line * (1 + (frame == 1))).encode()
    return files


def mediapipe(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    content = b"\n".join(_landmarks(frames))
    return {"labels.csv": labels(clips), **{f"set/{clip}.jsonl": content for clip in clips}}


def mediapipe_json(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    content = b"[" + b",".join(_landmarks(frames)) + b"]"
    return {"labels.csv": labels(clips), **{f"set/{clip}.json": content for clip in clips}}


def _landmarks(frames: int) -> list[bytes]:
    lines = []
    for frame in range(frames):
        points = [
            {"x": x / 640, "y": y / 480, "z": 0.1, "visibility": score}
            for x, y, score in rows(33, frame)
        ]
        about = {"width": 640, "height": 480, "timestamp_ms": 40 * frame}
        lines.append(_dump({"pose_landmarks": points, **about}))
    return lines


def mediapipe_npy(clips: Sequence[str] = CLIPS, frames: int = FRAMES) -> Files:
    packed = io.BytesIO()
    array = np.random.default_rng(0).normal(size=(frames, 33, 4)).astype(np.float32)
    array[:, 23:25, :3], array[..., 3] = 0.01, 0.9
    np.save(packed, array)
    content = packed.getvalue()
    return {"labels.csv": labels(clips), **{f"set/{clip}.npy": content for clip in clips}}


def nw_ucla(names: Sequence[str] = UCLA_CLIPS, frames: int = FRAMES) -> Files:
    joints = np.random.default_rng(0).normal(size=(frames, 20, 3)).tolist()
    return {
        f"set/{name}.json": _dump({"file_name": name, "skeletons": joints, "label": 1})
        for name in names
    }


def csv_table() -> Files:
    return alphapose()


def lists() -> Files:
    return {"train.txt": b"a 0\nb 1\n", "test.txt": b"videos/c.avi 2\n"}


def _loose_joints() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(6, 2, 25, 3)).astype(np.float32)


def loose_array() -> Files:
    packed = io.BytesIO()
    np.save(packed, _loose_joints())
    return {"clip.npy": packed.getvalue()}


def loose_arrays() -> Files:
    packed = io.BytesIO()
    joints = _loose_joints()
    np.savez_compressed(packed, joints=joints, scores=np.ones(joints.shape[:3]))
    return {"clip.npz": packed.getvalue()}


def set_arrays() -> Files:
    packed = io.BytesIO()
    clips = np.stack([_loose_joints()] * 4)
    names = np.array(["nod", "wave", "nod", "wave"])
    np.savez_compressed(packed, X_train=clips, y_train=names, X_test=clips, y_test=names)
    return {"set.npz": packed.getvalue()}


def _set_of_dicts() -> list[dict[str, object]]:
    return [
        {"name": name, "joints": _loose_joints(), "label": at % 2, "subject": name}
        for at, name in enumerate((*CLIPS, "c"))
    ]


def set_pickle() -> Files:
    return {"set.pkl": pickle.dumps(_set_of_dicts())}


def set_objects() -> Files:
    packed = io.BytesIO()
    array = np.empty(3, object)
    array[:] = _set_of_dicts()
    np.save(packed, array, allow_pickle=True)
    return {"set.npy": packed.getvalue()}


def skeleton_arrays() -> Files:
    packed = io.BytesIO()
    joints = np.random.default_rng(0).normal(size=(6, 25, 3))
    said = {"nbodys": [2] * 5 + [1], "skel_body0": joints, "skel_body1": joints + 1}
    np.save(packed, said, allow_pickle=True)  # type: ignore[arg-type]
    return {"raw/S001C001P001R001A001.skeleton.npy": packed.getvalue()}


def loose_table() -> Files:
    rows = _loose_joints().reshape(6, -1).tolist()
    return {"clip.csv": "\n".join(",".join(f"{x:.4f}" for x in row) for row in rows).encode()}


def joint_table() -> Files:
    lines = ["clip,frame,joint,x,y,score,label"]
    for clip in CLIPS:
        for frame in range(FRAMES):
            for joint, (x, y, score) in enumerate(rows(17, frame)):
                lines.append(f"{clip},{frame},{joint},{x:.3f},{y:.3f},{score:.3f},{clip}")
    return {"poses.csv": "\n".join(lines).encode()}


def frame_table() -> Files:
    heading = [f"{channel}{joint}" for joint in range(17) for channel in ("x", "y", "v")]
    lines = [",".join(["video", "frame", "label", "person_id", *heading])]
    for clip in CLIPS:
        for frame in range(FRAMES):
            cells = [f"{x:.3f}" for row in rows(17, frame) for x in row]
            lines.append(",".join([clip, str(frame), f"class {clip}", "1", *cells]))
    return {"poses.csv": "\n".join(lines).encode()}
