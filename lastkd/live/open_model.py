"""A model file as the `Classifier` that runs it."""

from __future__ import annotations

from pathlib import Path

from lastkd.errors import UserError
from lastkd.live.classifier import Classifier


def open_classifier(model: str | Path, *, factory: str | None = None) -> Classifier:
    """A checkpoint's model, or that of an exported ONNX file; on one thread of the CPU.

    Args:
        factory: `package.module:factory`, where a checkpoint's model isn't one of lastkd's.

    Raises:
        UserError: the file is missing, damaged or of another kind, or ONNX Runtime isn't installed.
    """
    path = Path(model)
    if not path.is_file():
        raise UserError(f"{path}: no such model; give a checkpoint or an exported .onnx file")
    if path.suffix == ".onnx":
        try:
            from lastkd.live.onnx_classifier import OnnxClassifier
        except ModuleNotFoundError as error:
            raise UserError(f"{path}: needs {error.name}; pip install {error.name}") from None
        return OnnxClassifier(path)
    if path.suffix in (".pt", ".pt2"):
        raise UserError(
            f"{path}: a stream runs on a checkpoint or an .onnx file; export it with --format onnx"
        )
    from lastkd.live.checkpoint_classifier import CheckpointClassifier

    return CheckpointClassifier(path, factory)
