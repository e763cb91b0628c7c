"""The model behind a stream: joints of a window in, logits out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lastkd.errors import UserError
from lastkd.evaluation.calibration import Calibration


@dataclass(frozen=True)
class ModelFacts:
    """What a stream has to know of its model.

    Attributes:
        name: of the architecture.
        layout: its name; "" where the file doesn't say.
        class_names: by label.
        joints: their names, in order.
        parents: each joint's parent, -1 for the root.
        mirror: (left, right) pairs of joints.
        dimensions: 2 (x, y and a score) or 3.
        bodies: M that the model looks at.
        calibration: temperature, threshold and timing.
    """

    name: str
    layout: str
    class_names: tuple[str, ...]
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    mirror: tuple[tuple[int, int], ...]
    dimensions: int
    bodies: int
    calibration: Calibration


class Classifier(Protocol):
    """A model that takes the raw joints of one clip."""

    facts: ModelFacts

    def __call__(self, joints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits `(K,)` of `(T, M, V, 3)`: T at least 2, M as `facts.bodies`, actor 1 first."""


def open_classifier(model: str | Path, *, factory: str | None = None) -> Classifier:
    """A checkpoint's model, or that of an exported ONNX file; on one thread of the CPU.

    Args:
        factory: `package.module:factory`, where a checkpoint's model isn't one of lastkd's.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    path = Path(model)
    if not path.is_file():
        raise UserError(f"{path}: no such model; give a checkpoint or an exported .onnx file")
    if path.suffix == ".onnx":
        from lastkd.live.onnx_classifier import OnnxClassifier

        return OnnxClassifier(path)
    if path.suffix in (".pt", ".pt2"):
        raise UserError(
            f"{path}: a stream runs on a checkpoint or an .onnx file; export it with --format onnx"
        )
    from lastkd.live.checkpoint_classifier import CheckpointClassifier  # torch takes seconds

    return CheckpointClassifier(path, factory)
