"""A checkpoint as the model behind a stream, in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lastkd.evaluation.calibration import checkpoint_calibration
from lastkd.evaluation.checkpoint import view_settings
from lastkd.export.graph import ClipClassifier
from lastkd.live.classifier import ModelFacts
from lastkd.models.checkpoint import read_checkpoint


class CheckpointClassifier:
    """A `Classifier` on the CPU.

    Args:
        factory: `package.module:factory`, where the model isn't one of lastkd's.

    Raises:
        UserError: the checkpoint is damaged, or the factory isn't the one that it names.
    """

    def __init__(self, path: Path, factory: str | None = None) -> None:
        read = read_checkpoint(path)
        info = read.info
        self._model = ClipClassifier(read.build(factory), view_settings(info))
        self.facts = ModelFacts(
            name=info.architecture.name,
            layout=info.layout.name,
            class_names=info.shown_classes,
            joints=info.layout.joints,
            parents=info.layout.parents,
            mirror=info.layout.mirror,
            dimensions=info.layout.dimensions,
            up=info.layout.up,
            bodies=self._model.bodies,
            calibration=checkpoint_calibration(path),
            split=info.settings.get("split"),
        )

    @torch.inference_mode()
    def __call__(self, joints: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._model(torch.from_numpy(joints))[0].numpy()
        return logits
