"""8-bit weights and activations for ONNX Runtime."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from torch import Tensor

CALIBRATION_CLIPS = 200
PERCENTILE = 99.99
"""Share of an activation's values that its range covers. The widest ones are a few frames of a few
clips; to cover those too would cost half the accuracy."""
COORDINATES = [3, 1, 1]
"""Kernel of a convolution that takes coordinates: input channels, frames, joints."""
SCALING = [1, 1, 1]
"""Kernel of a convolution that scales and shifts each channel."""


class _Clips(CalibrationDataReader):  # type: ignore[misc]
    """Clips as the quantiser asks for them, one after the other."""

    def __init__(self, clips: Sequence[Tensor]) -> None:
        self._left: Iterator[Tensor] = iter(clips)

    def get_next(self) -> dict[str, object] | None:
        clip = next(self._left, None)
        return None if clip is None else {"joints": clip.numpy()}


def quantise(source: Path, out: Path, clips: Sequence[Tensor]) -> None:
    """Writes `source` with its convolutions in 8 bits (QDQ, signed, weights by channel).

    What comes before the network stays in float32, and so do the first convolutions: they take
    coordinates, of which a few lie far from all others.

    Args:
        clips: training clips from which the ranges of the activations are taken, `(T, M, V, 3)`
            each.
    """
    graph = onnx.load(source).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    kernels = {
        node.name: shapes.get(node.input[1], [0])[1:]
        for node in graph.node
        if node.op_type == "Conv"
    }
    # norms of a channel each have no product to gain from 8 bits
    in_float32 = [name for name, kernel in kernels.items() if kernel in (COORDINATES, SCALING)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises on pre-processing through the root logger
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # and prints how it calibrates
            quantize_static(
                str(source),
                str(out),
                _Clips(clips),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=in_float32,
                calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": PERCENTILE},
            )
    finally:
        root.setLevel(level)
