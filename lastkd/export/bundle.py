"""A folder with all that a board needs to run a student, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lastkd.errors import UserError
from lastkd.evaluation.calibration import KEY, Calibration, softmax
from lastkd.export.formats import ABOUT
from lastkd.files.atomic import replacing_folder

PROGRAM = Path(__file__).parent / "board" / "predict.py"
"""Copied as it is; it runs on numpy and ONNX Runtime alone."""
TOLERANCE = 1e-5


def write_bundle(exported: Path, out: Path, sample: NDArray[np.float32]) -> dict[str, Any]:
    """Writes `model.onnx`, `labels.json`, `predict.py`, `sample.npy` and `README.md`.

    Args:
        exported: a calibrated file of `lastkd export`.
        out: a folder that doesn't exist yet.
        sample: joints `(T, M, V, 3)` of a clip that lies beside the program.

    Returns:
        What `labels.json` says.

    Raises:
        UserError: `exported` isn't calibrated, or `out` exists or can't be written.
    """
    if out.exists():
        raise UserError(f"{out}: exists already; remove it or choose another --bundle")
    model = onnx.load(exported)
    about = json.loads({one.key: one.value for one in model.metadata_props}[ABOUT])
    if KEY not in about:
        raise UserError(f"{exported}: isn't calibrated; run lastkd calibrate on it first")
    calibration = Calibration.from_dict(about[KEY])
    M = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    sample = _with_bodies(sample, M)
    logits = _run(model, sample)
    _add_softmax(model, calibration.temperature)
    probabilities = _run(model, sample)
    expected = softmax(logits, calibration.temperature)
    if not np.abs(probabilities - expected).max() <= TOLERANCE:
        raise UserError(f"{out}: not written, as its probabilities differ from the checkpoint's")
    best = int(probabilities.argmax())
    labels = _labels(about, calibration, M, best, float(probabilities[best]))
    with replacing_folder(out) as part:
        onnx.save_model(model, part / "model.onnx")
        text = json.dumps(labels, indent=2, ensure_ascii=False)
        (part / "labels.json").write_text(text + "\n", encoding="utf-8")
        (part / "README.md").write_text(_readme(labels), encoding="utf-8")
        shutil.copyfile(PROGRAM, part / "predict.py")
        np.save(part / "sample.npy", sample)
    return labels


def _labels(
    about: dict[str, Any],
    calibration: Calibration,
    bodies: int,
    best: int,
    probability: float,
) -> dict[str, Any]:
    return {
        "model": about["model"],
        "weights_hash": about["weights_hash"],
        "classes": about["classes"],
        "bodies": bodies,
        "layout": about["layout"],
        "joints": about["joints"],
        "dimensions": about["skeleton"]["dimensions"],
        "stream": {
            "window_s": calibration.window_s,
            "step_s": calibration.step_s,
            "shortest_s": calibration.shortest_s,
            "threshold": calibration.threshold,
            "stillness": calibration.stillness,
            "frames_per_second": calibration.rate,
        },
        "calibration": {
            "temperature": calibration.temperature,
            "clips": calibration.clips,
            "split": calibration.split,
            "expected_error_percent": calibration.ece,
        },
        "sample": {"class": about["classes"][best], "probability": round(probability, 4)},
    }


def _with_bodies(sample: NDArray[np.float32], bodies: int) -> NDArray[np.float32]:
    fitted = np.zeros((len(sample), bodies, *sample.shape[2:]), np.float32)
    fitted[:, : sample.shape[1]] = sample[:, :bodies]
    return fitted


def _add_softmax(model: onnx.ModelProto, temperature: float) -> None:
    """Puts `probabilities` in the place of `logits`, the temperature included."""
    graph = model.graph
    (output,) = graph.output
    classes = output.type.tensor_type.shape.dim[1].dim_value
    graph.initializer.append(
        numpy_helper.from_array(np.array(temperature, np.float32), "temperature")
    )
    graph.node.extend(
        [
            helper.make_node(
                "Div", [output.name, "temperature"], ["honest"], "temperature_scaling"
            ),
            helper.make_node("Softmax", ["honest"], ["probabilities"], "softmax", axis=1),
        ]
    )
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, classes])
    )
    about = json.loads({one.key: one.value for one in model.metadata_props}[ABOUT])
    about["output"] = f"probabilities float32 (1, {classes})"
    del model.metadata_props[:]
    helper.set_model_props(model, {ABOUT: json.dumps(about)})


def _run(model: onnx.ModelProto, sample: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    row: NDArray[np.float32] = session.run(None, {"joints": sample})[0][0]
    return row


def _readme(labels: dict[str, Any]) -> str:
    joints, classes = labels["joints"], labels["classes"]
    stream, calibration = labels["stream"], labels["calibration"]
    error = calibration["expected_error_percent"]
    template = (PROGRAM.parent / "README.md").read_text(encoding="utf-8")
    return template.format(
        model=labels["model"],
        classes=len(classes),
        joints=len(joints),
        joint_names=", ".join(joints),
        channels=("x, y (upwards), z" if labels["dimensions"] == 3 else "x, y (downwards), score"),
        bodies=labels["bodies"],
        people=(
            "one body; of several people give the one who acts"
            if labels["bodies"] == 1
            else "actor 1 first, actor 2 after"
        ),
        sample=labels["sample"]["class"],
        percent=f"{100 * labels['sample']['probability']:.1f}",
        temperature=f"{calibration['temperature']:.3g}",
        clips=f"{calibration['clips']:,}",
        error="unknown" if error is None else f"{error:.1f} %",
        window=f"{stream['window_s']:.2f}",
        step=f"{stream['step_s']:.2f}",
        frames=round(stream["window_s"] * stream["frames_per_second"]),
        rate=f"{stream['frames_per_second']:g}",
        threshold=f"{stream['threshold']:.2f}",
        hold=f"{stream['threshold'] / 2:.2f}",
        stillness=f"{stream['stillness']:.2f}",
    )
