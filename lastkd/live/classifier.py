"""The model behind a stream: joints of a window in, logits out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
        up: which way is up in the files of its skeletons, where it isn't y (in an image -y).
        split: on whose training part it was trained; None where the file doesn't say.
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
    up: str | None = None
    split: str | None = None

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) pairs."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if parent >= 0)


class Classifier(Protocol):
    """A model that takes the raw joints of one clip."""

    facts: ModelFacts

    def __call__(self, joints: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits `(K,)` of `(T, M, V, 3)`: T at least 2, M as `facts.bodies`, actor 1 first."""
