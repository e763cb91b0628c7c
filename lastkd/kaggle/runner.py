"""Runs a job's command within a time budget, on Kaggle's side.

A kernel script unpacks lastkd and calls `run`. Nothing here imports torch: the command runs in
another process, so that this one stays free to watch the time.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from lastkd import process_start
from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import Stopped
from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.files.yaml_files import validated
from lastkd.kaggle.event_lines import EventPrinter
from lastkd.kaggle.inputs import Mounts
from lastkd.kaggle.job import PLACEHOLDERS, Job
from lastkd.kaggle.state import restore, write_job_file
from lastkd.pipeline.child import run_child
from lastkd.pipeline.runner import STATE_FILE, Command, CommandRunner, pipeline_state
from lastkd.runs.events import FILE_NAME
from lastkd.runs.log import Run
from lastkd.version import __version__

GRACE_S = 15 * 60
"""Seconds beyond the budget for the command to write its checkpoint; Kaggle stops at 12 hours."""
KILL_AFTER_S = 60.0
CHECK_S = 150.0
"""Seconds that `lastkd check` may take, so that a machine that won't do costs three minutes."""
OUTPUT_LIMIT = 20 * 10**9
"""Bytes that Kaggle keeps."""
CONFIG_FILE = "lastkd-config.yaml"
LAUNCH_CONFIG = {"t4x2": "kaggle_t4x2", "cpu": "cpu"}
_GPUS = {"t4x2": 2, "cpu": 0}
_LAUNCHED = {"train": "lastkd.train", "distill": "lastkd.distill", "sweep": "lastkd"}
"""Commands that several processes share, with their modules."""
_VERSIONS = ("torch", "accelerate", "safetensors", "numpy", "pydantic", "rich")


class JobRunner:
    """One version of a kernel at work.

    Args:
        root: Kaggle's folder, with `input` and `working`.
        code: where lastkd was unpacked.
    """

    def __init__(self, job: Job, root: Path, code: Path) -> None:
        self.job = job
        self.working = root / "working"
        self.code = code
        self.mounts = Mounts(root / "input")
        self.inputs: dict[str, list[Path]] = {}
        self.lock = threading.Lock()  # keeps event lines apart from the command's output

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - process_start.STARTED

    def echo(self, text: str) -> None:
        with self.lock:
            print(text, flush=True)

    # --- before the command -----------------------------------------------------------------

    def describe(self) -> None:
        """Prints what this machine is, for whoever reads the log."""
        for line in describe_machine(self.working):
            self.echo(line)
        for line in self.mounts.described() or ["nothing is mounted"]:
            self.echo(f"input {line}")

    def check(self) -> None:
        """Finds the inputs and brings back the state of the previous attempt.

        Raises:
            UserError: a GPU, an input or that state is missing, or the job is an older lastkd's.
        """
        if not self.job.command:
            raise UserError("JOB: has steps, which lastkd 0.1.0 did; give one command")
        needed, present = _GPUS[self.job.machine], len(gpus())
        if present < needed:
            raise UserError(
                f"{needed} GPUs are needed and {present} are here; choose the accelerator GPU T4 x2"
            )
        for name, source in self.job.sources().items():
            self.inputs[name] = self.mounts.find(name, source)
            self.echo(f"{name}: {', '.join(str(path) for path in self.inputs[name])}")
        restored = restore(self.job, self.mounts, self.working)
        if restored is not None:
            self.echo(f"going on from {restored}")

    # --- the command ------------------------------------------------------------------------

    def work(self) -> None:
        """Runs the command to its end.

        Raises:
            Stopped: the time budget has ended, or the kernel was asked to stop.
            UserError: the command failed.
        """
        if self.job.config:
            write_text(self.working / CONFIG_FILE, yaml.safe_dump(self.job.config, sort_keys=False))
        # even a budget that is nearly used up gets the command a little further
        runner = self._runner(self.job.budget_s, GRACE_S, self.echo)
        with runner.requests:
            code = runner.start(make_command(self.job, self.inputs))
        if code:
            raise UserError(
                f"{self.job.command} ended with exit code {code}; its output stands above"
            )
        if stopped_early(self.working):
            raise Stopped("time budget")

    def check_machine(self) -> None:
        """Runs `lastkd check` before a job that uses GPUs, with `check: ` before its lines.

        Raises:
            Stopped: the kernel was asked to stop.
            UserError: the check failed, or took longer than `CHECK_S`.
        """
        if not _GPUS[self.job.machine] or self.job.command.split()[0] == "check":
            return
        parts = ["check", "--no-pace", *(["--data {data}"] if "data" in self.inputs else [])]
        job = self.job.model_copy(update={"command": " ".join(parts), "config": {}})
        runner = self._runner(
            self.elapsed_s + CHECK_S, 0.0, lambda text: self.echo(f"check: {text}")
        )
        try:
            with runner.requests:
                code = runner.start(make_command(job, self.inputs))
        except Stopped as stop:
            if stop.reason != "time budget":
                raise
            raise UserError(
                f"lastkd check didn't end within {CHECK_S:.0f} s; its output stands above"
            ) from None
        if code:
            raise UserError("this machine won't do; the output of lastkd check stands above")

    def _runner(
        self, budget_s: float, grace_s: float, echo: Callable[[str], None]
    ) -> CommandRunner:
        """Starts a command in the working folder.

        Args:
            budget_s: seconds from this process's start.
            echo: receives the command and its output, line by line.
        """
        return CommandRunner(
            Launch.find(Path(LAUNCH_CONFIG[self.job.machine])),
            budget_s=max(budget_s, self.elapsed_s + 1.0),
            grace_s=grace_s,
            echo=echo,
            child=partial(
                run_child,
                on_line=echo,
                cwd=self.working,
                environment=self.environment(),
                patience_s=KILL_AFTER_S,
            ),
        )

    def environment(self) -> dict[str, str]:
        """The environment of the command, which finds lastkd where the script has unpacked it."""
        paths = [str(self.code), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment.setdefault("NCCL_P2P_DISABLE", "1")  # the two T4 have no direct link
        return environment

    # --- after it ---------------------------------------------------------------------------

    def write_state(self, state: str, reason: str = "") -> None:
        """Writes the job file; see `write_job_file`."""
        write_job_file(self.working, self.job, state=state, reason=reason, seconds=self.elapsed_s)

    def check_output(self) -> None:
        """Warns if the output is more than Kaggle keeps."""
        size = sum(path.stat().st_size for path in self.working.rglob("*") if path.is_file())
        self.echo(f"{self.working}: {size / 1e9:.2f} GB")
        if size > OUTPUT_LIMIT:
            self.echo(f"warning: Kaggle keeps {OUTPUT_LIMIT / 1e9:.0f} GB at most")


def run(job: dict[str, Any], *, root: Path, code: Path) -> int:
    """Does a kernel's job; the last line it prints says how the job ended.

    If the command fails, but has left checkpoints, the exit code is 0 all the same: Kaggle may drop
    the output of a version that failed. The last line and the job file say which it was.

    Args:
        job: the `JOB` of the script.
        root, code: as for `JobRunner`.

    Returns:
        The kernel's exit code.
    """
    try:
        runner = JobRunner(validated(Job, job, "JOB"), root, code)
        runner.working.mkdir(parents=True, exist_ok=True)
        runner.describe()
        runner.check()
    except UserError as error:
        print(f"lastkd: failed: {error}", flush=True)
        return 1
    printer = EventPrinter(runner.working, runner.lock)
    printer.start()
    try:
        runner.write_state("more", "not ended")
        runner.check_machine()
        runner.work()
        state, reason = "done", ""
    except Stopped as stop:
        state, reason = "more", stop.reason
    except UserError as error:
        state, reason = "failed", str(error)
    printer.stop()
    try:
        runner.write_state(state, reason)
    except UserError as error:  # a full disk must not cost the output that is there
        runner.echo(f"warning: {error}")
    runner.check_output()
    if state == "done":
        print("lastkd: done", flush=True)
        return 0
    if state == "more":
        resume = f"lastkd kaggle resume {runner.job.kernel}".rstrip()
        print(f"lastkd: stopped ({reason}); go on with {resume}", flush=True)
        return 0
    print(f"lastkd: failed: {reason}", flush=True)
    return 0 if any(runner.working.rglob("*.safetensors")) else 1


def make_command(job: Job, inputs: Mapping[str, Sequence[Path]]) -> Command:
    """A job's command with the paths of its inputs filled in.

    Raises:
        UserError: it names an input that the job doesn't have.
    """
    name, *words = shlex.split(job.command)
    arguments: list[str] = []
    for word in words:
        if not PLACEHOLDERS.fullmatch(word):
            arguments.append(word)
            continue
        names = re.findall(r"\w+", word)
        missing = next((name for name in names if name not in inputs), None)
        if missing is not None:
            raise UserError(f"JOB: there is no input {missing}, which the command names")
        if len(names) == 1:  # an input of several files stands for all of them
            arguments += map(str, inputs[names[0]])
        else:
            arguments.append(",".join(str(inputs[name][0]) for name in names))
    if job.config:
        arguments += ["--config", CONFIG_FILE]
    if name in _LAUNCHED:
        module = _LAUNCHED[name]
        command = [name] if module == "lastkd" else []
        return Command(module, (*command, *arguments, "--resume", "auto"), budgeted=True)
    if name == "check":
        arguments += ["--gpus", str(_GPUS[job.machine])]
    if name in ("check", "sequence"):  # which launch their processes themselves
        arguments += ["--launch-config", LAUNCH_CONFIG[job.machine]]
        budgeted = name == "sequence"
        return Command("lastkd", (name, *arguments), launched=False, budgeted=budgeted)
    return Command("lastkd", (name, *arguments), launched=False)


def stopped_early(working: Path) -> bool:
    """Whether a command that ended well has stopped on its time budget.

    A sequence records it in its own file, other commands in their event logs.
    """
    states = [pipeline_state(path.parent) for path in working.rglob(STATE_FILE)]
    if not states:
        states = [Run.read(log.parent).state for log in working.rglob(FILE_NAME)]
    return "stopped" in states


def describe_machine(working: Path) -> Iterator[str]:
    """Lines about versions, GPUs and disk."""
    yield f"lastkd {__version__} from {Path(__file__).parents[1]}"
    yield f"python {platform.python_version()}, {os.cpu_count()} cores"
    for name in _VERSIONS:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} is not installed"
    yield from gpus() or ["no GPU"]
    yield f"free in {working}: {shutil.disk_usage(working).free / 1e9:.1f} GB"


def gpus() -> list[str]:
    """A line for each GPU, asked without torch: this process mustn't hold one."""
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
