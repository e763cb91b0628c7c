"""The files that a classifier is exported to: written, and opened again as a user would."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lastkd.errors import UserError
from lastkd.export.graph import ClipClassifier

Format = Literal["onnx", "torchscript", "pt2"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt", "pt2": ".pt2"}
ABOUT = "lastkd.json"
"""Name under which a file holds what it says of itself, as JSON."""

Runner = Callable[[Tensor], Tensor]
"""Joints `(T, M, V, 3)` to logits `(1, K)`."""


def require_onnx() -> None:
    """
    Raises:
        UserError: the packages for ONNX aren't installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"format onnx needs the package {error.name}; pip install 'lastkd[export]'"
        ) from None


def write(
    classifier: ClipClassifier, example: Tensor, path: Path, form: Format, about: dict[str, Any]
) -> None:
    """Writes one file.

    Args:
        example: joints `(T, M, V, 3)`, T of which stays free.
        about: what the file says of itself.

    Raises:
        OSError: it can't be written.
    """
    text = json.dumps(about)
    with _quiet(), torch.no_grad():
        if form == "torchscript":
            traced = torch.jit.freeze(torch.jit.trace(classifier, (example,)))
            torch.jit.save(traced, str(path), _extra_files={ABOUT: text})
            return
        frames = torch.export.Dim("frames", min=2)
        program = torch.export.export(
            classifier, (example,), dynamic_shapes={"joints": {0: frames}}, strict=False
        )
        if form == "pt2":
            buffer = io.BytesIO()  # a path would have to end with .pt2
            torch.export.save(program, buffer, extra_files={ABOUT: text})
            path.write_bytes(buffer.getvalue())
            return
        _write_onnx(program, path, text)


def _write_onnx(program: torch.export.ExportedProgram, path: Path, about: str) -> None:
    import onnx

    exported = torch.onnx.export(
        program, dynamo=True, input_names=["joints"], output_names=["logits"], verbose=False
    )
    assert exported is not None
    model = exported.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]  # stack traces, with the paths of the machine that exported
    onnx.helper.set_model_props(model, {ABOUT: about})
    onnx.save_model(model, path)


def open_exported(path: Path, form: Format) -> Runner:
    """The file as its runtime runs it, on one thread of the CPU."""
    if form == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        return lambda joints: torch.from_numpy(session.run(None, {"joints": joints.numpy()})[0])
    with _quiet():
        if form == "torchscript":
            module = torch.jit.load(str(path))
        else:
            module = torch.export.load(io.BytesIO(path.read_bytes())).module()

    def run(joints: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = module(joints)
        return logits

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' talk of their own affairs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
