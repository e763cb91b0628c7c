"""A clip as poses to draw: the joints, and what a stream adds to them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd import rng
from lastkd.data.clip import Clip, FloatArray
from lastkd.data.clip_names import clip_number
from lastkd.data.layouts import Layout
from lastkd.data.normalise import centre_and_scale
from lastkd.data.open_source import open_source
from lastkd.data.store.clip_store import ABOUT_FILE, ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.errors import UserError
from lastkd.settings.resolve import defaults
from lastkd.settings.runs import TrainSettings
from lastkd.settings.views import ViewSettings

STREAMS = ("joint", "velocity", "bone")


@dataclass(frozen=True)
class ShownClip:
    """A clip and where it comes from.

    Attributes:
        clip: centred and scaled; its `fps` is 0 where it isn't known.
        index: its place among the `count` clips of the source, which decides how an epoch of
            training augments it.
        dataset: name of the set.
    """

    clip: Clip
    layout: Layout
    class_name: str
    index: int
    count: int
    dataset: str = ""


@dataclass(frozen=True)
class PoseSequence:
    """The poses of one stream, frame by frame.

    Attributes:
        stream: its name.
        joints: `(T, M, V, C)`.
        present: `(T, M)`, whether the body is in the frame.
        arrows: `(T, M, V, C)`, starting at each joint; None for a stream without any.
    """

    stream: str
    joints: FloatArray
    present: NDArray[np.bool_]
    arrows: FloatArray | None = None


def find_clip(
    source: str, name: str | None, layout: str | None = None, up: str | None = None
) -> ShownClip:
    """A clip of a store or of any source that `lastkd prepare` reads.

    Args:
        source: the path.
        name: the clip's name or its number from 0; by default the first clip.
        layout: name or file of the skeleton's layout, for sources that don't imply one.
        up: which way is up in the coordinates of a source that isn't a store.

    Raises:
        UserError: there is no such source or clip, or the clip can't be read.
    """
    if (Path(source) / ABOUT_FILE).is_file():
        store = ClipStore.open(source)
        index = clip_number(source, store.names, name)
        label = int(store.labels[index])
        clip = Clip(
            store.names[index],
            label,
            store.clip(index),
            int(store.performers[index]),
            int(store.cameras[index]),
            int(store.setups[index]),
            float(store.fps[index]),
        )
        class_name = store.class_names[label]
        return ShownClip(clip, store.layout, class_name, index, len(store), store.name)
    reader = open_source(source, layout=layout, up=up, labelled=False)
    index = clip_number(source, reader.names(), name)
    reading = next(reader.readings(index, index + 1))
    if reading.fault is not None:
        raise UserError(reading.fault)
    if reading.clip is None:
        raise UserError(f"{source}: {reading.name} shows nobody ({', '.join(reading.counts)})")
    joints = centre_and_scale(reading.clip.joints, reader.layout)
    clip = replace(reading.clip, joints=joints, fps=reading.clip.fps or reader.fps)
    class_name = reader.class_names[clip.label]
    return ShownClip(clip, reader.layout, class_name, index, len(reader), reader.name)


def stream_poses(shown: ShownClip, streams: Sequence[str]) -> list[PoseSequence]:
    """The clip's frames as they were recorded, in each of the streams."""
    joints = shown.clip.joints
    present: NDArray[np.bool_] = np.any(joints, axis=(2, 3))
    velocity = np.zeros_like(joints)
    both = (present[1:] & present[:-1])[..., None, None]
    velocity[:-1] = (joints[1:] - joints[:-1]) * both
    parents = [j if p < 0 else p for j, p in enumerate(shown.layout.parents)]
    bone = joints - joints[:, :, parents]
    return _sequences(
        {"joint": joints, "velocity": velocity, "bone": bone}, present, shown.layout, streams
    )


def view_poses(
    shown: ShownClip, streams: Sequence[str], view: str, *, seed: int, epoch: int
) -> list[PoseSequence]:
    """The view of a clip that a model gets: resampled, and augmented for training.

    Args:
        view: `test`, or `train` for the view in this epoch of a run with this seed.
    """
    import torch

    from lastkd.data.views import Views

    shipped = defaults(TrainSettings)
    settings = ViewSettings.model_validate(shipped)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        with StoreWriter(path, shown.layout) as writer:
            writer.add(Clip(shown.clip.name, 0, shown.clip.joints))
            writer.finish(class_names=["shown"], splits={}, source="", counts={})
        views = Views(ClipStore.open(path), settings, torch.device("cpu"))
        only = np.zeros(1, np.int64)
        if view == "test":
            streams_of_view: dict[str, Any] = views.evaluation(only)
        else:
            table = rng.uniform(seed, "view", epoch, shape=(shown.count, 4))
            row = table[shown.index : shown.index + 1].astype(np.float32)
            streams_of_view = views.training(only, torch.from_numpy(row))
    arrays = {
        name: tensor[0].permute(1, 3, 2, 0).numpy() for name, tensor in streams_of_view.items()
    }
    present: NDArray[np.bool_] = np.any(arrays["joint"], axis=(2, 3))
    return _sequences(arrays, present, shown.layout, streams)


def _sequences(
    arrays: dict[str, FloatArray],
    present: NDArray[np.bool_],
    layout: Layout,
    streams: Sequence[str],
) -> list[PoseSequence]:
    by_stream = {
        "joint": PoseSequence("joint", arrays["joint"], present),
        "velocity": PoseSequence("velocity", arrays["joint"], present, arrays["velocity"]),
        "bone": PoseSequence("bone", _from_bones(arrays["bone"], layout), present),
    }
    return [by_stream[stream] for stream in streams]


def _from_bones(bone: FloatArray, layout: Layout) -> FloatArray:
    """The joints `(T, M, V, C)` that bones add up to, with the centre joint at the origin."""
    joints = np.zeros_like(bone)
    order = [layout.centre]
    for parent in order:
        for child, end in layout.bones:
            if end == parent:
                joints[:, :, child] = joints[:, :, parent] + bone[:, :, child]
                order.append(child)
    if layout.dimensions == 2:
        joints[..., 2:] = bone[..., 2:]
        joints[:, :, layout.centre, 2:] = 1
    return joints
