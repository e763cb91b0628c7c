"""What a kernel is to do: the `JOB` block of a kernel script, read and written by both sides."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lastkd.errors import UserError
from lastkd.files.yaml_files import validated
from lastkd.kaggle.references import KaggleInput, source
from lastkd.settings.durations import in_seconds

JOB_FILE = "lastkd-job.json"
"""In a kernel's output: how far the job has come."""
_BLOCK = re.compile(r"^JOB = (\{.*?^\})$", re.MULTILINE | re.DOTALL)


class Job(BaseModel):
    """The settings at the top of a kernel script.

    A step is a command of lastkd as it would be typed, without `accelerate launch` and `lastkd`:
    `distill --variant all --data {data} --teacher {teacher}`. A name in braces stands for the place
    of that input. `> FILE` keeps what the step prints. A word with `*` repeats the step for each
    file that fits; `{name}` is then the folder of that file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[str, ...]
    inputs: dict[str, str] = Field(
        default_factory=dict, description="OWNER/SLUG of a dataset or kernel:OWNER/SLUG, by name"
    )
    machine: Literal["t4x2", "cpu"] = "t4x2"
    time_budget: str = Field("11h", description="after which a version stops and can be resumed")
    quota_left: str = Field("", description="time budget of this version, where it is less")
    kernel: str = Field("", description="OWNER/SLUG of the kernel")
    id: str = Field("", description="the same in all versions of one job")
    attempt: int = Field(1, description="counted from 1; later ones need the state of the last")
    code: str = Field("", description="dataset and file that lastkd travels in, if not the script")

    @property
    def budget_s(self) -> float:
        """Seconds that this version may work."""
        return min(seconds(text) for text in (self.time_budget, self.quota_left) if text)

    @property
    def state_file(self) -> str:
        """The file that carries the run folders of the attempt before into this one."""
        return state_file(self.id, self.attempt - 1)

    def sources(self) -> dict[str, KaggleInput]:
        return {name: source(text) for name, text in self.inputs.items()}


def state_file(job: str, attempt: int) -> str:
    # of no type that Kaggle would unpack, so that it arrives as it was sent
    return f"state-{job}-{attempt}.lastkd"


def seconds(text: str) -> float:
    """A duration such as `11h`, `90m`, `1h30m` or `45s`.

    Raises:
        UserError: it is none, or nothing.
    """
    try:
        return in_seconds(text)
    except ValueError as error:
        raise UserError(f"{text!r} {error}") from None


def read_job(script: str, where: str) -> Job:
    """The job of a kernel script.

    Raises:
        UserError: it has no `JOB` block, or one that doesn't fit.
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
        # one entry a line: it is read, and changed by hand
        shown = json.dumps(value, indent=4).replace("\n", "\n    ")
        lines.append(f'    "{name}": {shown},')
    block = "\n".join([*lines, "}"])
    return _BLOCK.sub(lambda _: block, script, count=1)


class Step:
    """One command, with its options taken apart."""

    def __init__(self, text: str) -> None:
        command, _, into = text.partition(" > ")
        words = shlex.split(command)
        self.into = into.strip()
        self.command = words[0]
        self.arguments: list[str] = []
        self.options: dict[str, str | None] = {}
        rest = iter(words[1:])
        pending: str | None = None
        for word in rest:
            if word.startswith("--"):
                self.options[word] = None
                pending = word
            elif pending is not None:
                self.options[pending] = word
                pending = None
            else:
                self.arguments.append(word)

    def set(self, name: str, value: Any) -> None:
        """Says an option, over what was said before; True and False are a flag's two sides."""
        flag, other = f"--{name.replace('_', '-')}", f"--no-{name.replace('_', '-')}"
        if isinstance(value, bool):
            self.options.pop(other if value else flag, None)
            self.options[flag if value else other] = None
        else:
            self.options[flag] = str(value)

    def words(self) -> list[str]:
        said = [self.command, *self.arguments]
        for option, value in self.options.items():
            said += [option] if value is None else [option, value]
        return said

    def __str__(self) -> str:
        # braces and stars are for the kernel to fill in, not for a shell: they stay unquoted
        words = [word if re.search(r"[{}*]", word) else shlex.quote(word) for word in self.words()]
        return " ".join(words) + (f" > {self.into}" if self.into else "")
