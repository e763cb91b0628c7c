"""Mutated inputs for every reader and loader: each ends in a result or in one clear sentence.

    python benchmarks/fuzz.py --reader all --count 10000 --seed 0 [--json]
    python benchmarks/fuzz.py --reader zip --seed 0 --only 4711 --keep bad/   # one of them again

An input is a small valid one, changed: cut off, bytes flipped, deleted, doubled or swapped, counts
made huge or negative, numbers made letters or NaN, 24 joints, magic numbers of other formats, sizes
of a zip bomb, pickles that would run code. Mutation N of a seed is always the same.

A reader runs in a process of its own whose memory is limited; anything but a result or a
`UserError` counts as a traceback, 5 seconds as a hang. A line a reader: inputs, how many were
refused, tracebacks, hangs, the slowest, the peak memory above what the process had before. Exit
code 1 where there was a traceback or a hang, or code was run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pose_files
from mutations import NAMES, TRACE, bomb, evil_pickles, mutated

from lastkd.errors import UserError

HANG_S = 5.0
MEMORY_LIMIT = 3 * 2**30
"""Bytes of data a reader's process may hold, so that a runaway ends in a MemoryError."""
Files = dict[str, bytes]
"""An input: relative path -> content."""


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


@dataclass
class Outcome:
    reader: str
    inputs: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    ran_code: int = 0
    first: str = ""
    failing: list[int] = field(default_factory=list)


# ---------------------------------------------------------------- the valid inputs


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


# ---------------------------------------------------------------- the readers


def read_source(name: str, *, table: str | None = None) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from lastkd.data.open_source import open_source
        from lastkd.data.store.packing import pack_readings

        source = open_source(str(folder / name), labels=folder / table if table else None)
        packed = pack_readings(source.read(0, len(source)), source.layout)
        if packed.faults:
            raise UserError(packed.faults[0])

    return read


def read_lists(folder: Path) -> None:
    from lastkd.data.split_rules import SplitRule

    rule = SplitRule.parse(f"list {folder}/train.txt {folder}/test.txt")
    rule.check(("a", "b", "c"))


def read_array(folder: Path) -> None:
    from lastkd.data.clip_input import clips_of_path
    from lastkd.data.layouts import get_layout

    list(clips_of_path(folder / "clip.npy", get_layout("ntu25")))


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


def settings_file() -> Files:
    text = (
        "variant: nano\nepochs: 3\nlr: 0.1\nalpha: 0.5\ndata: somewhere\nseed: 0\ncompile: false\n"
    )
    return {"mine.yaml": text.encode()}


def layout_file() -> Files:
    path = Path(__file__).resolve().parents[1] / "configs" / "layout" / "sbu15.yaml"
    return {"mine.yaml": path.read_bytes()}


READERS: dict[str, Reader] = {
    "skeleton": Reader(
        lambda: {f"raw/{NAMES[0]}.skeleton": skeleton_text()},
        read_source("raw"),
        (f"raw/{NAMES[0]}.skeleton",),
    ),
    "zip": Reader(raw_zip, read_source("set.zip"), ("set.zip",)),
    "npz": Reader(npz, read_source("NTU60_CS.npz"), ("NTU60_CS.npz",)),
    "npz-compressed": Reader(
        lambda: npz(compressed=True), read_source("NTU60_CS.npz"), ("NTU60_CS.npz",)
    ),
    "last-arrays": Reader(
        last_arrays, read_source("xsub"), ("xsub/train_joint.npy", "xsub/train_label.pkl")
    ),
    "pyskl": Reader(pyskl, read_source("set.pkl"), ("set.pkl",)),
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
            "table": (pose_files.csv_table, ("labels.csv",)),
        }.items()
    },
    "nw-ucla": Reader(pose_files.nw_ucla, read_source("set"), ("set/a01_s01_e00_v01.json",)),
    "st-gcn": Reader(
        st_gcn_arrays, read_source("xsub"), ("xsub/train_data.npy", "xsub/train_label.pkl")
    ),
    "lists": Reader(pose_files.lists, read_lists, ("train.txt", "test.txt")),
    "array": Reader(pose_files.loose_array, read_array, ("clip.npy",)),
    "store": Reader(store, read_store, ("s/clips.safetensors", "s/store.json", "s/details.jsonl")),
    "checkpoint": Reader(checkpoint, read_checkpoint, ("best.safetensors",)),
    "pth": Reader(public_checkpoint, convert_checkpoint, ("public.pth",)),
    "teacher-cache": Reader(teacher_cache, read_cache, ("cache.json", "epoch-0001.safetensors")),
    "run-state": Reader(
        run_state,
        read_run_state,
        tuple(
            f"checkpoints/step-00000003-epoch-0001/{name}"
            for name in ("state.json", "tensors.safetensors", "manifest.json")
        ),
    ),
    "events": Reader(event_log, read_log, ("events.jsonl",)),
    "settings": Reader(settings_file, read_settings, ("mine.yaml",)),
    "layout": Reader(layout_file, read_layout, ("mine.yaml",)),
}


# ---------------------------------------------------------------- the inputs


def crafted(reader: str, index: int) -> Files | None:
    """The first inputs of a reader: each evil pickle and each bomb as they are."""
    evils = evil_pickles()
    if reader in ("pyskl", "last-arrays", "st-gcn", "pth") and index < len(evils):
        labels = "xsub/train_label.pkl"
        name = {"pyskl": "set.pkl", "last-arrays": labels, "st-gcn": labels, "pth": "public.pth"}
        return {name[reader]: evils[index]}
    if reader in ("zip", "npz") and index < 30:
        name = "set.zip" if reader == "zip" else "NTU60_CS.npz"
        return {name: bomb(random.Random(index))}
    return None


def input_of(reader: str, valid: Mapping[str, bytes], seed: int, index: int) -> Files:
    """Mutation `index` of a seed."""
    special = crafted(reader, index)
    if special is not None:
        return {**valid, **special}
    rng = random.Random(f"{reader} {seed} {index}")
    target = rng.choice(READERS[reader].targets)
    return {**valid, target: mutated(valid[target], rng)}


# ---------------------------------------------------------------- running


def place(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def run_reader(name: str, seed: int, indices: range, work: str, pipe: Connection) -> None:
    """Reads every input in this process and sends each result as soon as it is known."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    reader = READERS[name]
    valid = reader.valid()
    folder = Path(work) / name
    trace = Path(work) / f"{name}.trace"
    os.environ[TRACE] = str(trace)
    place(folder, valid)
    # the unchanged input must be accepted, or every refusal would look like success
    reader.read(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in indices:
        shutil.rmtree(folder, ignore_errors=True)
        place(folder, input_of(name, valid, seed, index))
        pipe.send(("begin", index))
        started = time.perf_counter()
        failure, refused = "", False
        try:
            # a library's warnings aren't tracebacks and would flood the terminal
            with contextlib.redirect_stderr(io.StringIO()):
                reader.read(folder)
        except UserError as error:
            refused = True
            if "\n" in str(error) or len(str(error)) > 1500:
                failure = f"not one sentence: {str(error)[:300]!r}"
        except BaseException:
            failure = traceback.format_exc()
        seconds = time.perf_counter() - started
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        pipe.send(("end", index, seconds, refused, failure, peak, trace.exists()))
    pipe.send(("done",))


def fuzz(name: str, count: int, seed: int, first: int = 0) -> Outcome:
    """`count` inputs of one reader; a process that dies or hangs is followed by another."""
    outcome = Outcome(name)
    memory = Path("/dev/shm")
    base = str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
    context = multiprocessing.get_context("spawn")
    at, last = first, first + count
    with tempfile.TemporaryDirectory(dir=base, prefix="lastkd-fuzz-") as work:
        while at < last:
            ours, theirs = context.Pipe()
            arguments = (name, seed, range(at, last), work, theirs)
            process = context.Process(target=run_reader, args=arguments, daemon=True)
            process.start()
            theirs.close()
            at = follow(outcome, ours, process, at, last)
    return outcome


def follow(outcome: Outcome, pipe: Connection, process: Any, at: int, last: int) -> int:
    """Collects what a process sends until it is done or gone; returns the index to go on from."""
    running = False
    while True:
        try:
            # it starts slowly, importing torch; an input may take twice what counts as a hang
            if not pipe.poll(2 * HANG_S if running else 120):
                outcome.hangs += 1
                outcome.inputs += 1
                note(outcome, at, "hung, and was ended")
                process.kill()
                process.join()
                return at + 1
            message = pipe.recv()
        except EOFError:
            process.join()
            outcome.tracebacks += 1
            outcome.inputs += 1
            note(outcome, at, f"the process ended with {process.exitcode}")
            return at + 1 if running else last
        if message[0] == "done":
            process.join()
            return last
        at, running = message[1], True
        if message[0] == "begin":
            continue
        _, _, seconds, refused, failure, peak, ran = message
        outcome.inputs += 1
        outcome.refused += refused
        outcome.slowest_s = max(outcome.slowest_s, seconds)
        outcome.peak_mb = max(outcome.peak_mb, peak)
        outcome.ran_code += ran
        if seconds > HANG_S:
            outcome.hangs += 1
            note(outcome, at, f"took {seconds:.1f} s")
        if failure or ran:
            outcome.tracebacks += 1
            note(outcome, at, failure or "code was run")
        at += 1


def note(outcome: Outcome, index: int, problem: str) -> None:
    outcome.failing.append(index)
    outcome.first = outcome.first or f"input {index}: {problem}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", default="all", choices=["all", *READERS])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one input of this number")
    parser.add_argument("--keep", type=Path, help="write that input here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = list(READERS) if options.reader == "all" else [options.reader]
    if options.keep is not None:
        valid = READERS[options.reader].valid()
        place(options.keep, input_of(options.reader, valid, options.seed, options.only))
    outcomes = []
    for name in names:
        started = time.monotonic()
        outcome = fuzz(
            name, 1 if options.only is not None else options.count, options.seed, options.only or 0
        )
        outcomes.append(outcome)
        if not options.json:
            print(
                f"{name:15} {outcome.inputs:6,} inputs  {outcome.refused:6,} refused  "
                f"{outcome.tracebacks} tracebacks  {outcome.hangs} hangs  slowest "
                f"{outcome.slowest_s:.2f} s  peak +{outcome.peak_mb:.0f} MB  "
                f"({time.monotonic() - started:.0f} s)",
                flush=True,
            )
            if outcome.first:
                print(f"  {outcome.failing[:10]}\n  {outcome.first}")
    if options.json:
        json.dump([asdict(outcome) for outcome in outcomes], sys.stdout, indent=1)
    return int(any(outcome.tracebacks or outcome.hangs or outcome.ran_code for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
