"""Starts commands of lastkd one after the other, within a time budget, resuming where they stopped.

Sequences, the demo, the built-in teacher and the job of a Kaggle kernel are all started here, and
so are the students that one command trains together. A step says how far it is and which command
does the rest, so a pipeline that was stopped anywhere is simply started again. Importing this
module doesn't import torch: the process that runs a pipeline only watches.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastkd import process_start
from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import REASONS, Stopped, StopRequests
from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.files.json_text import parse_json
from lastkd.files.lock import locked
from lastkd.pipeline.child import SECONDS_BETWEEN_POLLS, run_child
from lastkd.runs.folder import group_by_progress, is_live
from lastkd.terminal import Echo, echo

if TYPE_CHECKING:
    from accelerate import Accelerator

    from lastkd.settings.runs import RunSettings

LOCK = ".sequence.lock"
STATE_FILE = "pipeline.json"
MIN_LEFT_S, MIN_LEFT_SHARE = 60.0, 0.05
"""A step isn't started with less than this of the time budget left: the smaller of the two."""

RunChild = Callable[..., int]


@dataclass(frozen=True)
class Command:
    """A command of lastkd.

    Attributes:
        module: what `python -m` runs: `lastkd`, `lastkd.train` or `lastkd.distill`.
        launched: the processes of a run, which may be several, instead of a single process.
        budgeted: takes `--time-budget`, and then stops with a checkpoint.
        folders: the run folders that it writes.
    """

    module: str
    arguments: tuple[str, ...]
    launched: bool = True
    budgeted: bool = False
    folders: tuple[Path, ...] = ()

    def argv(self, launch: Launch, *more: str) -> list[str]:
        """The command line of its process; `more` are further arguments."""
        return self._launch(launch).argv(self.module, *self.arguments, *more)

    def text(self, launch: Launch, *more: str) -> str:
        """The command line as a user would type it."""
        return self._launch(launch).text(self.module, *self.arguments, *more)

    def _launch(self, launch: Launch) -> Launch:
        return launch if self.launched else Launch()


@dataclass(frozen=True)
class StepStatus:
    """How far a step is.

    Attributes:
        share: of the step's work that needn't be done again, from 0 to 1.
        text: the same as text.
        reason: why the step's last process stopped, if it did.
    """

    done: bool
    share: float
    text: str
    reason: str = ""


class Step(ABC):
    """A part of a pipeline that one command, or several in turn, can do."""

    title: str

    @abstractmethod
    def status(self) -> StepStatus:
        """How far the step is, read from its folders.

        Raises:
            UserError: a folder holds something that isn't this step's.
        """

    @abstractmethod
    def command(self) -> Command:
        """The command that does the rest of the step, or a first part of it."""


class CommandRunner:
    """Starts commands and watches them.

    Args:
        launch: how launched commands are started.
        budget_s: seconds from this process's start to the end of its last command.
        grace_s: seconds after the budget when budgeted commands, which stop by themselves, are
            asked to stop as well; None trusts them.
        echo: prints a line.
        child: runs a process; see `run_child`.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        budget_s: float | None = None,
        grace_s: float | None = None,
        echo: Echo = echo,
        child: RunChild = run_child,
    ) -> None:
        self.launch = launch
        self.budget_s = budget_s
        self.grace_s = grace_s
        self.echo = echo
        self.child = child
        self.requests = StopRequests()

    @property
    def left_s(self) -> float | None:
        """Seconds left of the time budget; None without one."""
        if self.budget_s is None:
            return None
        return process_start.STARTED + self.budget_s - time.monotonic()

    def check(self) -> None:
        """Looks whether another command may be started.

        Raises:
            Stopped: this process was asked to stop, or too little time is left.
        """
        if code := self.requests.code():
            raise Stopped(REASONS[code])
        left = self.left_s
        needed = min(MIN_LEFT_S, MIN_LEFT_SHARE * (self.budget_s or 0.0))
        if left is not None and left < needed:
            raise Stopped("time budget")

    def start(self, command: Command) -> int:
        """Runs a command to its end and returns its exit code.

        Raises:
            Stopped: this process was asked to stop, or the time is over; the command has ended.
        """
        budget: list[str] = []
        deadline: float | None = None
        left = self.left_s
        if left is not None:
            if command.budgeted:
                budget = ["--time-budget", f"{max(1.0, left):.0f}s"]
            if not command.budgeted or self.grace_s is not None:
                deadline = time.monotonic() + left + (self.grace_s or 0.0)
        self.echo("$ " + command.text(self.launch, *budget))
        argv = command.argv(self.launch, *budget)
        launched = command.launched and self.launch.by_launcher
        return self.child(argv, self.requests, launched=launched, deadline=deadline)


class PipelineRunner(CommandRunner):
    """Does the steps of a pipeline that aren't done yet.

    Args:
        steps: in their order.
        folder: holds the pipeline's runs; one process at a time works in it.
        options: as for `CommandRunner`.
    """

    def __init__(self, steps: Sequence[Step], folder: Path, launch: Launch, **options: Any) -> None:
        super().__init__(launch, **options)
        self.steps = steps
        self.folder = folder

    def run(self) -> None:
        """Does what isn't done yet, and keeps the outcome in `pipeline.json`.

        Raises:
            Stopped: it was asked to stop or the time budget is over; what was done stays.
            UserError: a step failed, a folder holds something else, or another process is working
                in the folder.
        """
        taken = (
            f"{self.folder}: another sequence is at work there; wait for its end or choose another "
            "--out"
        )
        own = locked(self.folder / LOCK, taken=taken, advice="choose another --out")
        with self.requests, own:
            # before anything starts: do the folders belong to this pipeline?
            pending = sum(not step.status().done for step in self.steps)
            self.echo(f"{self.folder}: {len(self.steps)} steps, {pending} of them to do")
            try:
                self.write_state("running")
                for number, step in enumerate(self.steps, start=1):
                    self.carry_out(step, f"[{number}/{len(self.steps)}] {step.title}")
            except Stopped as stop:
                self.write_state("stopped", stop.reason)
                raise
            except UserError as error:
                self.write_state("failed", str(error))
                raise
            self.write_state("done")

    def carry_out(self, step: Step, title: str) -> None:
        """Runs a step's commands until it is done."""
        started: set[Command] = set()
        while not (status := step.status()).done:
            command = step.command()
            self.wait_for_live_runs(command)
            if step.status() != status:  # the run that was waited for got further
                continue
            if command in started:
                raise self.failure(title, "ended well but isn't done")
            self.check()
            self.echo(f"\n{title}" + (f": {status.text}" if status.share else ""))
            code = self.start(command)
            if code:
                raise self.failure(title, f"ended with exit code {code}")
            if command.budgeted and step.status().reason == "time budget":
                raise Stopped("time budget")
            started.add(command)

    def failure(self, title: str, how: str) -> UserError:
        return UserError(
            f"{title} {how}; its output stands above, and the same command goes on from there"
        )

    def wait_for_live_runs(self, command: Command) -> None:
        """Waits for runs that a killed pipeline has left behind: they belong to the same step."""
        for folder in command.folders:
            if is_live(folder):
                self.echo(f"{folder}: a run is at work there; waiting for its end")
            while is_live(folder):
                self.check()
                time.sleep(SECONDS_BETWEEN_POLLS)

    def write_state(self, state: str, reason: str = "") -> None:
        """Writes `pipeline.json`.

        Args:
            state: `running`, `done`, `stopped` or `failed`.
        """
        text = json.dumps({"state": state, "reason": reason}) + "\n"
        write_text(self.folder / STATE_FILE, text)


def train_in_groups(
    settings: Sequence[RunSettings],
    folders: Sequence[Path],
    *,
    data: Path,
    teacher: Path | None,
    accelerator: Accelerator,
) -> list[Path]:
    """Trains students in this process group; runs at the same step are trained together.

    Runs that an earlier process began go on first; then the others begin. Finished runs stay as
    they are.

    Args:
        folders: the run folder of each.

    Returns:
        The best checkpoint of each.

    Raises:
        Stopped: this process was asked to stop; each run has its checkpoint.
        UserError: data or teacher are missing or don't fit, or a folder holds another run.
    """
    from lastkd.distributed.agreement import decide_on_main_process
    from lastkd.training.loop import train

    groups = [list(range(len(folders)))]
    if settings[0].resume == "auto":
        groups = decide_on_main_process(accelerator, lambda: group_by_progress(folders))
    best: dict[int, Path] = {}
    for group in groups:
        trained = train(
            [settings[number] for number in group],
            data=data,
            teacher=teacher,
            folder=[folders[number] for number in group],
            accelerator=accelerator,
        )
        best |= zip(group, trained, strict=True)
        accelerator.free_memory()
    return [best[number] for number in range(len(folders))]


def pipeline_state(folder: Path) -> str | None:
    """The state that a pipeline has left in its folder; None if none ran there."""
    try:
        return str(parse_json((folder / STATE_FILE).read_text(encoding="utf-8"))["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
