"""What a checkpoint says of single clips: raw files, arrays, or clips of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lastkd.data.bodies import choose_bodies
from lastkd.data.clip import FloatArray
from lastkd.data.formats.ntu_skeleton import read_skeleton
from lastkd.data.layouts import get_layout
from lastkd.data.raw_clip import SingleClip
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError, nearest
from lastkd.evaluation.checkpoint import view_settings
from lastkd.models.checkpoint import check_fit, read_checkpoint

Clip = str | Path | NDArray[np.floating]
"""A `.skeleton` or `.npy` file, joints `(T, M, V, 3)` or `(T, V, 3)`, or the name of a store's
clip."""


@dataclass(frozen=True)
class Prediction:
    """One clip's probabilities.

    Attributes:
        name: of the file or clip.
        frames, bodies: T and M that were seen.
        probabilities: `(K,)`.
        class_names: K; numbers where the checkpoint doesn't name its classes.
    """

    name: str
    frames: int
    bodies: int
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, the likeliest first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[label], float(self.probabilities[label])) for label in order]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return {
            "name": self.name,
            "frames": self.frames,
            "bodies": self.bodies,
            "top": [
                {
                    "class": self.class_names[label],
                    "label": int(label),
                    "probability": round(float(self.probabilities[label]), 6),
                }
                for label in order
            ],
        }


class Predictor:
    """A checkpoint, loaded once for any number of clips; on the CPU."""

    def __init__(
        self, checkpoint: str | Path, *, data: str | Path | None = None, factory: str | None = None
    ) -> None:
        """
        Args:
            data: a store, whose clips can then be named.
            factory: `package.module:factory`, where the model isn't one of lastkd's.

        Raises:
            UserError: the checkpoint or the store is missing, damaged, or they don't fit.
        """
        read = read_checkpoint(checkpoint)
        self.path = read.path
        self.info = read.info
        self.store = ClipStore.open(data) if data is not None else None
        names = self.info.class_names
        if self.store is not None:
            joints = self.info.layout.joints
            check_fit(read.path, self.info.num_classes, names, joints, self.store)
            names = self.store.class_names
        self.class_names = names or tuple(f"class {k}" for k in range(self.info.num_classes))
        self.model = read.build(factory)
        self.clip = SingleClip(self.info.layout, view_settings(self.info))

    @torch.no_grad()
    def __call__(self, clip: Clip) -> Prediction:
        """Centres, resamples and classifies one clip.

        Raises:
            UserError: it can't be read, doesn't fit the model's skeleton, or holds nobody.
        """
        name, joints = self.read(clip)
        streams, there = self.clip(torch.from_numpy(joints))
        logits = self.model(streams, there.sum(dim=1))
        probabilities: NDArray[np.float32] = logits[0].softmax(dim=0).numpy()
        bodies = int(joints.any(axis=(0, 2, 3)).sum())
        return Prediction(name, len(joints), bodies, probabilities, self.class_names)

    def read(self, clip: Clip) -> tuple[str, FloatArray]:
        """A clip's name and its joints `(T, M, V, 3)`; errors as in `__call__`."""
        if isinstance(clip, np.ndarray):
            name, joints = "array", clip
        elif self.store is not None:
            name = str(clip)
            if name not in self.store.names:
                hint = nearest(name, self.store.names) if len(self.store) < 100_000 else ""
                raise UserError(f"{self.store.path}: has no clip {name!r}; {_short(hint)}")
            joints = self.store.clip(self.store.names.index(name))
        else:
            path = Path(clip)
            name = path.name
            if not path.is_file():
                raise UserError(f"{path}: no such file; check the path")
            joints = self._skeleton(path) if path.suffix == ".skeleton" else _array(path)
        layout = self.info.layout
        if joints.ndim == 3:
            joints = joints[:, None]
        if joints.ndim != 4 or joints.shape[2:] != (layout.num_joints, 3) or not len(joints):
            raise UserError(
                f"{name}: has joints of shape {joints.shape}, and {self.path} needs (frames, "
                f"bodies, {layout.num_joints}, 3) of layout {layout.name}"
            )
        joints = np.ascontiguousarray(joints, np.float32)
        if not np.isfinite(joints).all():
            raise UserError(f"{name}: holds a coordinate that isn't a finite number")
        if not joints.any():
            raise UserError(f"{name}: holds no body in any frame")
        return name, joints

    def _skeleton(self, path: Path) -> FloatArray:
        ntu = get_layout("ntu25")
        if self.info.layout.joints != ntu.joints:
            raise UserError(
                f"{path}: .skeleton files have NTU's {ntu.num_joints} joints, and {self.path} was "
                f"trained on layout {self.info.layout.name}; give joints as .npy"
            )
        recording = read_skeleton(path)
        chosen = choose_bodies(recording.tracks, recording.total_frames, ntu.num_joints)
        if not len(chosen.joints):
            raise UserError(f"{path}: holds no body in any frame")
        return chosen.joints


def predict_clips(
    checkpoint: str | Path,
    clips: Sequence[Clip],
    *,
    data: str | Path | None = None,
    factory: str | None = None,
) -> Iterator[Prediction]:
    """A prediction for each clip, in their order; arguments and errors as for `Predictor`."""
    predictor = Predictor(checkpoint, data=data, factory=factory)
    return (predictor(clip) for clip in clips)


def _array(path: Path) -> NDArray[Any]:
    if path.suffix != ".npy":
        raise UserError(
            f"{path}: is neither a .skeleton file nor a .npy array; for a store's clips give "
            "--data DIR and their names"
        )
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: can't be read as an array ({reason})") from None
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        raise UserError(f"{path}: holds no array of numbers")
    return array


def _short(hint: str) -> str:
    return hint if len(hint) < 100 else "lastkd info shows what it holds"
