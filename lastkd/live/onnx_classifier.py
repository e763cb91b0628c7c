"""An exported ONNX file, run by ONNX Runtime: no torch, no other part of lastkd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lastkd.data.class_names import numbered_classes
from lastkd.errors import UserError
from lastkd.evaluation.calibration import KEY, Calibration
from lastkd.export.formats import ABOUT
from lastkd.files.json_text import parse_json
from lastkd.live.classifier import ModelFacts


class OnnxClassifier:
    """A `Classifier` on one thread.

    Raises:
        UserError: the file is damaged, or isn't one of `lastkd export`.
    """

    def __init__(self, path: Path) -> None:
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            about = self._session.get_modelmeta().custom_metadata_map.get(ABOUT)
        except Exception as error:  # the runtime raises classes of its own
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: can't be opened by ONNX Runtime ({reason})") from None
        if about is None:
            raise UserError(f"{path}: isn't a file of lastkd export, so its classes are unknown")
        try:
            described = parse_json(about)
            if "skeleton" not in described:
                raise UserError(
                    f"{path}: was exported by an older lastkd, without its skeleton; export it"
                )
            self.facts = _facts(described, self._session.get_inputs()[0].shape)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{path}: its description is damaged ({error}); export it again"
            ) from None

    def __call__(self, joints: NDArray[np.float32]) -> NDArray[np.float32]:
        (logits,) = self._session.run(None, {"joints": joints})
        row: NDArray[np.float32] = logits[0]
        return row


def _facts(about: dict[str, Any], shape: list[Any]) -> ModelFacts:
    joints = tuple(about["joints"])
    skeleton = about["skeleton"]
    count = int(about["output"].rpartition(",")[2].strip(" )"))
    calibration = about.get(KEY)
    return ModelFacts(
        name=about["model"],
        layout=about["layout"],
        class_names=tuple(about["classes"]) or numbered_classes(count),
        joints=joints,
        parents=tuple(skeleton["parents"]),
        mirror=tuple((left, right) for left, right in skeleton["mirror"]),
        dimensions=int(skeleton["dimensions"]),
        up=skeleton.get("up"),
        bodies=int(shape[1]),
        calibration=Calibration() if calibration is None else Calibration.from_dict(calibration),
        split=about.get("split"),
    )
