"""lastkd: knowledge distillation for skeleton action recognition.

import lastkd

model = lastkd.build_model("last_e_nano", num_classes=60, layout="ntu25")
model = lastkd.load_model("runs/nano/best.safetensors")
for clip in lastkd.predict_clips("runs/nano/best.safetensors", ["clip.skeleton"]):
    print(clip.name, clip.top(5))

docs/python.md has the whole way, from a store to a distilled student.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import lastkd.process_start  # noqa: F401 - it notes the time and the parent before slow imports
from lastkd.version import __version__

_PLACES = {
    "build_model": "lastkd.models",
    "load_model": "lastkd.models",
    "prepare_store": "lastkd.data.store.prepare",
    "train_model": "lastkd.train",
    "distill_model": "lastkd.distill",
    "evaluate_checkpoint": "lastkd.evaluation.checkpoint",
    "predict_clips": "lastkd.evaluation.predict",
    "Predictor": "lastkd.evaluation.predict",
    "StreamPredictor": "lastkd.live.predictor",
    "export_checkpoint": "lastkd.export.checkpoint",
}
__all__ = [
    "Predictor",
    "StreamPredictor",
    "__version__",
    "build_model",
    "distill_model",
    "evaluate_checkpoint",
    "export_checkpoint",
    "load_model",
    "predict_clips",
    "prepare_store",
    "train_model",
]

if TYPE_CHECKING:
    from lastkd.data.store.prepare import prepare_store
    from lastkd.distill import distill_model
    from lastkd.evaluation.checkpoint import evaluate_checkpoint
    from lastkd.evaluation.predict import Predictor, predict_clips
    from lastkd.export.checkpoint import export_checkpoint
    from lastkd.live.predictor import StreamPredictor
    from lastkd.models import load_model
    from lastkd.models.registry import build_model
    from lastkd.train import train_model


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; commands that don't need it shouldn't wait for it
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'lastkd' has no attribute {name!r}")
