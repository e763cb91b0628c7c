"""From the settings of a command to the job of a kernel."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lastkd.errors import UserError, nearest
from lastkd.files.yaml_files import read_mapping
from lastkd.kaggle.job import Job, Step, seconds
from lastkd.kaggle.packing import template_job
from lastkd.kaggle.references import slugified, source
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import ConfiguredSettings, DistillSettings, TrainSettings, setting_names
from lastkd.settings.students import model_of, parse_variants, students

LONGEST_S = 11.5 * 3600
_SETTINGS: dict[str, type[ConfiguredSettings]] = {
    "train": TrainSettings,
    "distill": DistillSettings,
}
_EVALUATED = ("split", "clips", "by_class", "confused")
SYNTHETIC = "synthetic"
_FOLDERS = ("run", "teacher_cache")
_NEEDED = {
    "data": "a dataset that holds a store, or kernel:OWNER/SLUG whose output it is",
    "teacher": "a dataset that holds its checkpoint, or kernel:OWNER/SLUG whose output it is",
}


def _written(value: Any) -> Any:
    return ",".join(value) if isinstance(value, tuple) else value


def _inside(name: str, value: Any) -> str:
    """A folder that a kernel writes to, below its own; run folders stand in runs/."""
    path = PurePosixPath(str(value))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(
            f"--{name.replace('_', '-')} {value}: name a folder of the kernel's, such as runs/large"
        )
    return str(path if name != "run" or path.parts[0] == "runs" else PurePosixPath("runs") / path)


def _checked(given: Mapping[str, Any], file: Path | None, command: str) -> dict[str, Any]:
    """What the user said, from the file and the command line, once it is known to be right."""
    kind = _SETTINGS[command]
    from_file = read_mapping(file) if file else {}
    said = from_file | dict(given)
    known = setting_names(kind, said)
    for key in from_file:
        if key not in known:
            raise UserError(f"{file}: unknown key {key!r}; {nearest(key, known)}")
    fitting = {name: value for name, value in said.items() if name in known}
    needed: dict[str, Any] = {"model": "last_e_nano"} if kind is TrainSettings else {}
    needed |= {"variant": "nano"} if kind is DistillSettings else {}
    if fitting.get("variant") is None:
        resolve(kind, needed | fitting)
        return said
    try:
        variants = parse_variants(fitting["variant"])
    except ValueError as error:
        raise UserError(f"{file}: {error}" if file else str(error)) from None
    for variant in variants:
        resolve(kind, fitting | {"variant": variant})
    return said | {"variant": variants}


def training_job(what: str, given: Mapping[str, Any], file: Path | None) -> Job:
    """The job of `train`, `baselines`, `distill` or `sequence`.

    Args:
        given: settings by name, as the command line says them.
        file: YAML with more of them; its content travels, not the file.

    Raises:
        UserError: a setting is wrong, or one that is needed is missing.
    """
    job = template_job(what)
    said = _checked(given, file, "distill" if what in ("distill", "sequence") else "train")
    inputs = {}
    for name in job.inputs if what != "sequence" else ("data", "teacher"):
        if said.get(name) is not None:
            inputs[name] = str(source(str(said[name])))
        elif name in job.inputs:
            raise UserError(f"which {name}? give --{name} with OWNER/SLUG of {_NEEDED[name]}")
    if said.get("resume") not in (None, "auto"):
        raise UserError(
            "--resume: a kernel resumes what is its own; go on with lastkd kaggle resume"
        )
    chosen = said.get("variant") or tuple(students())
    models = {model_of(variant) for variant in chosen}
    known_students = {student.model for student in students().values()}
    steps = []
    for text in job.steps:
        step = Step(text)
        model = step.options.get("--model") or ""
        if what in ("baselines", "sequence") and model in known_students:
            if model not in models:
                continue
        elif what == "sequence" and model and "teacher" in inputs:
            continue  # there is one already
        _say(step, said, kept=("run", "model") if what == "sequence" else ())
        if what == "sequence" and step.command == "distill" and "teacher" in inputs:
            step.options["--teacher"] = "{teacher}"
        if what == "sequence" and step.command == "distill" and len(chosen) == 1:
            # one student takes the folder as its own, several stand in it by name
            step.options["--run"] = f"runs/distilled/{chosen[0]}"
        steps.append(str(step))
    return _finished(job, said, steps, inputs)


def _say(step: Step, said: Mapping[str, Any], kept: tuple[str, ...]) -> None:
    """Gives a step the settings that its command knows, but for those in `kept`."""
    kind = _SETTINGS.get(step.command)
    known = setting_names(kind, said) if kind else _EVALUATED if step.command == "evaluate" else ()
    elsewhere = ("data", "teacher", "resume", "time_budget", *kept)
    for name, value in said.items():
        if name in known and name not in elsewhere and value is not None:
            step.set(name, _inside(name, value) if name in _FOLDERS else _written(value))


def evaluation_job(checkpoint: str, given: Mapping[str, Any]) -> Job:
    """The job of `evaluate`.

    Args:
        checkpoint: dataset or kernel whose checkpoints are measured.

    Raises:
        UserError: the data aren't named, or a name is wrong.
    """
    job = template_job("evaluate")
    if given.get("data") is None:
        raise UserError(f"which data? give --data with OWNER/SLUG of {_NEEDED['data']}")
    inputs = {"data": str(source(given["data"])), "checkpoint": str(source(checkpoint))}
    step = Step(job.steps[0])
    said = {name: value for name, value in given.items() if value is not False}  # no such option
    _say(step, said, ())
    return _finished(job, given, [str(step)], inputs)


def preparation_job(sources: Sequence[str], given: Mapping[str, Any]) -> Job:
    """The job of `prepare`.

    Args:
        sources: the datasets that hold the skeletons, or the word synthetic.
        given: the options of lastkd prepare.

    Raises:
        UserError: a name is wrong, or a file of this machine is meant.
    """
    job = template_job("prepare")
    step = Step(job.steps[0])
    inputs = {}
    step.arguments = []
    for number, text in enumerate(sources, start=1):
        name = "source" if number == 1 else f"source{number}"
        if text != SYNTHETIC:
            inputs[name] = str(source(text))
        step.arguments.append(text if text == SYNTHETIC else f"{{{name}}}")
    for name, value in given.items():
        if name in ("machine", "time_budget") or value in (None, False):
            continue
        if str(value).endswith((".yaml", ".yml")):
            raise UserError(
                f"--{name} {value}: is a file of this machine, which a kernel can't see; prepare "
                "the store here and upload it"
            )
        step.set(name, value)
    return _finished(job, given, [str(step)], inputs)


def _finished(
    job: Job, said: Mapping[str, Any], steps: list[str], inputs: Mapping[str, str]
) -> Job:
    budget = str(said.get("time_budget") or job.time_budget)
    if seconds(budget) > LONGEST_S:
        raise UserError(
            f"--time-budget {budget}: a kernel runs for 12 hours at most and needs the last "
            "half hour to save what it has; give 11h or less"
        )
    return job.model_copy(
        update={
            "steps": tuple(steps),
            "inputs": dict(inputs),
            "machine": said.get("machine") or job.machine,
            "time_budget": budget,
            "id": uuid.uuid4().hex[:12],
        }
    )


def kernel_name(what: str, job: Job) -> str:
    """The slug of a kernel that the user hasn't named."""
    step = Step(job.steps[0])
    more = {
        "train": step.options.get("--model"),
        "distill": step.options.get("--variant"),
        "prepare": job.inputs.get("source", SYNTHETIC).rpartition("/")[2],
    }.get(what)
    return slugified(f"lastkd-{what}-{more}" if more else f"lastkd-{what}")[:43].strip("-")
