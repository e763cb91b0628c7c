"""Carrying a sequence out: step after step, within a time budget, from wherever it was cut."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from lastkd import process_start
from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import REASONS, Stopped, StopRequests
from lastkd.errors import UserError
from lastkd.pipeline.child import LOOK_EVERY_S, run_child
from lastkd.pipeline.settings import SequenceSettings
from lastkd.pipeline.steps import Command, Step, is_live, make_steps
from lastkd.settings.durations import in_seconds

SEQUENCE_LOCK = ".sequence.lock"
LEAST_S, LEAST_SHARE = 60.0, 0.05
"""A step isn't begun with less time than that left, the smaller of the two."""


class PipelineRunner:
    """A sequence at work.

    Args:
        say: where it says what it does.
    """

    def __init__(
        self, sequence: SequenceSettings, launch: Launch, say: Callable[[str], None]
    ) -> None:
        self.sequence = with_possible_figures(sequence, say)
        self.launch = launch
        self.say = say
        self.requests = StopRequests()
        self.steps = make_steps(self.sequence)
        budget = sequence.time_budget
        self.budget_s = in_seconds(budget) if budget else None

    @property
    def left_s(self) -> float | None:
        """Seconds of the time budget that are left."""
        if self.budget_s is None:
            return None
        return process_start.STARTED + self.budget_s - time.monotonic()

    def run(self) -> None:
        """Does what isn't done yet.

        Raises:
            Stopped: it was asked to stop or the time budget is over; what was done stays.
            UserError: a step failed, a folder holds something else, or another sequence is at work
                in the same folder.
        """
        folder = self.sequence.folder
        with self.requests, alone_in(folder):
            # before anything starts: does all that is there belong to this sequence?
            standings = [step.standing() for step in self.steps]
            open_ = sum(not standing.done for standing in standings)
            self.say(f"{folder}: {len(self.steps)} steps, {open_} of them to do")
            for number, step in enumerate(self.steps, start=1):
                self.carry_out(step, f"[{number}/{len(self.steps)}] {step.title}")
            self.say(f"{folder}: done; the report is {folder / 'report' / '07_Experiments.md'}")

    def carry_out(self, step: Step, title: str) -> None:
        """Runs a step's commands until it is done."""
        carried_out: set[Command] = set()
        while not (standing := step.standing()).done:
            command = step.command()
            self.wait_for_live_runs(command)
            if step.standing() != standing:  # one that was still at work has moved it on
                continue
            if command in carried_out:
                raise self.failure(title, "ended well but isn't done")
            self.look()
            self.say(f"\n{title}" + (f": {standing.words}" if standing.share else ""))
            code = self.start(command)
            if code:
                raise self.failure(title, f"ended with exit code {code}")
            if command.budgeted and stopped_by_budget(step):
                raise Stopped("time budget")
            carried_out.add(command)

    def failure(self, title: str, how: str) -> UserError:
        return UserError(
            f"{title} {how}; what it said stands above, and the same command goes on from there"
        )

    def look(self) -> None:
        """
        Raises:
            Stopped: it was asked to stop, or too little time is left.
        """
        if code := self.requests.code():
            raise Stopped(REASONS[code])
        left = self.left_s
        if left is not None and self.budget_s is not None:
            least = min(LEAST_S, LEAST_SHARE * self.budget_s)
            if left < least:
                raise Stopped("time budget")

    def start(self, command: Command) -> int:
        """Runs one command to its end; its exit code."""
        words, left = list(command.words), self.left_s
        until: float | None = None
        if left is not None:
            if command.budgeted:
                words += ["--time-budget", f"{max(1.0, left):.0f}s"]
            else:
                until = time.monotonic() + left
        if command.launched:
            self.say("$ " + self.launch.shown(command.module, *words))
            return run_child(self.launch.words(command.module, *words), self.requests, until=until)
        self.say("$ " + " ".join([command.module, *words]))
        plain = [sys.executable, "-m", command.module, *words]
        return run_child(plain, self.requests, until=until)

    def wait_for_live_runs(self, command: Command) -> None:
        """Waits for a run that a killed sequence left at work: it goes on with the same step."""
        for folder in command.folders:
            said = False
            while is_live(folder):
                self.look()
                if not said:
                    self.say(f"{folder}: a run is at work there; waiting for its end")
                said = True
                time.sleep(LOOK_EVERY_S)


def stopped_by_budget(step: Step) -> bool:
    standing = step.standing()
    return not standing.done and "time budget" in standing.words


def alone_in(folder: Path) -> FileLock:
    """A lock to be entered, which no other sequence has.

    Raises:
        UserError: another one has it, or the folder can't be written.
    """
    lock = FileLock(folder / SEQUENCE_LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock:
            pass
    except Timeout:
        raise UserError(
            f"{folder}: another sequence is at work there; wait for its end or choose another --out"
        ) from None
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None
    return lock


def with_possible_figures(
    sequence: SequenceSettings, say: Callable[[str], None]
) -> SequenceSettings:
    """Figures are left out where they can't be drawn: hours later would be late to say so."""
    if sequence.figures and importlib.util.find_spec("matplotlib") is None:
        say(
            "matplotlib isn't installed, so the report will have no figures; pip install "
            "'lastkd[plots]' and the same command adds them, also later"
        )
        return sequence.model_copy(update={"figures": False})
    return sequence
