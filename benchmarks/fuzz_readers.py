"""The readers and loaders that `fuzz` tries, each with an input that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pose_files
import valid_files
from mutations import NAMES
from valid_files import Files, cache_key

from lastkd.errors import UserError


@dataclass(frozen=True)
class Reader:
    """One reader or loader.

    Attributes:
        valid: an input that it takes.
        read: reads an input from the folder that holds its files, and all of it.
        targets: the files that are changed.
    """

    valid: Callable[[], Files]
    read: Callable[[Path], None]
    targets: tuple[str, ...]


def read_source(
    name: str, *, table: str | None = None, layout: str | None = None
) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from lastkd.data.open_source import open_source
        from lastkd.data.store.packing import pack_readings

        labels = folder / table if table else None
        source = open_source(str(folder / name), labels=labels, layout=layout)
        packed = pack_readings(source.read(0, len(source)), source.layout)
        if packed.faults:
            raise UserError(packed.faults[0])

    return read


def read_lists(folder: Path) -> None:
    from lastkd.data.split_rules import SplitRule

    rule = SplitRule.parse(f"list {folder}/train.txt {folder}/test.txt")
    rule.check(("a", "b", "c"))


def read_clip(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from lastkd.data.clip_input import clips_of_path
        from lastkd.data.layouts import get_layout

        list(clips_of_path(folder / name, get_layout("ntu25")))

    return read


def read_store(folder: Path) -> None:
    from lastkd.data.store.clip_store import ClipStore

    opened = ClipStore.open(folder / "s")
    opened.about()
    list(opened.details())
    for index in range(len(opened)):
        opened.clip(index)


def read_checkpoint(folder: Path) -> None:
    from lastkd.models.checkpoint import read_checkpoint

    read_checkpoint(folder / "best.safetensors").build()


def convert_checkpoint(folder: Path) -> None:
    from lastkd.models.convert import convert

    convert(folder / "public.pth", folder / "out.safetensors")


def read_cache(folder: Path) -> None:
    from lastkd.training.teacher import TeacherIdentity
    from lastkd.training.teacher_cache import TeacherCache

    identity = TeacherIdentity("last_v2_tiny", "t", "present", {})
    TeacherCache.open(folder, cache_key(), identity).read(1)


def read_run_state(folder: Path) -> None:
    from lastkd.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(folder)
    for place_ in checkpoints.positions():
        checkpoints.read(place_)


def read_log(folder: Path) -> None:
    from lastkd.runs.events import read_events

    list(read_events(folder / "events.jsonl"))


def read_settings(folder: Path) -> None:
    from lastkd.settings.resolve import resolve
    from lastkd.settings.runs import DistillSettings

    resolve(DistillSettings, {}, file=folder / "mine.yaml")


def read_layout(folder: Path) -> None:
    from lastkd.data.layouts import Layout
    from lastkd.files.yaml_files import read_model

    read_model(Layout, folder / "mine.yaml")


READERS: dict[str, Reader] = {
    "skeleton": Reader(
        lambda: {f"raw/{NAMES[0]}.skeleton": valid_files.skeleton_text()},
        read_source("raw"),
        (f"raw/{NAMES[0]}.skeleton",),
    ),
    "zip": Reader(valid_files.raw_zip, read_source("set.zip"), ("set.zip",)),
    "npz": Reader(valid_files.npz, read_source("NTU60_CS.npz"), ("NTU60_CS.npz",)),
    "npz-compressed": Reader(
        lambda: valid_files.npz(compressed=True), read_source("NTU60_CS.npz"), ("NTU60_CS.npz",)
    ),
    "last-arrays": Reader(
        valid_files.last_arrays,
        read_source("xsub"),
        ("xsub/train_joint.npy", "xsub/train_label.pkl"),
    ),
    "pyskl": Reader(valid_files.pyskl, read_source("set.pkl"), ("set.pkl",)),
    **{
        name: Reader(valid, read_source("set", table="labels.csv"), targets)
        for name, (valid, targets) in {
            "openpose": (
                pose_files.openpose,
                tuple(f"set/a/a_{frame:012}_keypoints.json" for frame in range(3)),
            ),
            "alphapose": (pose_files.alphapose, ("set/a.json",)),
            "mmpose": (pose_files.mmpose, ("set/a.json",)),
            "ultralytics": (pose_files.ultralytics, ("set/a.json",)),
            "ultralytics-txt": (pose_files.ultralytics_txt, ("set/a_0.txt", "set/a_1.txt")),
            "mediapipe": (pose_files.mediapipe, ("set/a.jsonl",)),
            "mediapipe-json": (pose_files.mediapipe_json, ("set/a.json",)),
            "mediapipe-npy": (pose_files.mediapipe_npy, ("set/a.npy",)),
            "azure-kinect": (pose_files.azure_kinect, ("set/a.json",)),
            "table": (pose_files.csv_table, ("labels.csv",)),
        }.items()
    },
    "kinetics": Reader(pose_files.kinetics, read_source("set"), ("set/a.json",)),
    "nw-ucla": Reader(pose_files.nw_ucla, read_source("set"), ("set/a01_s01_e00_v01.json",)),
    "st-gcn": Reader(
        valid_files.st_gcn_arrays,
        read_source("xsub"),
        ("xsub/train_data.npy", "xsub/train_label.pkl"),
    ),
    "set-arrays": Reader(
        pose_files.set_arrays, read_source("set.npz", layout="ntu25"), ("set.npz",)
    ),
    "set-pickle": Reader(
        pose_files.set_pickle, read_source("set.pkl", layout="ntu25"), ("set.pkl",)
    ),
    "set-objects": Reader(
        pose_files.set_objects, read_source("set.npy", layout="ntu25"), ("set.npy",)
    ),
    "skeleton-arrays": Reader(
        pose_files.skeleton_arrays,
        read_source("raw"),
        ("raw/S001C001P001R001A001.skeleton.npy",),
    ),
    "lists": Reader(pose_files.lists, read_lists, ("train.txt", "test.txt")),
    "array": Reader(pose_files.loose_array, read_clip("clip.npy"), ("clip.npy",)),
    "arrays": Reader(pose_files.loose_arrays, read_clip("clip.npz"), ("clip.npz",)),
    "frame-table": Reader(
        pose_files.frame_table, read_source("poses.csv", layout="coco17"), ("poses.csv",)
    ),
    "joint-table": Reader(
        pose_files.joint_table, read_source("poses.csv", layout="coco17"), ("poses.csv",)
    ),
    "numbers": Reader(pose_files.loose_table, read_clip("clip.csv"), ("clip.csv",)),
    "store": Reader(
        valid_files.store, read_store, ("s/clips.safetensors", "s/store.json", "s/details.jsonl")
    ),
    "checkpoint": Reader(valid_files.checkpoint, read_checkpoint, ("best.safetensors",)),
    "pth": Reader(valid_files.public_checkpoint, convert_checkpoint, ("public.pth",)),
    "teacher-cache": Reader(
        valid_files.teacher_cache, read_cache, ("cache.json", "epoch-0001.safetensors")
    ),
    "run-state": Reader(
        valid_files.run_state,
        read_run_state,
        tuple(
            f"checkpoints/step-00000003-epoch-0001/{name}"
            for name in ("state.json", "tensors.safetensors", "manifest.json")
        ),
    ),
    "events": Reader(valid_files.event_log, read_log, ("events.jsonl",)),
    "settings": Reader(valid_files.settings_file, read_settings, ("mine.yaml",)),
    "layout": Reader(valid_files.layout_file, read_layout, ("mine.yaml",)),
}
