"""A small valid file, or several, of every kind that lastkd reads; pose files: `pose_files`."""

from __future__ import annotations

import io
import pickle
import random
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from mutations import NAMES

Files = dict[str, bytes]
"""An input: relative path -> content."""


def skeleton_text(frames: int = 3, bodies: int = 2) -> bytes:
    rng = random.Random(1)
    lines = [str(frames)]
    for _ in range(frames):
        lines.append(str(bodies))
        for body in range(bodies):
            lines += [f"7205759403793{body + 1:04} 0 1 1 1 1 0 0.0276 0.0574 2", "25"]
            lines += [" ".join(f"{rng.uniform(-1, 4):.7g}" for _ in range(11)) + " 2"] * 25
    return ("\n".join(lines) + "\n").encode()


def raw_zip() -> Files:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NAMES:
            archive.writestr(f"nturgb+d_skeletons/{name}.skeleton", skeleton_text(2))
    return {"set.zip": packed.getvalue()}


def joints(clips: int, frames: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(clips, frames, 2, 25, 3)).astype(np.float32)


def npz(compressed: bool = False) -> Files:
    packed = io.BytesIO()
    x, y = joints(2).reshape(2, 4, 150), np.eye(60)[[3, 5]]
    write = np.savez_compressed if compressed else np.savez
    write(packed, x_train=x, y_train=y, x_test=x, y_test=y)
    return {"NTU60_CS.npz": packed.getvalue()}


def npy(array: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.save(packed, array)
    return packed.getvalue()


def last_arrays() -> Files:
    array = np.ascontiguousarray(joints(2).transpose(0, 4, 1, 3, 2))
    return {
        "xsub/train_joint.npy": npy(array),
        "xsub/val_joint.npy": npy(array),
        "xsub/train_label.pkl": pickle.dumps(([f"{NAMES[0]}.skeleton", NAMES[1]], [0, 49])),
        "xsub/val_label.pkl": pickle.dumps([0, 49]),
    }


def st_gcn_arrays() -> Files:
    files = last_arrays().items()
    return {name.replace("_joint.npy", "_data.npy"): content for name, content in files}


def pyskl() -> Files:
    annotations = [
        {
            "frame_dir": name,
            "label": int(name[-3:]) - 1,
            "keypoint": one.transpose(1, 0, 2, 3).astype(np.float16),
            "total_frames": len(one),
        }
        for name, one in zip(NAMES, joints(2, 8), strict=True)
    ]
    split = {"xsub_train": [NAMES[0]], "xsub_val": [NAMES[1]]}
    return {"set.pkl": pickle.dumps({"split": split, "annotations": annotations})}


def files_of(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def store() -> Files:
    from lastkd.data.clip import Clip
    from lastkd.data.layouts import get_layout
    from lastkd.data.store.writer import StoreWriter

    with tempfile.TemporaryDirectory() as folder:
        with StoreWriter(Path(folder) / "s", get_layout("ntu25")) as writer:
            for name, one in zip(NAMES, joints(2), strict=True):
                writer.add(Clip(name, 0, one, 1, 1, 1))
            splits = {"xsub": {"train": [NAMES[0]], "test": [NAMES[1]]}}
            writer.finish(class_names=["a", "b"], splits=splits, source="x", counts={})
        return files_of(Path(folder))


def checkpoint() -> Files:
    from lastkd.data.layouts import get_layout
    from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
    from lastkd.models.registry import build_model

    model = build_model("last_e_nano", 4)
    info = CheckpointInfo(
        architecture=model.architecture, num_classes=4, layout=get_layout("ntu25")
    )
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder) / "best.safetensors", model.state_dict(), info)
        return files_of(Path(folder))


def public_checkpoint() -> Files:
    import torch

    from lastkd.models.registry import build_model

    packed = io.BytesIO()
    torch.save({"model_state_dict": build_model("last_e_nano", 60).state_dict()}, packed)
    return {"public.pth": packed.getvalue()}


def cache_key() -> Any:
    from lastkd.training.teacher_cache import CacheKey

    return CacheKey(
        teacher="t", body_average="present", data="d", split="xsub", clips=3, classes=4, seed=0,
        frames=16, crop_min=0.5, turn_degrees=1.0, scale=0.1,
    )  # fmt: skip


def teacher_cache() -> Files:
    import torch

    from lastkd.training.teacher import TeacherIdentity
    from lastkd.training.teacher_cache import TeacherCache

    with tempfile.TemporaryDirectory() as folder:
        identity = TeacherIdentity("last_v2_tiny", "t", "present", {})
        cache = TeacherCache.open(Path(folder), cache_key(), identity)
        cache.write(1, torch.zeros(3, 4, dtype=torch.float16))
        return files_of(Path(folder))


def run_state() -> Files:
    import torch

    from lastkd.training.checkpoints import Checkpoints, RunState

    with tempfile.TemporaryDirectory() as folder:
        state = RunState(
            run_id="r", step=3, epochs=1, reported=2, skipped={}, best=None, scaler={},
            conditions={},
        )  # fmt: skip
        Checkpoints(Path(folder)).write(state, {"weight": torch.zeros(3)}, [])
        return files_of(Path(folder))


def event_log() -> Files:
    lines = ['{"event": "start", "run_id": "r", "time": 1.5}', '{"event": "step", "step": 1}']
    return {"events.jsonl": ("\n".join(lines * 3) + "\n").encode()}


def settings_file() -> Files:
    text = (
        "variant: nano\nepochs: 3\nlr: 0.1\nalpha: 0.5\ndata: somewhere\nseed: 0\ncompile: false\n"
    )
    return {"mine.yaml": text.encode()}


def layout_file() -> Files:
    path = Path(__file__).resolve().parents[1] / "configs" / "layout" / "sbu15.yaml"
    return {"mine.yaml": path.read_bytes()}
