"""What makes a model's probabilities honest, and how it is best run on a stream.

A calibration travels with the model: in the metadata of a checkpoint, or in an exported ONNX file.
Reading one needs neither torch nor onnx.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.files.json_text import parse_json
from lastkd.files.safetensors_header import METADATA, header_bytes, read_header

KEY = "calibration"
"""Where a checkpoint's metadata, or an exported file's description, hold it."""


@dataclass(frozen=True)
class Calibration:
    """Temperature, threshold and timing; the defaults are those of a model without calibration.

    Attributes:
        temperature: logits are divided by it before the softmax (Guo et al., ICML 2017).
        threshold: smoothed top probability from which a stream shows an action.
        stillness: speed below which it shows "nothing", in body heights per second.
        window_s: seconds of a stream that are classified at once.
        shortest_s: seconds after which a first prediction makes sense, the training clips' lowest
            decile.
        step_s: seconds between two predictions.
        rate: frames per second of the training clips.
        split: whose test part it was fitted on; empty for the defaults.
        clips: how many of them.
        data_hash: content hash of their store.
        ece_before, ece: expected calibration error in percent (15 bins), at temperature 1 and now.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    stillness: float = 0.0
    window_s: float = 2.5
    shortest_s: float = 1.25
    step_s: float = 1 / 6
    rate: float = 30.0
    split: str = ""
    clips: int = 0
    data_hash: str = ""
    ece_before: float | None = None
    ece: float | None = None

    @property
    def fitted(self) -> bool:
        """Whether it was fitted to data, and isn't the default."""
        return self.clips > 0

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities of logits `(..., K)`, same shape."""
        return softmax(logits, self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they are stored."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> Calibration:
        """
        Raises:
            ValueError: a value is missing its type or out of range.
        """
        if not isinstance(values, Mapping):
            raise ValueError("a calibration is a mapping")
        known = {field.name for field in fields(cls)}
        read = cls(**{name: value for name, value in values.items() if name in known})
        numbers = {
            name: getattr(read, name)
            for name in ("temperature", "window_s", "shortest_s", "step_s", "rate")
        }
        others = {"threshold": read.threshold, "stillness": read.stillness}
        for name, value in {**numbers, **others}.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"{name} is {value!r}, not a number")
        if min(numbers.values()) <= 0 or not 0 <= read.threshold <= 1 or read.stillness < 0:
            raise ValueError("a number is out of range")
        return read

    def with_clips(
        self, frames: NDArray[np.integer], rate: float | NDArray[np.floating]
    ) -> Calibration:
        """The same with window, step and rate as training clips of these lengths suggest.

        Args:
            frames: of each clip, `(N,)`.
            rate: frames per second, of all or of each `(N,)`; of these the median counts.
        """
        seconds = frames / rate
        shortest, usual = float(np.percentile(seconds, 10)), float(np.median(rate))
        return replace(
            self,
            window_s=round(float(np.median(seconds)), 4),
            shortest_s=round(shortest, 4),
            step_s=round(max(shortest / 10, 1 / usual), 4),
            rate=usual,
        )


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities over the last axis, in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    total: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return total


def calibration_error(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15
) -> float:
    """Expected calibration error in percent: confidence against accuracy, over equal bins.

    Args:
        probabilities: `(N, K)`.
        labels: `(N,)`.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=right - confidence, minlength=bins)
    return 100 * float(np.abs(gaps).sum()) / len(labels)


def parse_calibration(text: str | bytes | None, path: Path) -> Calibration:
    """A stored calibration, or the defaults where there is none.

    Raises:
        UserError: it is damaged.
    """
    if not text:
        return Calibration()
    try:
        return Calibration.from_dict(parse_json(text))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: its calibration is damaged ({error}); run lastkd calibrate on it again"
        ) from None


def checkpoint_calibration(path: Path) -> Calibration:
    """The calibration of a safetensors checkpoint; errors as in `parse_calibration`."""
    try:
        with path.open("rb") as file:
            metadata = read_header(file).get(METADATA, {})
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is damaged or no safetensors file ({error})") from None
    return parse_calibration(metadata.get(KEY), path)


def store_in_checkpoint(path: Path, calibration: Calibration) -> None:
    """Writes a calibration into a checkpoint's metadata; its tensors stay byte for byte.

    Raises:
        UserError: the file is no checkpoint, the disk is full or the folder can't be written.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
            tensors = file.read()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is damaged or no safetensors file ({error})") from None
    own = {KEY: json.dumps(calibration.to_dict())}
    with replacing(path) as part:
        part.write_bytes(
            header_bytes({**header, METADATA: header.get(METADATA, {}) | own}) + tensors
        )
