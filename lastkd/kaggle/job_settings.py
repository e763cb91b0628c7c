"""From the options of `lastkd kaggle push` to the job of a kernel."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from lastkd.data.open_source import SYNTHETIC
from lastkd.errors import UserError
from lastkd.files.yaml_files import read_mapping
from lastkd.kaggle.job import PLACEHOLDERS, Job, seconds
from lastkd.kaggle.packing import template_jobs
from lastkd.kaggle.references import slugified, source
from lastkd.pipeline.request import resolve_all, resolve_models
from lastkd.pipeline.settings import command_line, config_file, sequence_settings

LONGEST_S = 11.5 * 3600
_FILES = (".yaml", ".yml", ".txt", ".csv", ".json")
_NEEDED = {
    "data": "a dataset that holds a store, or kernel:OWNER/SLUG whose output it is",
    "teacher": "a dataset that holds its checkpoint, or kernel:OWNER/SLUG whose output it is",
}
_DECIDED = ("out", "figures", "launch_config")
"""Settings of a sequence that the job decides."""


def training_job(kind: str, options: Mapping[str, Any], file: Path | None) -> Job:
    """The job of `train`, `baselines`, `distill` or `sequence`.

    Args:
        options: settings by name, as the command line gives them.
        file: YAML with more of them; its content travels, not the file.

    Raises:
        UserError: a setting is wrong, or one that is needed is missing.
    """
    job = template_jobs()[kind]
    conducted = kind in ("baselines", "sequence")
    if file is not None and conducted:
        file = config_file(file)
    config = read_mapping(file) if file else {}
    merged = config | dict(options)
    if merged.get("resume") not in (None, "auto"):
        raise UserError("--resume: a kernel resumes its own runs; use lastkd kaggle resume")
    if merged.get("standalone") is not None:
        raise UserError(
            f"{file}: standalone {merged['standalone']}: a kernel can't see runs of this machine; "
            "leave it out, or push a sequence, which trains the standalone students first"
        )
    _check(kind, options, file)
    optional = ("data", "teacher") if kind == "sequence" else ()
    inputs = _inputs(merged, tuple(job.inputs), optional)
    decided = ("data", "teacher", "resume", "time_budget", "machine", *_DECIDED)
    config = {name: _inside(name, value) for name, value in config.items() if name not in decided}
    teachers = [f"{{{name}}}" for name in inputs if name.startswith("teacher")]
    settings: dict[str, Any] = {"teacher": ",".join(teachers)} if teachers else {}
    settings |= {name: _inside(name, v) for name, v in options.items() if name not in decided}
    command = with_options(without_options(job.command, config), settings)
    return _finished(job.model_copy(update={"command": command, "config": config}), merged, inputs)


def evaluation_job(checkpoint: str, options: Mapping[str, Any]) -> Job:
    """The job of `evaluate`.

    Args:
        checkpoint: the dataset or kernel whose checkpoints are evaluated.
        options: those of `lastkd evaluate`.

    Raises:
        UserError: the data aren't given, or a name is wrong.
    """
    job = template_jobs()["evaluate"]
    inputs = _inputs({**options, "checkpoint": checkpoint}, tuple(job.inputs))
    return _with_flags(job, options, inputs, without=("data", "machine", "time_budget"))


def check_job(options: Mapping[str, Any]) -> Job:
    """The job of `check`.

    Args:
        options: those of `lastkd check`; `data` names a dataset or kernel that holds a store.

    Raises:
        UserError: a name is wrong.
    """
    job = template_jobs()["check"]
    inputs = _inputs(options, (), ("data",))
    parts = [job.command, *("--data {data}" for name in inputs)]
    if options.get("pace") is False:
        parts.append("--no-pace")
    job = job.model_copy(update={"command": " ".join(parts)})
    return _with_flags(job, {**options, "pace": None}, inputs, ("data", "machine", "time_budget"))


def preparation_job(sources: Sequence[str], options: Mapping[str, Any]) -> Job:
    """The job of `prepare`.

    Args:
        sources: the datasets that hold the skeletons, or the word synthetic.
        options: those of `lastkd prepare`.

    Raises:
        UserError: a name is wrong, or an option names a file of this machine.
    """
    job = template_jobs()["prepare"]
    inputs: dict[str, str] = {}
    arguments: list[str] = []
    for number, text in enumerate(sources, start=1):
        name = "source" if number == 1 else f"source{number}"
        if text != SYNTHETIC:
            inputs[name] = str(source(text))
        arguments.append(text if text == SYNTHETIC else f"{{{name}}}")
    for name, value in options.items():
        texts = value if isinstance(value, tuple) else (str(value),)
        parts = [part for text in texts for part in text.split()]
        if isinstance(value, Path) or any(PurePath(part).suffix in _FILES for part in parts):
            raise UserError(
                f"--{name.replace('_', '-')} {value}: is a file of this machine, which a kernel "
                "can't see; prepare the store here and upload it"
            )
    job = job.model_copy(update={"command": job.command.replace("{source}", " ".join(arguments))})
    return _with_flags(job, options, inputs, without=("machine", "time_budget"))


def without_options(command: str, names: Iterable[str]) -> str:
    """A command without some of its options, each of which has a value."""
    arguments = shlex.split(command)
    for name in names:
        flag = f"--{name.replace('_', '-')}"
        if flag in arguments:
            at = arguments.index(flag)
            del arguments[at : at + 2]
    return _joined(arguments)


def with_options(command: str, options: Mapping[str, Any]) -> str:
    """A command with options, in place of those of the same name or added."""
    arguments = shlex.split(without_options(command, options))
    return _joined([*arguments, *command_line(options)])


def _joined(arguments: Iterable[str]) -> str:
    # placeholders are for the kernel to fill in, not for a shell: they stay unquoted
    return " ".join(
        argument if PLACEHOLDERS.fullmatch(argument) else shlex.quote(argument)
        for argument in arguments
    )


def kernel_name(kind: str, job: Job) -> str:
    """The slug of a kernel that the user hasn't named."""
    arguments = shlex.split(job.command)
    about = ""
    if kind == "prepare":
        about = job.inputs.get("source", SYNTHETIC).rpartition("/")[2]
    elif kind in ("train", "distill"):
        name = "model" if kind == "train" else "variant"
        value = dict(pairwise(arguments)).get(f"--{name}")
        about = str(value or job.config.get(name, ""))
    return slugified(f"lastkd-{kind}-{about}")[:43].strip("-")


def _check(kind: str, options: Mapping[str, Any], file: Path | None) -> None:
    """Resolves the settings as the kernel will.

    Raises:
        UserError: a key is unknown or a value doesn't fit.
    """
    settings = {name: value for name, value in options.items() if name != "machine"}
    if kind == "train":
        resolve_models({"model": "last_v2_base"} | settings, file)
    elif kind == "distill":
        resolve_all({"variant": ("nano",)} | settings, file, echo=lambda text: None)
    else:
        only = {"only": ("standalone",)} if kind == "baselines" else {}
        sequence_settings(settings | only, file).check_settings()


def _inputs(
    options: Mapping[str, Any], needed: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, str]:
    """The datasets and kernels that the options name; several teachers are numbered.

    Raises:
        UserError: one that is needed is missing, or a name is wrong.
    """
    inputs: dict[str, str] = {}
    for name in dict.fromkeys((*needed, *optional)):
        if options.get(name) is not None:
            value = options[name]
            texts = value if isinstance(value, list | tuple) else str(value).split(",")
            for number, text in enumerate(texts, start=1):
                inputs[name if number == 1 else f"{name}{number}"] = str(source(str(text)))
        elif name in needed:
            raise UserError(f"which {name}? give --{name} with OWNER/SLUG of {_NEEDED[name]}")
    return inputs


def _inside(name: str, value: Any) -> Any:
    """A setting as the kernel gets it: paths are relative, and run folders lie in runs/."""
    if name not in ("run", "teacher_cache"):
        return value
    path = PurePosixPath(str(value))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UserError(
            f"--{name.replace('_', '-')} {value}: name a folder of the kernel's, such as runs/large"
        )
    return str(path if name != "run" or path.parts[0] == "runs" else PurePosixPath("runs") / path)


def _with_flags(
    job: Job, options: Mapping[str, Any], inputs: Mapping[str, str], without: Sequence[str]
) -> Job:
    """The job with the options added to its command; false flags are left out."""
    values: dict[str, Any] = {}
    flags: list[str] = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            flags.append(flag)
        elif isinstance(value, tuple):  # an option that may be given several times
            flags += [part for text in value for part in (flag, text)]
        elif name not in without and value is not None and value is not False:
            values[name] = value
    command = " ".join(filter(None, (with_options(job.command, values), _joined(flags))))
    return _finished(job.model_copy(update={"command": command}), options, inputs)


def _finished(job: Job, options: Mapping[str, Any], inputs: Mapping[str, str]) -> Job:
    budget = str(options.get("time_budget") or job.time_budget)
    if seconds(budget) > LONGEST_S:
        raise UserError(
            f"--time-budget {budget}: a kernel runs for 12 hours at most and needs the last "
            "half hour to save what it has; give 11h or less"
        )
    return job.model_copy(
        update={
            "inputs": dict(inputs),
            "machine": options.get("machine") or job.machine,
            "time_budget": budget,
            "id": uuid.uuid4().hex[:12],
        }
    )
