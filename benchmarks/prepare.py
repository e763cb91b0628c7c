"""How fast each format becomes clips, and how fast a store opens.

    python benchmarks/prepare.py [--json] [--files 2000] [--store-clips 40000] [--keep FOLDER]

The raw files are generated in the real shape: 17-digit ids, 12 values a joint with the digits that
a Kinect writes, 75 frames in the median, two bodies in one file of five. Folder and zip are read in
one process, so MB/s are those of a core; beside them a line-by-line reader in plain Python, which
chooses no bodies. Rounds are interleaved, and the median of each counts. `cpu_mb_s` leaves out the
time in which the process didn't run: what is measured on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import pickle
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pose_files

from lastkd.data.clip import Clip
from lastkd.data.formats.base import Source
from lastkd.data.layouts import get_layout
from lastkd.data.open_source import open_source
from lastkd.data.store.clip_store import CLIPS_FILE, ClipStore
from lastkd.data.store.packing import pack_clips, pack_readings
from lastkd.data.store.writer import StoreWriter

FRAMES_MEDIAN, FRAMES_SPREAD = 75, 0.35
CHUNK = 64


def frame_counts(rng: np.random.Generator, count: int) -> list[int]:
    frames = FRAMES_MEDIAN * np.exp(FRAMES_SPREAD * rng.standard_normal(count))
    return np.clip(np.round(frames), 20, 300).astype(int).tolist()


def skeleton_text(rng: np.random.Generator, frames: int, bodies: int) -> str:
    """A recording: smooth paths, and the digits that a Kinect writes."""
    values = np.empty((frames, bodies, 25, 11))
    values[..., :3] = rng.uniform(-1, 1, (1, bodies, 25, 3)) * [0.5, 0.9, 0.3] + [0, 0, 3.2]
    values[..., :3] += np.cumsum(0.01 * rng.standard_normal((frames, bodies, 25, 3)), axis=0)
    values[..., 3:5] = rng.uniform(100, 400, (frames, bodies, 25, 2))
    values[..., 5:7] = rng.uniform(300, 1500, (frames, bodies, 25, 2))
    values[..., 7:] = rng.uniform(-1, 1, (frames, bodies, 25, 4))
    lines = [str(frames)]
    for frame in values.tolist():
        lines.append(str(bodies))
        for number, joints in enumerate(frame):
            body = f"7205759403793{number + 1:04} 0 1 1 1 1 0 {joints[0][0]:.8g} 0.2416577 2"
            lines += [body, "25"]
            lines += [
                " ".join([f"{value:.7g}" for value in joint[:7]])
                + " "
                + " ".join([f"{value:.8g}" for value in joint[7:]])
                + " 2"
                for joint in joints
            ]
    return "\n".join(lines) + "\n"


def write_files(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index, frames in enumerate(frame_counts(rng, count)):
        two = index % 5 == 0
        action = 50 + index % 10 if two else 1 + index % 49
        performer, rest = 1 + index % 40, index // 40
        name = f"S{1 + rest % 17:03}C{1 + rest // 17 % 3:03}P{performer:03}"
        name += f"R{1 + rest // 51:03}A{action:03}.skeleton"
        (folder / name).write_text(skeleton_text(rng, frames, 1 + two), encoding="ascii")


def plainly_read(path: Path) -> list[list[list[float]]]:
    """The joints of all bodies, read as the field's scripts do."""
    joints = []
    with path.open() as file:
        for _ in range(int(file.readline())):
            for _ in range(int(file.readline())):
                file.readline()
                for _ in range(int(file.readline())):
                    values = file.readline().split()
                    joints.append([float(values[0]), float(values[1]), float(values[2])])
    return joints


def read_all(source: Source) -> int:
    """The number of clips read, with bodies chosen, but neither centred nor written."""
    clips = [reading.clip for reading in source.read(0, len(source))]
    return sum(clip is not None for clip in clips)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds and processor seconds of `work`."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - busy


def write_arrays(clips: list[Clip], folder: Path) -> dict[str, Path]:
    """The same clips as a pyskl pickle, as CTR-GCN's npz, plain and compressed, and as arrays."""
    annotations = [
        {
            "frame_dir": clip.name,
            "label": clip.label,
            "keypoint": clip.joints.transpose(1, 0, 2, 3).astype(np.float16),
            "total_frames": len(clip.joints),
        }
        for clip in clips
    ]
    paths = {"pyskl": folder / "set.pkl", "npz": folder / "set_CS.npz"}
    paths["npz, compressed"] = folder / "packed_CS.npz"
    paths["pyskl"].write_bytes(pickle.dumps({"split": {}, "annotations": annotations}))
    padded = np.zeros((len(clips), 300, 2, 25, 3), np.float32)
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip.joints), : clip.joints.shape[1]] = clip.joints
    one_hot = np.eye(60)[[clip.label for clip in clips]]
    half = len(clips) // 2
    arrays = {"x_train": padded[:half].reshape(half, 300, 150), "y_train": one_hot[:half]}
    arrays |= {"x_test": padded[half:].reshape(-1, 300, 150), "y_test": one_hot[half:]}
    np.savez(paths["npz"], **arrays)
    paths["arrays"] = folder / "xsub"
    paths["arrays"].mkdir(exist_ok=True)
    for part, some in (("train", slice(0, half)), ("val", slice(half, None))):
        rows = np.ascontiguousarray(padded[some].transpose(0, 4, 1, 3, 2))
        np.save(paths["arrays"] / f"{part}_joint.npy", rows)
        labels = [clip.label for clip in clips[some]]
        (paths["arrays"] / f"{part}_label.pkl").write_bytes(pickle.dumps(labels))
    np.savez_compressed(paths["npz, compressed"], **arrays)
    return paths


POSES: dict[str, Callable[[list[str], int], pose_files.Files]] = {
    "OpenPose": pose_files.openpose,
    "AlphaPose": pose_files.alphapose,
    "MMPose": pose_files.mmpose,
    "Ultralytics": pose_files.ultralytics,
    "Ultralytics, txt": pose_files.ultralytics_txt,
    "MediaPipe": pose_files.mediapipe,
    "MediaPipe, npy": pose_files.mediapipe_npy,
    "NW-UCLA": pose_files.nw_ucla,
}
POSE_FRAMES = 40


def measure_poses(work: Path, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Clips a second of each estimator's files, of 40 frames and mostly one person."""
    result = {}
    for name, write in POSES.items():
        folder = work / "poses" / name
        clips = [f"clip-{at:04}" for at in range(count)]
        if name == "NW-UCLA":
            clips = [f"a01_s{at // 30:02}_e{at % 30:02}_v01" for at in range(count)]
        for path, content in write(clips, POSE_FRAMES).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        table = None if name == "NW-UCLA" else folder / "labels.csv"
        source = open_source(str(folder / "set"), labels=table)
        taken = [timed(lambda source=source: read_all(source)) for _ in range(rounds)]
        median, busy = (statistics.median(one[at] for one in taken) for at in (0, 1))
        result[name] = {
            "clips_s": round(count / median, 1),
            "cpu_clips_s": round(count / busy, 1),
        }
    return result


def open_store(folder: Path, count: int) -> dict[str, float]:
    """Seconds to open a store of `count` clips, and its size against its joints."""
    rng = np.random.default_rng(1)
    layout = get_layout("ntu25")
    names = [
        f"S001C001P{1 + i % 106:03}R{1 + i // 12720:03}A{1 + i // 106 % 120:03}"
        for i in range(count)
    ]
    rows = 0
    with StoreWriter(folder / "large", layout) as writer:
        lengths = frame_counts(rng, count)
        for start in range(0, count, 500):
            clips = []
            for index in range(start, min(start + 500, count)):
                bodies = 2 if index % 5 == 0 else 1
                rows += lengths[index] * bodies
                joints = rng.random((lengths[index], bodies, 25, 3), np.float32)
                clips.append(Clip(names[index], index % 120, joints, 1, 1, 1))
            writer.take(pack_clips(clips, layout))
        splits = {"xsub": {"train": names[::2], "test": names[1::2]}}
        writer.finish(
            class_names=[f"class {k}" for k in range(120)], splits=splits, source="", counts={}
        )
    seconds = [timed(lambda: ClipStore.open(folder / "large"))[0] for _ in range(5)]
    size = sum(file.stat().st_size for file in (folder / "large").iterdir())
    joints = (folder / "large" / CLIPS_FILE).stat().st_size
    return {
        "clips": count,
        "open_s": round(statistics.median(seconds), 4),
        "size_mb": round(size / 1e6, 1),
        "size_to_joints": round(size / (rows * 25 * 3 * 4), 4),
        "clips_file_mb": round(joints / 1e6, 1),
    }


def measure(work: Path, files: int, rounds: int) -> dict[str, dict[str, float]]:
    raw = work / "raw"
    if not raw.exists():
        raw.mkdir()
        write_files(raw, files)
    paths = sorted(raw.glob("*.skeleton"))
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    archive = work / "raw.zip"
    if not archive.exists():
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in paths:
                file.write(path, f"nturgb+d_skeletons/{path.name}")
    folder, zipped = open_source(str(raw)), open_source(str(archive))
    clips = list(folder)
    arrays = write_arrays(clips, work)
    sample = paths[:: max(len(paths) // 200, 1)]
    sample_mb = sum(path.stat().st_size for path in sample) / 1e6

    def to_store_form() -> None:
        for start in range(0, len(folder), CHUNK):
            stop = min(start + CHUNK, len(folder))
            pack_readings(folder.read(start, stop), folder.layout)

    works: dict[str, Callable[[], object]] = {
        "folder": lambda: read_all(folder),
        "zip": lambda: read_all(zipped),
        "folder, centred and packed": to_store_form,
        "line by line": lambda: [plainly_read(path) for path in sample],
        **{
            name: lambda path=path: read_all(open_source(str(path)))
            for name, path in arrays.items()
        },
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, run in works.items():
            seconds[name].append(timed(run))
    result = {}
    for name, measured in seconds.items():
        median, busy = (statistics.median(pair[at] for pair in measured) for at in (0, 1))
        count, size = (
            (len(sample), sample_mb) if name == "line by line" else (len(clips), megabytes)
        )
        result[name] = {"clips_s": round(count / median, 1), "cpu_clips_s": round(count / busy, 1)}
        if name not in arrays:
            result[name]["mb_s"] = round(size / median, 1)
            result[name]["cpu_mb_s"] = round(size / busy, 1)
    result["raw files"] = {"files": len(paths), "mb": round(megabytes, 1)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pose-clips", type=int, default=200)
    parser.add_argument("--store-clips", type=int, default=40_000)
    parser.add_argument("--keep", type=Path, help="folder for the generated files, used again")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.keep or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        result = measure(work, options.files, options.rounds)
        result |= measure_poses(Path(scratch), options.pose_clips, options.rounds)
        result["store"] = open_store(Path(scratch), options.store_clips)
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        return
    for name, row in result.items():
        print(f"{name:28}" + "  ".join(f"{key} {value:,}" for key, value in row.items()))


if __name__ == "__main__":
    main()
