"""What a user names as SOURCE, as a source of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray
from lastkd.data.clip_names import clip_number
from lastkd.data.formats.base import turned
from lastkd.data.formats.datasets.ntu_skeleton import read_skeleton
from lastkd.data.formats.datasets.skeleton_text import Recording
from lastkd.data.ntu import KINECT_FPS
from lastkd.data.open_source import format_of
from lastkd.data.open_source import open_source as open_dataset
from lastkd.data.store.clip_store import ABOUT_FILE, ClipStore
from lastkd.errors import UserError
from lastkd.live.classifier import ModelFacts
from lastkd.live.layout import layout_of
from lastkd.live.sources import (
    FrameSource,
    GrowingFolder,
    JsonLines,
    RecordedBodies,
    RecordedClip,
)


def open_frames(
    source: str,
    clip: str | None,
    facts: ModelFacts,
    *,
    rate: float | None = None,
    wait_s: float | None = None,
) -> FrameSource:
    """A source of frames for a model.

    Args:
        source: a store, a recorded clip, a set of clips, a folder of JSON files or a `.jsonl` file.
        clip: of a store or a set: its name or number; the first where it is left out.
        rate: frames per second of frames without a time; by default those that the store or the
            set says, else those of the model's training clips.
        wait_s: a folder ends when nothing new came for so long.

    Raises:
        UserError: there is no such source or clip, or it can't be read.
    """
    path = Path(source)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a clip, a folder, or - for stdin")
    if (path / ABOUT_FILE).is_file():
        return _from_store(path, clip, facts, rate)
    if path.suffix == ".skeleton":
        recording = read_skeleton(path)
        return _from_recording(path.name, recording, layout_of(facts).turn, rate or KINECT_FPS)
    usual = rate or facts.calibration.rate
    if path.suffix in (".jsonl", ".ndjson"):
        return JsonLines(path.name, path.open("rb"), facts.dimensions, usual)
    if path.is_dir() and (any(path.glob("*.json")) or not any(path.iterdir())):
        return GrowingFolder(path, usual, facts.dimensions, wait_s)  # a file a frame
    if format_of(path) is not None:
        return _from_dataset(source, clip, facts, rate)
    raise UserError(
        f"{path}: holds no frames that can be played; give a .skeleton, .npy or .jsonl file, a "
        "store, a set that lastkd prepare reads, or a folder of an estimator's .json files"
    )


def _from_store(path: Path, clip: str | None, facts: ModelFacts, rate: float | None) -> FrameSource:
    store = ClipStore.open(path)
    index = clip_number(path, store.names, clip)
    label = store.class_names[int(store.labels[index])]
    rate = rate or float(store.fps[index]) or facts.calibration.rate
    return RecordedClip(f"{store.names[index]} ({label})", store.clip(index), rate)


def _from_recording(
    name: str, recording: Recording, turn: FloatArray | None, rate: float
) -> FrameSource:
    frames: list[tuple[list[NDArray[np.floating]], list[int]]] = [
        ([], []) for _ in range(recording.total_frames)
    ]
    for number, track in enumerate(recording.tracks):
        for frame, joints in zip(track.frames.tolist(), track.joints, strict=True):
            frames[frame][0].append(joints if turn is None else turned(joints, turn))
            frames[frame][1].append(number)
    return RecordedBodies(
        name, [(np.array(joints), np.array(ids, np.int64)) for joints, ids in frames], rate
    )


def _from_dataset(
    source: str, clip: str | None, facts: ModelFacts, rate: float | None
) -> FrameSource:
    reader = open_dataset(source, layout=layout_of(facts), labelled=False)
    index = clip_number(source, tuple(reader.names()), clip)
    reading = next(reader.readings(index, index + 1))
    if reading.clip is None:
        reason = reading.fault or f"{source}: {reading.name} shows nobody"
        raise UserError(reason)
    rate = rate or reading.clip.fps or reader.fps or facts.calibration.rate
    return RecordedClip(reading.name, reading.clip.joints, rate)
