"""One set of clips written in every format that `lastkd prepare` reads."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lastkd.data.clip import Clip
from lastkd.data.synthetic.skeleton_files import write_skeleton_files


def trains(clip: Clip) -> bool:
    """As the synthetic set and NTU's xsub have it for performers 1 to 4 but 4."""
    return clip.performer in (1, 2)


def padded(clips: Sequence[Clip], frames: int = 120) -> np.ndarray:
    """`(N, T, 2, V, 3)`, zeros where there is no frame or body."""
    joints = np.zeros((len(clips), frames, 2, *clips[0].joints.shape[2:]), np.float32)
    for row, clip in zip(joints, clips, strict=True):
        row[: len(clip.joints), : clip.joints.shape[1]] = clip.joints
    return joints


def as_folder(clips: Sequence[Clip], folder: Path) -> Path:
    write_skeleton_files(clips[::2], folder / "raw")
    write_skeleton_files(clips[1::2], folder / "raw" / "deeper" / "still")
    return folder / "raw"


def as_zip(
    clips: Sequence[Clip],
    folder: Path,
    *,
    inside: str = "nturgb+d_skeletons/",
    name: str = "nturgbd_skeletons_s001_to_s017.zip",
    method: int = zipfile.ZIP_DEFLATED,
) -> Path:
    loose = folder / f"{name}.files"
    write_skeleton_files(clips, loose)
    with zipfile.ZipFile(folder / name, "w", method) as archive:
        for file in sorted(loose.iterdir()):
            archive.write(file, f"{inside}{file.name}")
    return folder / name


def as_pickle(clips: Sequence[Clip], folder: Path, dtype: type = np.float16) -> Path:
    annotations = [
        {
            "frame_dir": clip.name,
            "label": clip.label,
            "keypoint": clip.joints.transpose(1, 0, 2, 3).astype(dtype),
            "total_frames": len(clip.joints),
        }
        for clip in clips
    ]
    split = {
        "xsub_train": [clip.name for clip in clips if trains(clip)],
        "xsub_val": [clip.name for clip in clips if not trains(clip)],
    }
    path = folder / "set.pkl"
    path.write_bytes(pickle.dumps({"split": split, "annotations": annotations}))
    return path


def as_npz(clips: Sequence[Clip], folder: Path, *, compressed: bool = False) -> Path:
    parts = {
        "train": [clip for clip in clips if trains(clip)],
        "test": [clip for clip in clips if not trains(clip)],
    }
    arrays = {}
    for part, some in parts.items():
        arrays[f"x_{part}"] = padded(some).reshape(len(some), -1, 150)
        arrays[f"y_{part}"] = np.eye(60)[[clip.label for clip in some]]
    path = folder / "NTU60_CS.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


def as_last_arrays(clips: Sequence[Clip], folder: Path, *, named: bool = True) -> Path:
    out = folder / "xsub"
    out.mkdir()
    for word in ("train", "val"):
        some = [clip for clip in clips if trains(clip) == (word == "train")]
        joints = np.ascontiguousarray(padded(some).transpose(0, 4, 1, 3, 2))
        labels = [clip.label for clip in some]
        np.save(out / f"{word}_joint.npy", joints)
        names = [f"{clip.name}.skeleton" for clip in some]
        (out / f"{word}_label.pkl").write_bytes(pickle.dumps((names, labels) if named else labels))
    return out
