"""Azure Kinect's JSON: bodies with ids in millimetres, y down and z away from the camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lastkd.data.open_source import format_of, open_source

T = 30


def bodies(seed: int = 0) -> np.ndarray:
    """Joints `(T, 2, 32, 3)` in metres, y up, of two people beside each other."""
    rng = np.random.default_rng(seed)
    first = rng.uniform([-0.5, -1, -3], [0.5, 0.8, -2.5], (32, 3))
    people = np.stack([first, 0.9 * first + [1.5, 0, 0]])
    sway = 0.2 * np.sin(np.arange(T) / 5)[:, None] * [1.0, 0.4]
    return np.asarray(people + sway[:, :, None, None], np.float32)


def write(path: Path, joints: np.ndarray, *, nobody: int = 0) -> Path:
    frames = [{"bodies": [], "frame_id": at, "num_bodies": 0} for at in range(nobody)]
    for at, frame in enumerate(joints, start=nobody):
        found = [
            {
                "body_id": 7 + person,
                "joint_orientations": [[1, 0, 0, 0]] * 32,
                "joint_positions": (places * [1000, -1000, -1000]).tolist(),
            }
            for person, places in enumerate(frame)
        ]
        frames.append({"bodies": found[:: (-1) ** at], "frame_id": at, "num_bodies": 2})
    for frame in frames:
        frame["timestamp_usec"] = 500_000 + round(frame["frame_id"] * 1e6 / 15)
    content = {"bone_list": [["NECK", "HEAD"]], "frames": frames, "joint_names": ["PELVIS"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_people_are_read_by_their_ids_in_metres_with_y_up(tmp_path: Path) -> None:
    for at, name in enumerate(("wave/a", "nod/b")):
        write(tmp_path / "set" / f"{name}.json", bodies(at), nobody=3)
    source = open_source(str(tmp_path / "set"))
    assert (source.kind, source.layout.name) == ("Azure Kinect JSON", "azure32")
    assert source.class_names == ("nod", "wave")
    clips = {clip.name: clip for clip in source}
    np.testing.assert_allclose(clips["a"].joints, bodies(0), atol=1e-5)
    np.testing.assert_allclose(clips["b"].joints, bodies(1), atol=1e-5)
    assert clips["a"].fps == 15.0


def test_a_recording_that_begins_empty_is_recognised(tmp_path: Path) -> None:
    assert format_of(write(tmp_path / "a.json", bodies()[:0], nobody=2000)) == "azure-kinect"


def test_a_broken_body_is_a_bad_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "set" / "wave" / "a.json", bodies())
    write(tmp_path / "set" / "nod" / "b.json", bodies())
    content = json.loads(path.read_text())
    del content["frames"][4]["bodies"][0]["joint_positions"]
    path.write_text(json.dumps(content))
    source = open_source(str(tmp_path / "set"))
    faults = [reading.fault for reading in source.read(0, 2) if reading.fault]
    assert len(faults) == 1 and "has a body without body_id and joint_positions" in faults[0]
