"""How long a sequence will take on this machine: a short measurement, and sums of it."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import StopRequests
from lastkd.errors import UserError
from lastkd.pipeline.auto_tau import AUTO, USUAL_TAU
from lastkd.pipeline.child import run_child
from lastkd.pipeline.settings import SequenceSettings, model_of
from lastkd.pipeline.steps import Evaluation, Step, StepStatus, Training

MODULE = "lastkd.pipeline.measure"


def order(sequence: SequenceSettings, parts: set[str]) -> dict[str, Any]:
    """What the measuring process is to time.

    Args:
        parts: names of the steps' parts that are still to do; evaluations stand for a model.
    """
    wanted: dict[str, Any] = {}

    def alone(name: str, model: str, *, teacher: bool) -> None:
        evaluated = f"evaluation of {model}"
        if name in parts or evaluated in parts:
            said = sequence.train_words(model, 0, Path("unused"), teacher=teacher)
            wanted[name] = {"teacher": None, "steps": name in parts, "settings": [_plain(said)]}

    if sequence.trains_teacher:
        alone("teacher", sequence.teacher_model, teacher=True)
    for variant in sequence.variant:
        model = model_of(variant)
        alone(f"{model} standalone", model, teacher=False)
    if "distilled" in parts:
        known = sequence.teacher_checkpoint
        teacher = str(known) if sequence.teacher or known.exists() else sequence.teacher_model
        said = sequence.distill_words(sequence.variant, 0, Path("unused"))
        said = {name: value for name, value in said.items() if name not in _NOT_MEASURED}
        if said.get("tau") == AUTO:
            said["tau"] = USUAL_TAU  # which takes as long
        wanted["distilled"] = {
            "teacher": teacher,
            "steps": True,
            "settings": [_plain(said | {"variant": variant}) for variant in sequence.variant],
        }
    return {
        "data": str(sequence.data),
        "accumulation": sequence.resolved_train(
            sequence.teacher_model, 0, Path("unused"), teacher=True
        ).accumulation,
        "parts": wanted,
    }


_NOT_MEASURED = {"teacher", "teacher_cache", "standalone"}


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, Path) else v for name, v in said.items()}


def measured(
    sequence: SequenceSettings, launch: Launch, parts: set[str], requests: StopRequests
) -> dict[str, Any]:
    """Times the parts in a process group like that of the runs.

    Raises:
        Stopped: it was asked to stop.
        UserError: it failed; its own words stand above.
    """
    with tempfile.TemporaryDirectory() as made:
        asked, result = Path(made) / "order.json", Path(made) / "result.json"
        said = order(sequence, parts) | {"begun": time.time()}
        asked.write_text(json.dumps(said), encoding="utf-8")
        code = run_child(launch.words(MODULE, str(asked), str(result)), requests)
        if code or not result.exists():
            raise UserError("the measurement failed; what it said stands above")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def seconds_left(step: Step, standing: StepStatus, found: dict[str, Any]) -> float | None:
    """Seconds that the rest of a step takes; None for what isn't measured (the report).

    Args:
        found: what `measured` returned.
    """
    if standing.done:
        return 0.0
    parts = found["parts"]
    if isinstance(step, Training):
        part = parts[step.part]
        settings = step.likely_settings()
        evaluations = -(-settings.epochs // settings.eval_every)
        evaluating = sum(part["eval_s"].values()) * part["test_clips"] * evaluations
        whole = settings.epochs * part["steps_per_epoch"] * part["step_s"] + evaluating
        return float(found["start_s"] + (1 - standing.share) * whole)
    if isinstance(step, Evaluation):
        for part in parts.values():
            if step.model in part["eval_s"]:
                return float(found["start_s"] + part["test_clips"] * part["eval_s"][step.model])
    return None
