"""A kernel's job: the `JOB` block of a kernel script, which both sides read and write."""

from __future__ import annotations

import ast
import contextlib
import json
import pprint
import re
import textwrap
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lastkd.errors import UserError
from lastkd.files.yaml_files import validated
from lastkd.kaggle.references import KaggleInput, source
from lastkd.settings.durations import in_seconds

JOB_FILE = "lastkd-job.json"
"""File in a kernel's output that says how far the job is."""
PLACEHOLDERS = re.compile(r"\{\w+\}(,\{\w+\})*")
"""A word of a command that stands for inputs: `{data}`, `{teacher},{teacher2}`."""
_BLOCK = re.compile(r"^JOB = (\{.*?^\})$", re.MULTILINE | re.DOTALL)


class Job(BaseModel):
    """The settings at the top of a kernel script.

    The command is one of lastkd's, without `accelerate launch` and `lastkd`:
    `distill --variant all --data {data} --teacher {teacher}`. A name in braces stands for the path
    of that input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str = ""
    config: dict[str, Any] = Field(
        default_factory=dict, description="content of the file that the command gets as --config"
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="OWNER/SLUG of a dataset or kernel:OWNER/SLUG, by name"
    )
    machine: Literal["t4x2", "cpu"] = "t4x2"
    time_budget: str = Field("11h", description="after which a version stops and can be resumed")
    quota_left: str = Field("", description="time budget of this version, where it is less")
    kernel: str = Field("", description="OWNER/SLUG of the kernel")
    id: str = Field("", description="the same in all versions of one job")
    attempt: int = Field(1, description="counted from 1; later ones need the state of the last")
    code: str = Field("", description="dataset and file that hold lastkd, if the script doesn't")
    steps: tuple[str, ...] = Field(
        (), description="in place of a command, in kernels that lastkd 0.1.0 has pushed"
    )

    @model_validator(mode="after")
    def _has_a_command(self) -> Job:
        if bool(self.command) == bool(self.steps):
            raise ValueError("names no command; give one, as in kaggle/jobs.yaml")
        return self

    @property
    def commands(self) -> tuple[str, ...]:
        """The command; several in a kernel that an older lastkd pushed."""
        return self.steps or (self.command,)

    @property
    def budget_s(self) -> float:
        """Seconds that this version may work."""
        return min(seconds(text) for text in (self.time_budget, self.quota_left) if text)

    @property
    def state_file(self) -> str:
        """The file that carries the run folders of the previous attempt into this one."""
        return state_file(self.id, self.attempt - 1)

    def sources(self) -> dict[str, KaggleInput]:
        """The inputs by name."""
        return {name: source(text) for name, text in self.inputs.items()}


def state_file(job: str, attempt: int) -> str:
    """The name of the file with an attempt's run folders."""
    # a suffix that Kaggle wouldn't unpack, so that the file arrives as it was sent
    return f"state-{job}-{attempt}.lastkd"


def seconds(text: str) -> float:
    """The seconds of a duration such as `11h`, `90m`, `1h30m` or `45s`.

    Raises:
        UserError: it isn't a duration, or is zero.
    """
    try:
        return in_seconds(text)
    except ValueError as error:
        raise UserError(f"{text!r} {error}") from None


def read_job(script: str, where: str) -> Job:
    """The job of a kernel script.

    Args:
        where: what to call the script in an error.

    Raises:
        UserError: it has no `JOB` block, or an invalid one.
    """
    block = _BLOCK.search(script)
    if block is None:
        raise UserError(f"{where}: has no JOB block, so it is no kernel script of lastkd")
    try:
        values = ast.literal_eval(block[1])
    except (ValueError, SyntaxError) as error:
        raise UserError(f"{where}: its JOB block can't be read ({error})") from None
    return validated(Job, values, f"{where}: JOB")


def with_job(script: str, job: Job) -> str:
    """The script with its `JOB` block replaced."""
    values = job.model_dump(mode="json", exclude_defaults=True)
    values |= {"machine": job.machine, "time_budget": job.time_budget}
    lines = ["JOB = {"]
    for name, value in values.items():
        # one entry a line, as people read and change it
        lines.append(textwrap.indent(f'"{name}": {_literal(value)},', "    "))
    block = "\n".join([*lines, "}"])
    return _BLOCK.sub(lambda _: block, script, count=1)


def _literal(value: Any) -> str:
    """A value as Python writes it; with double quotes, as in the rest of the script, if it can."""
    text = json.dumps(value, ensure_ascii=False)
    with contextlib.suppress(ValueError):  # JSON spells True, False and None differently
        if ast.literal_eval(text) == value:
            return text
    return pprint.pformat(value, width=90, sort_dicts=False)
