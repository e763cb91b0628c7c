"""What a checkpoint says of new clips: files of any format, arrays, or clips of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray
from lastkd.data.clip_input import clip_of_array, clips_of_path
from lastkd.data.clip_names import clip_number
from lastkd.data.raw_clip import SingleClip
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.calibration import checkpoint_calibration
from lastkd.evaluation.checkpoint import view_settings
from lastkd.models.checkpoint import check_fit, read_checkpoint

ClipInput = str | Path | NDArray[np.floating]
"""A file or folder of any format that `lastkd prepare` reads, a `.npy` file, an array of joints
`(T, M, V, C)` or `(T, V, C)`, or the name of a store's clip."""


@dataclass(frozen=True)
class Prediction:
    """One clip's probabilities.

    Attributes:
        name: of the file or clip.
        frames, bodies: T and M that were seen.
        probabilities: `(K,)`, calibrated where the checkpoint is (`lastkd calibrate`).
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
        self,
        checkpoint: str | Path,
        *,
        data: str | Path | None = None,
        factory: str | None = None,
        image_size: tuple[float, float] | None = None,
    ) -> None:
        """
        Args:
            data: a store, whose clips can then be named.
            image_size: width and height of the videos in pixels, where the coordinates of new
                clips are shares of them.
            factory: `package.module:factory`, where the model isn't one of lastkd's.

        Raises:
            UserError: the checkpoint or the store is missing, damaged, or they don't fit.
        """
        read = read_checkpoint(checkpoint)
        self.path = read.path
        self.info = read.info
        self.calibration = checkpoint_calibration(read.path)
        self.store = ClipStore.open(data) if data is not None else None
        info = self.info
        self.class_names = info.shown_classes
        if self.store is not None:
            check_fit(read.path, info.num_classes, info.class_names, info.layout.joints, self.store)
            self.class_names = self.store.class_names
        self.image_size = image_size
        self.model = read.build(factory)
        self.clip = SingleClip(self.info.layout, view_settings(self.info))

    def __call__(self, clip: ClipInput) -> Prediction:
        """Centres, resamples and classifies one clip.

        Raises:
            UserError: it can't be read, doesn't fit the model's skeleton, holds nobody, or is a
                file of several clips.
        """
        return self.classify(*self.read(clip))

    def all(self, clip: ClipInput) -> Iterator[Prediction]:
        """A prediction for each clip of a file or folder; otherwise as `__call__`."""
        return (self.classify(*raw) for raw in self._clips(clip))

    @torch.no_grad()
    def classify(self, name: str, joints: FloatArray) -> Prediction:
        """The prediction for joints `(T, M, V, 3)` whose bodies are chosen."""
        logits = self.model(*self.clip(torch.from_numpy(joints)))
        probabilities = self.calibration.probabilities(logits[0].numpy()).astype(np.float32)
        seen = int(joints.any(axis=(0, 2, 3)).sum())
        return Prediction(name, len(joints), seen, probabilities, self.class_names)

    def read(self, clip: ClipInput) -> tuple[str, FloatArray]:
        """A clip's name and its joints `(T, M, V, 3)`; errors as in `__call__`."""
        clips = self._clips(clip)
        first = next(clips, None)
        if first is None:
            raise UserError(f"{clip}: holds no clip")
        if next(clips, None) is not None:
            raise UserError(f"{clip}: holds several clips; predict_clips takes them all")
        return first

    def _clips(self, clip: ClipInput) -> Iterator[tuple[str, FloatArray]]:
        layout, keep = self.info.layout, self.info.keep_bodies
        if isinstance(clip, np.ndarray):
            yield clip_of_array("array", clip, layout, keep_bodies=keep)
        elif self.store is not None:
            store = self.store
            number = clip_number(store.path, store.names, str(clip), store.places)
            yield store.names[number], store.clip(number)
        else:
            yield from clips_of_path(
                Path(clip), layout, image_size=self.image_size, keep_bodies=keep
            )


def predict_clips(
    checkpoint: str | Path,
    clips: Sequence[ClipInput],
    *,
    data: str | Path | None = None,
    factory: str | None = None,
    image_size: tuple[float, float] | None = None,
) -> Iterator[Prediction]:
    """A prediction for each clip, in their order; arguments and errors as for `Predictor`.

    A file or folder that holds several clips has a prediction for each.
    """
    predictor = Predictor(checkpoint, data=data, factory=factory, image_size=image_size)
    return (prediction for clip in clips for prediction in predictor.all(clip))
