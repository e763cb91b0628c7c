"""Estimates how long a sequence takes on this machine, from a short measurement."""

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
from lastkd.pipeline.runner import StepStatus
from lastkd.pipeline.settings import SequenceSettings
from lastkd.pipeline.steps import EvaluationStep, SequenceStep, TrainingStep
from lastkd.settings.students import model_of

MODULE = "lastkd.pipeline.measure"


def order(sequence: SequenceSettings, parts: set[str]) -> dict[str, Any]:
    """The order for the measuring process: what it is to time.

    Args:
        parts: the parts of the steps that are still to do; an evaluation's names its model.
    """
    ordered: dict[str, Any] = {}

    def add_standalone(name: str, models: tuple[str, ...], *, teacher: bool) -> None:
        if name in parts or any(f"evaluation of {model}" in parts for model in models):
            options = _plain(sequence.train_options(models, 0, UNUSED, teacher=teacher))
            settings = [options | {"model": model} for model in models]
            ordered[name] = {"teacher": None, "steps": name in parts, "settings": settings}

    if sequence.trains_teacher:
        add_standalone("teacher", (sequence.teacher_model,), teacher=True)
    add_standalone("standalone", tuple(map(model_of, sequence.variant)), teacher=False)
    if "distilled" in parts:
        known = sequence.teacher_checkpoint
        teacher = str(known) if sequence.teacher or known.exists() else sequence.teacher_model
        options = sequence.distill_options(sequence.variant, 0, UNUSED)
        options = {name: value for name, value in options.items() if name not in _NOT_MEASURED}
        if options.get("tau") == AUTO:
            options["tau"] = USUAL_TAU  # which takes equally long
        ordered["distilled"] = {
            "teacher": teacher,
            "steps": True,
            "settings": [_plain(options | {"variant": variant}) for variant in sequence.variant],
        }
    of_teacher = sequence.resolved_train(sequence.teacher_model, 0, UNUSED, teacher=True)
    return {
        "data": str(sequence.data),
        "accumulation": of_teacher.accumulation,
        "parts": ordered,
    }


UNUSED = Path("unused")
_NOT_MEASURED = {"teacher", "teacher_cache", "standalone"}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}


def measure(
    sequence: SequenceSettings, launch: Launch, parts: set[str], requests: StopRequests
) -> dict[str, Any]:
    """Times the parts in a process group like that of the runs.

    Raises:
        Stopped: this process was asked to stop.
        UserError: the measurement failed; its output is above the error.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, result = Path(folder) / "order.json", Path(folder) / "result.json"
        ordered = order(sequence, parts) | {"begun": time.time()}
        asked.write_text(json.dumps(ordered), encoding="utf-8")
        argv = launch.argv(MODULE, str(asked), str(result))
        code = run_child(argv, requests, launched=launch.by_launcher)
        if code or not result.exists():
            raise UserError("the measurement failed; its output stands above")
        measured: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return measured


def seconds_left(step: SequenceStep, status: StepStatus, measured: dict[str, Any]) -> float | None:
    """Seconds that the rest of a step takes; None for the report, which isn't measured.

    Args:
        measured: what `measure` returned.
    """
    if status.done:
        return 0.0
    start_s, parts = measured["start_s"], measured["parts"]
    if isinstance(step, TrainingStep):
        part = parts[step.part]
        settings = step.likely_settings()
        epochs = settings.epochs
        if settings.steps is not None:
            epochs = -(-settings.steps // part["steps_per_epoch"])
        evaluations = -(-epochs // settings.eval_every)
        evaluated = part["evaluated_clips"] * evaluations
        if part["evaluated_clips"] != part["test_clips"]:
            evaluated += part["test_clips"]  # once, at the end
        evaluating_s = sum(part["eval_s"].values()) * evaluated
        whole_s = epochs * part["steps_per_epoch"] * part["step_s"] + evaluating_s
        return float(start_s + (1 - status.share) * whole_s)
    if isinstance(step, EvaluationStep):
        clip_s = {model: s for part in parts.values() for model, s in part["eval_s"].items()}
        test_clips = next(iter(parts.values()))["test_clips"]
        return float(start_s + test_clips * sum(clip_s[model] for model in step.left.values()))
    return None
