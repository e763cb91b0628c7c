"""What pose estimators write of the same people, made up: each writer takes clips in pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.layouts import get_layout

SIZE = (1280, 720)


@dataclass
class Filmed:
    """One video: joints `(T, M, V, 2)` in pixels, scores `(T, M, V)`, which of the people are seen.

    Attributes:
        ids: whether the estimator numbers people.
    """

    name: str
    joints: np.ndarray
    scores: np.ndarray
    seen: np.ndarray
    ids: bool = False


def film(
    name: str, V: int, *, T: int = 40, people: int = 1, action: int = 0, seed: int = 0
) -> Filmed:
    """People who stand apart and move by the action: its number is how fast their joints swing."""
    rng = np.random.default_rng(seed)
    body = rng.uniform([300, 200], [420, 500], (V, 2))
    # further people are smaller copies beside the first one, so that they move less
    body = np.stack([body * 0.9**person + [350 * person, 0] for person in range(people)])
    swing = 25 * np.sin(np.arange(T)[:, None] * (action + 1) / 6 + np.arange(V) / 4)
    joints = np.repeat(body[None], T, axis=0)
    joints[..., 1] += swing[:, None] * np.linspace(1, 0.4, people)[:, None]
    scores = rng.uniform(0.5, 1, (T, people, V))
    return Filmed(name, np.round(joints, 2), np.round(scores, 3), np.ones((T, people), bool))


def _people(clip: Filmed, frame: int) -> list[int]:
    """The people of a frame, in an order that changes from frame to frame."""
    seen = np.flatnonzero(clip.seen[frame]).tolist()
    return seen[::-1] if frame % 3 == 1 else seen


def _rows(clip: Filmed, frame: int, person: int) -> list[list[float]]:
    points = clip.joints[frame, person]
    return np.concatenate([points, clip.scores[frame, person, :, None]], axis=1).tolist()


def openpose(clips: Sequence[Filmed], folder: Path) -> Path:
    for clip in clips:
        out = folder / "openpose" / clip.name
        out.mkdir(parents=True)
        for frame in range(len(clip.joints)):
            people = [
                {
                    "person_id": [person if clip.ids else -1],
                    "pose_keypoints_2d": np.ravel(_rows(clip, frame, person)).tolist(),
                    "face_keypoints_2d": [],
                    "pose_keypoints_3d": [],
                }
                for person in _people(clip, frame)
            ]
            name = f"{Path(clip.name).name}_{frame:012}_keypoints.json"
            (out / name).write_text(json.dumps({"version": 1.3, "people": people}))
    return folder / "openpose"


def alphapose(clips: Sequence[Filmed], folder: Path) -> Path:
    for clip in clips:
        out = folder / "alphapose" / clip.name
        out.mkdir(parents=True)
        entries: list[dict[str, Any]] = []
        for frame in range(len(clip.joints)):
            for person in _people(clip, frame):
                entry = {
                    "image_id": f"{frame}.jpg",
                    "category_id": 1,
                    "keypoints": np.ravel(_rows(clip, frame, person)).tolist(),
                    "score": 2.5,
                    "box": [0, 0, 1, 1],
                }
                entries.append(entry | ({"idx": [float(person + 1)]} if clip.ids else {}))
        (out / "alphapose-results.json").write_text(json.dumps(entries))
    return folder / "alphapose"


def _instances(clip: Filmed, frame: int) -> list[dict[str, Any]]:
    return [
        {
            "keypoints": clip.joints[frame, person].tolist(),
            "keypoint_scores": clip.scores[frame, person].tolist(),
            "bbox": [[0, 0, 1, 1]],
            "bbox_score": 0.9,
            **({"track_id": person} if clip.ids else {}),
        }
        for person in _people(clip, frame)
    ]


def mmpose(clips: Sequence[Filmed], folder: Path) -> Path:
    for clip in clips:
        path = folder / "mmpose" / f"{clip.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = [
            {"frame_id": frame, "instances": _instances(clip, frame)}
            for frame in range(len(clip.joints))
        ]
        path.write_text(json.dumps({"meta_info": {}, "instance_info": frames}))
    return folder / "mmpose"


def mmpose_images(clips: Sequence[Filmed], folder: Path) -> Path:
    for clip in clips:
        out = folder / "mmpose-images" / clip.name
        out.mkdir(parents=True)
        for frame in range(len(clip.joints)):
            (out / f"{frame:06}.json").write_text(json.dumps(_instances(clip, frame)))
    return folder / "mmpose-images"


def _results(clip: Filmed, frame: int) -> list[dict[str, Any]]:
    return [
        {
            "name": "person",
            "class": 0,
            "confidence": 0.9,
            "box": {"x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0},
            **({"track_id": person + 1} if clip.ids else {}),
            "keypoints": {
                "x": clip.joints[frame, person, :, 0].tolist(),
                "y": clip.joints[frame, person, :, 1].tolist(),
                "visible": clip.scores[frame, person].tolist(),
            },
        }
        for person in _people(clip, frame)
    ]


def ultralytics(clips: Sequence[Filmed], folder: Path) -> Path:
    for clip in clips:
        path = folder / "ultralytics" / f"{clip.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([_results(clip, frame) for frame in range(len(clip.joints))]))
    return folder / "ultralytics"


def ultralytics_txt(clips: Sequence[Filmed], folder: Path) -> Path:
    out = folder / "labels"
    for clip in clips:
        (out / clip.name).parent.mkdir(parents=True, exist_ok=True)
        for frame in range(len(clip.joints)):
            lines = []
            for person in _people(clip, frame):
                points = clip.joints[frame, person] / SIZE
                rows = np.concatenate([points, clip.scores[frame, person, :, None]], axis=1)
                track = [person + 1] if clip.ids else []
                values = [0, 0.5, 0.5, 0.2, 0.4, *rows.ravel(), *track]
                lines.append(" ".join(f"{value:.8g}" for value in values))
            if lines:  # it writes no file for a frame without anybody
                (out / f"{clip.name}_{frame + 1}.txt").write_text("\n".join(lines) + "\n")
    return out


def _landmarks(rows: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip(("x", "y", "z", "visibility"), row, strict=True)) for row in rows.tolist()]


def _image_rows(clip: Filmed, frame: int) -> np.ndarray:
    points = clip.joints[frame, 0] / SIZE
    depth = np.zeros((len(points), 1))
    return np.concatenate([points, depth, clip.scores[frame, 0, :, None]], axis=1)


def mediapipe_image(clips: Sequence[Filmed], folder: Path) -> Path:
    out = folder / "mediapipe"
    for clip in clips:
        path = out / f"{clip.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps(_landmarks(_image_rows(clip, frame)) if clip.seen[frame, 0] else [])
            for frame in range(len(clip.joints))
        ]
        path.write_text("\n".join(lines))
    return out


def in_the_world(clip: Filmed) -> np.ndarray:
    """`(T, 33, 3)` metres round the hips, y up: what the store should see."""
    flat = (clip.joints[:, 0] - [360, 350]) / 250
    joints = np.concatenate([flat * [1, -1], np.cos(flat[..., :1])], axis=-1)
    return (joints - joints[:, 23:25].mean(axis=1, keepdims=True)).astype(np.float32)


def mediapipe_world(clips: Sequence[Filmed], folder: Path) -> Path:
    out = folder / "mediapipe-world"
    for clip in clips:
        path = out / f"{clip.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        for frame, joints in enumerate(in_the_world(clip)):
            rows = np.concatenate([joints * [1, -1, -1], clip.scores[frame, 0, :, None]], axis=1)
            both = {
                "pose_landmarks": _landmarks(_image_rows(clip, frame)),
                "pose_world_landmarks": _landmarks(rows),
            }
            lines.append(json.dumps(both if clip.seen[frame, 0] else {"pose_landmarks": []}))
        path.write_text("\n".join(lines))
    return out


def mediapipe_npy(clips: Sequence[Filmed], folder: Path) -> Path:
    out = folder / "mediapipe-npy"
    for clip in clips:
        path = out / f"{clip.name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, in_the_world(clip) * [1, -1, -1] * clip.seen[:, :1, None])
    return out


Write = Callable[[Sequence[Filmed], Path], Path]
FLAT_WRITERS: dict[str, tuple[Write, int, str, str]] = {
    "OpenPose, BODY_25": (openpose, 25, "body25", "OpenPose JSON"),
    "OpenPose, COCO": (openpose, 18, "coco18", "OpenPose JSON"),
    "AlphaPose, COCO": (alphapose, 17, "coco17", "AlphaPose JSON"),
    "AlphaPose, Halpe": (alphapose, 26, "halpe26", "AlphaPose JSON"),
    "AlphaPose, whole body": (alphapose, 136, "halpe26", "AlphaPose JSON"),
    "MMPose, video": (mmpose, 17, "coco17", "MMPose JSON"),
    "MMPose, whole body": (mmpose, 133, "coco17", "MMPose JSON"),
    "MMPose, images": (mmpose_images, 26, "halpe26", "MMPose JSON"),
    "Ultralytics, JSON": (ultralytics, 17, "coco17", "Ultralytics poses"),
    "Ultralytics, txt": (ultralytics_txt, 17, "coco17", "Ultralytics poses"),
    "MediaPipe, image": (mediapipe_image, 33, "mediapipe33_image", "MediaPipe landmarks"),
}
"""By name: the writer, its joints, the layout, and how lastkd calls it."""


def expected(clip: Filmed, layout: str) -> np.ndarray:
    """The joints `(T, M, V, 3)` that a flat clip should have: x, y and the score."""
    V = get_layout(layout).num_joints
    rows = np.concatenate([clip.joints, clip.scores[..., None]], axis=-1)[:, :, :V]
    rows[~clip.seen] = 0
    return rows.astype(np.float32)
