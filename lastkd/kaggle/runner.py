"""The side that runs on Kaggle: a job's steps, one after the other, within a time budget.

A kernel script unpacks lastkd and calls `run`. Nothing here imports torch: the commands that need
it are processes of their own, so that this one stays free to watch the time.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lastkd
from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.files.yaml_files import validated
from lastkd.kaggle.event_lines import EventPrinter
from lastkd.kaggle.inputs import Mounts, of_run_state
from lastkd.kaggle.job import JOB_FILE, Job, Step
from lastkd.kaggle.state import read_job_file, restore, write_job_file
from lastkd.runs.events import read_events

GRACE_S = 15 * 60
"""What a step gets beyond the budget, to write its checkpoint; Kaggle itself stops at 12 hours."""
OUTPUT_LIMIT = 20 * 10**9
_LAUNCHED = ("train", "distill")
_LAUNCH_CONFIG = {"t4x2": "kaggle_t4x2.yaml", "cpu": "cpu.yaml"}
_GPUS = {"t4x2": 2, "cpu": 0}


class Stopped(Exception):  # noqa: N818 - nothing failed
    """The time budget has ended before the job."""


class Machine:
    """One version of a kernel at work."""

    def __init__(self, job: Job, root: Path, code: Path) -> None:
        self.job = job
        self.started = time.monotonic()
        self.working = root / "working"
        self.code = code
        self.mounts = Mounts(root / "input")
        self.lock = threading.Lock()
        self.done: list[int] = []  # steps, by number
        self.inputs: dict[str, list[Path]] = {}

    # --- before the work --------------------------------------------------------------------

    def say(self, text: str) -> None:
        with self.lock:
            print(text, flush=True)

    def describe(self) -> None:
        """What this machine is, for whoever reads the log."""
        for line in described(self.working):
            self.say(line)
        for line in self.mounts.described() or ["nothing is mounted"]:
            self.say(f"input {line}")

    def check(self) -> None:
        """Fails at once where the job can't be done here.

        Raises:
            UserError: a GPU, an input, or the state of the attempt before is missing.
        """
        wanted, found = _GPUS[self.job.machine], len(gpus())
        if found < wanted:
            raise UserError(
                f"{wanted} GPUs are needed and {found} are here; choose the accelerator GPU T4 x2"
            )
        for name, source in self.job.sources().items():
            self.inputs[name] = self.mounts.find(name, source)
            self.say(f"{name}: {', '.join(str(path) for path in self.inputs[name])}")
        restored = restore(self.job, self.mounts, self.working)
        if restored is not None:
            self.done = read_job_file(self.working / JOB_FILE).get("done", [])
            steps = f"{len(self.done)} of {len(self.job.steps)} steps done"
            self.say(f"going on from {restored}: {steps}")

    # --- the work ---------------------------------------------------------------------------

    @property
    def left_s(self) -> float:
        return self.job.budget_s - (time.monotonic() - self.started)

    def work(self) -> None:
        """Runs the steps that aren't done yet.

        Raises:
            Stopped: the time budget has ended.
            UserError: a step failed.
        """
        first = True
        for number, text in enumerate(self.job.steps):
            if number in self.done:
                continue
            if self.left_s <= 0 and not first:  # the first one always gets ahead a little
                raise Stopped
            first = False
            before = self.event_logs()
            for words, into in self.commands(Step(text)):
                self.execute(words, into)
            changed = {log for log, size in self.event_logs().items() if size != before.get(log)}
            if any(last_event(log).get("state") == "stopped" for log in changed):
                raise Stopped
            self.done.append(number)
            self.write_state("more")

    def event_logs(self) -> dict[Path, int]:
        return {log: log.stat().st_size for log in self.working.rglob("events.jsonl")}

    def commands(self, step: Step) -> Iterator[tuple[list[str], str]]:
        """The commands of a step, inputs filled in, and the file that keeps what each prints."""
        given = {name: [str(path) for path in paths] for name, paths in self.inputs.items()}
        words = step.words()
        several = next((word for word in words if word == "{checkpoint}" or "*" in word), None)
        if several is None:
            filled = []
            for word in words:  # an input of several files stands for all of them
                filled += given.get(word[1:-1], []) if word[:1] == "{" else [_filled(word, given)]
            yield filled, step.into
            return
        if several == "{checkpoint}":
            fitting = given["checkpoint"]
        else:
            found = (path for path in self.working.glob(several) if not of_run_state(path))
            fitting = sorted(str(path.relative_to(self.working)) for path in found)
        if not fitting:
            raise UserError(f"step {step}: nothing fits {several}")
        shared = len(Path(os.path.commonpath(fitting)).parts)
        for path in fitting:
            folders = Path(path).parent.parts
            name = "-".join(folders[min(shared, len(folders) - 1) :]) or Path(path).stem
            filled = [path if word == several else _filled(word, given) for word in words]
            yield filled, step.into.replace("{name}", name)

    def execute(self, words: list[str], into: str) -> None:
        """Runs one command to its end, its output passing through this process line by line.

        Raises:
            UserError: it failed, or had to be stopped long after the time budget.
        """
        left = max(1.0, self.left_s)
        command = [sys.executable, "-m"]
        if words[0] in _LAUNCHED:
            config = LAUNCH_CONFIGS / _LAUNCH_CONFIG[self.job.machine]
            command += ["accelerate.commands.launch", "--config_file", str(config)]
            command += ["-m", f"lastkd.{words[0]}", *words[1:]]
            command += ["--resume", "auto", "--time-budget", f"{left:.0f}s"]
        else:
            command += ["lastkd", *words]
        self.say("$ " + " ".join(command))
        paths = [str(self.code), os.environ.get("PYTHONPATH", "")]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, paths)))
        environment.setdefault("NCCL_P2P_DISABLE", "1")  # T4s of one machine have no direct link
        process = subprocess.Popen(
            command,
            cwd=self.working,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=None if into else subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        stopper = threading.Timer(left + GRACE_S, stop_group, [process.pid])
        stopper.daemon = True
        stopper.start()
        kept: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            kept.append(line) if into else self.say(line.rstrip("\n"))
        code = process.wait()
        stopper.cancel()
        if code:
            raise UserError(f"{' '.join(words)} ended with exit code {code}; its words stand above")
        if into:
            with replacing(self.working / into) as part:
                part.write_text("".join(kept), encoding="utf-8")
            self.say(f"{self.working / into}: {' '.join(''.join(kept).split())[:200]}")

    # --- after it ---------------------------------------------------------------------------

    def write_state(self, state: str, reason: str = "") -> None:
        write_job_file(
            self.working,
            self.job,
            state=state,
            reason=reason,
            done=self.done,
            seconds=time.monotonic() - self.started,
        )

    def check_output(self) -> None:
        """Warns where the output is more than Kaggle keeps."""
        size = sum(path.stat().st_size for path in self.working.rglob("*") if path.is_file())
        self.say(f"{self.working}: {size / 1e9:.2f} GB")
        if size > OUTPUT_LIMIT:
            self.say(f"warning: Kaggle keeps {OUTPUT_LIMIT / 1e9:.0f} GB at most")


def run(job: dict[str, Any], *, root: Path, code: Path) -> int:
    """Does a kernel's job; the exit code, with a last line that says how it ended.

    A step that fails when there are checkpoints already ends with code 0 all the same, because
    Kaggle may drop the output of a version that failed; the last line and the job file tell.

    Args:
        job: the `JOB` of the script.
        root: Kaggle's folder, with `input` and `working`.
        code: where lastkd was unpacked.
    """
    try:
        machine = Machine(validated(Job, job, "JOB"), root, code)
        machine.working.mkdir(parents=True, exist_ok=True)
        machine.describe()
        machine.check()
    except UserError as error:
        print(f"lastkd: failed: {error}", flush=True)
        return 1
    printer = EventPrinter(machine.working, machine.lock)
    printer.start()
    try:
        machine.write_state("more", "not ended")
        machine.work()
        state, reason = "done", ""
    except Stopped:
        state, reason = "more", "time budget"
    except UserError as error:
        state, reason = "failed", str(error)
    printer.stop()
    try:
        machine.write_state(state, reason)
    except UserError as error:  # a full disk must not cost the output that is there
        machine.say(f"warning: {error}")
    machine.check_output()
    steps = f"{len(machine.done)} of {len(machine.job.steps)} steps"
    if state == "done":
        print(f"lastkd: done: {steps}", flush=True)
        return 0
    if state == "more":
        further = f"lastkd kaggle resume {machine.job.kernel}".rstrip()
        print(f"lastkd: stopped on its time budget: {steps}; go on with {further}", flush=True)
        return 0
    print(f"lastkd: failed: {reason}", flush=True)
    return 0 if any(machine.working.rglob("*.safetensors")) else 1


def last_event(log: Path) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for event in read_events(log):  # noqa: B007 - the last one is what counts
        pass
    return event


def _filled(word: str, inputs: dict[str, list[str]]) -> str:
    for name, places in inputs.items():
        word = word.replace(f"{{{name}}}", places[0])
    return word


_VERSIONS = ("torch", "accelerate", "safetensors", "numpy", "pydantic", "rich")


def described(working: Path) -> Iterator[str]:
    """Lines on this machine for whoever reads the log."""
    yield f"lastkd {lastkd.__version__} from {Path(lastkd.__file__).parent}"
    yield f"python {platform.python_version()}, {os.cpu_count()} cores"
    for name in _VERSIONS:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} is not installed"
    yield from gpus() or ["no GPU"]
    yield f"free in {working}: {shutil.disk_usage(working).free / 1e9:.1f} GB"


def gpus() -> list[str]:
    """A line for each GPU, asked without torch: it must not hold one before the children do."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [line for line in asked.stdout.splitlines() if line.startswith("GPU ")]


def stop_group(leader: int) -> None:
    """Ends a command and what it started: asked first, then not."""
    for sign, wait in ((signal.SIGTERM, 60.0), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(leader, sign)
        except ProcessLookupError:
            return
        time.sleep(wait)
