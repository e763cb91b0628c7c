"""lastkd sequence at work: done steps are skipped, interrupted ones go on, stops reach them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock
from pipeline_runs import save_predictions, short_sequence, write_run

from lastkd.cli.app import cli
from lastkd.distributed.launch import Launch, environment_alone
from lastkd.distributed.stop_requests import Stopped, StopRequests
from lastkd.errors import UserError
from lastkd.pipeline.child import run_child
from lastkd.pipeline.runner import PipelineRunner, pipeline_state
from lastkd.pipeline.settings import SequenceSettings
from lastkd.pipeline.steps import DistillationStep, EvaluationStep, TrainingStep, make_steps
from lastkd.runs.events import FILE_NAME, EventLog, read_events
from lastkd.runs.log import Run

LAUNCH = Launch(Path("nowhere.yaml"))


@pytest.fixture
def sequence(tmp_path: Path, store_path: Path) -> SequenceSettings:
    return short_sequence(tmp_path / "s", store_path)


# --- running --------------------------------------------------------------------------------


class Machine:
    """Stands for processes: writes what a command would leave behind, or fails."""

    def __init__(self, runner: PipelineRunner) -> None:
        self.runner = runner
        self.commands: list[list[str]] = []
        self.does: Callable[[Any], int | None] = lambda step: None

    def __call__(self, argv: list[str], requests: Any, **options: Any) -> int:
        self.commands.append(argv)
        step = next(step for step in self.runner.steps if not step.status().done)
        code = self.does(step)
        if code is not None:
            return code
        if isinstance(step, TrainingStep):
            for folder in step.command().folders:
                write_run(step, folder)
        elif isinstance(step, EvaluationStep):
            for run in step.runs:
                save_predictions(run)
        else:
            (step.sequence.folder / "report").mkdir()  # type: ignore[attr-defined]
            (step.sequence.folder / "report" / "07_Experiments.md").touch()  # type: ignore[attr-defined]
        return 0


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def machine(sequence: SequenceSettings, said: list[str]) -> Machine:
    runner = PipelineRunner(make_steps(sequence), sequence.folder, LAUNCH, echo=said.append)
    machine = runner.child = Machine(runner)
    return machine


def test_every_step_runs_once_and_never_again(
    machine: Machine, sequence: SequenceSettings, said: list[str]
) -> None:
    machine.runner.run()
    modules = [
        next(word for word in words if word.startswith("lastkd")) for words in machine.commands
    ]
    assert modules == [
        *("lastkd.train", "lastkd", "lastkd.train", "lastkd.distill"),
        *["lastkd"] * 2,
    ]
    launched = ["accelerate.commands.launch" in words for words in machine.commands]
    assert launched == [True] * 5 + [False]
    assert said[0].endswith("6 steps, 6 of them to do")
    assert pipeline_state(sequence.folder) == "done"
    machine.commands.clear()
    machine.runner.run()
    assert machine.commands == []


def test_a_failed_step_ends_it_and_the_next_start_begins_there(machine: Machine) -> None:
    machine.does = lambda step: 2 if isinstance(step, DistillationStep) else None
    with pytest.raises(UserError, match=r"\[4/6\] nano, small distilled.* ended with exit code 2"):
        machine.runner.run()
    machine.commands.clear()
    machine.does = lambda step: None
    machine.runner.run()
    assert "lastkd.distill" in machine.commands[0]


def test_a_command_that_leaves_its_step_undone_isnt_repeated_for_ever(machine: Machine) -> None:
    machine.does = lambda step: 0
    with pytest.raises(UserError, match="ended well but isn't done"):
        machine.runner.run()
    assert len(machine.commands) == 1


def test_the_time_budget_is_handed_on_and_ends_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([1000.0] * 4 + [500.0] * 1000)
    monkeypatch.setattr(PipelineRunner, "left_s", property(lambda self: next(left)))
    machine.runner.budget_s = 1000.0

    def stops(step: Any) -> int | None:
        if isinstance(step, TrainingStep) and len(machine.commands) > 2:
            write_run(step, step.folders[0], ended="time budget", done=4)
            return 0
        return None

    machine.does = stops
    with pytest.raises(Stopped, match="time budget"):
        machine.runner.run()
    first, _, third = machine.commands
    assert first[-2:] == ["--time-budget", "1000s"]
    assert third[-2:] == ["--time-budget", "500s"]


def test_no_step_begins_when_hardly_any_time_is_left(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PipelineRunner, "left_s", property(lambda self: 30.0))
    machine.runner.budget_s = 36000.0
    with pytest.raises(Stopped, match="time budget"):
        machine.runner.run()
    assert machine.commands == []


def test_a_run_that_a_killed_sequence_left_at_work_is_waited_for(
    machine: Machine, said: list[str]
) -> None:
    teacher = next(step for step in machine.runner.steps if isinstance(step, TrainingStep))
    write_run(teacher, teacher.folders[0], ended=None, done=2)
    lock = FileLock(teacher.folders[0] / ".lock", thread_local=False)
    lock.acquire()

    def ends() -> None:
        log = EventLog(teacher.folders[0] / FILE_NAME)
        log.write("end", state="finished")
        log.close()
        lock.release()

    timer = threading.Timer(0.5, ends)
    timer.start()
    machine.runner.run()
    timer.join()
    assert f"{teacher.folders[0]}: a run is at work there; waiting for its end" in said
    assert not any("last_v2_tiny" in words for words in machine.commands)  # it was finished already


def test_two_sequences_in_one_folder_are_refused(
    sequence: SequenceSettings, machine: Machine
) -> None:
    def second(step: Any) -> int | None:
        with pytest.raises(UserError, match="another sequence is at work there"):
            PipelineRunner(make_steps(sequence), sequence.folder, LAUNCH).run()
        return 1

    machine.does = second
    with pytest.raises(UserError, match="exit code 1"):
        machine.runner.run()


# --- processes ------------------------------------------------------------------------------

_LAUNCHER = """
import subprocess, sys
sys.exit(subprocess.call([sys.executable, "-c", sys.argv[1], sys.argv[2]]))
"""
_RUN = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(0.3)  # as long as its checkpoint takes
    pathlib.Path(sys.argv[1]).write_text(signal.Signals(number).name)
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
pathlib.Path(sys.argv[1]).write_text("at work")
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_stop_reaches_the_run_behind_the_launcher_and_waits_for_it(
    tmp_path: Path, name: str
) -> None:
    note = tmp_path / "note"

    class Asked(StopRequests):
        def code(self) -> int:
            if note.exists() and note.read_text() == "at work":
                os.kill(os.getpid(), getattr(signal, name))
            return super().code()

    with Asked() as requests, pytest.raises(Stopped, match=name):
        run_child([sys.executable, "-c", _LAUNCHER, _RUN, str(note)], requests)
    assert note.read_text() == name


def test_a_command_without_a_budget_of_its_own_is_stopped_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with StopRequests() as requests, pytest.raises(Stopped, match="time budget"):
        run_child(command, requests, launched=False, deadline=started + 0.5)
    assert time.monotonic() - started < 20
    with StopRequests() as requests:
        assert run_child([sys.executable, "-c", "raise SystemExit(3)"], requests) == 3


# --- the real thing -------------------------------------------------------------------------


def waits_for(condition: Callable[[], bool], patience_s: float = 300) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_a_sequence_that_is_killed_within_a_run_goes_on_to_its_report(
    tmp_path: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sequence", "--data", str(store_path), "--out", "s"]
    words += ["--teacher-model", "last_v2_tiny", "--variant", "nano,small", "--no-figures"]
    words += ["--frames", "8", "--batch-size", "8", "--warmup-epochs", "0", "--tau", "auto"]
    # the teacher's run is the one that is cut, and must last for that
    (tmp_path / "short.yaml").write_text("epochs: 2\nteacher_settings: {epochs: 6}\n")
    words += ["--config", "short.yaml"]
    environment = environment_alone() | {"OMP_NUM_THREADS": "1"}
    log = tmp_path / "s" / "teacher" / FILE_NAME
    with (tmp_path / "log").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "lastkd", *words],
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=out,
        )
        waits_for(lambda: log.exists() and b'"event": "epoch"' in log.read_bytes())
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=120)
    assert code == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    (end,) = [event for event in read_events(log) if event["event"] == "end"]
    assert (end["state"], end["reason"]) == ("stopped", "SIGTERM")
    # from here on only its steps are processes of their own
    monkeypatch.chdir(tmp_path)
    again = CliRunner().invoke(cli, words)
    assert again.exit_code == 0, (again.output, again.exception)
    assert "[1/6] last_v2_tiny, teacher: goes on after step" in again.stdout
    assert [event["event"] for event in read_events(log)].count("start") == 1
    assert [event["event"] for event in read_events(log)].count("resume") == 1
    start = next(iter(read_events(tmp_path / "s" / "seed-0" / "distilled" / "nano" / FILE_NAME)))
    alone = Run.read(tmp_path / "s" / "seed-0" / "standalone" / "nano")
    assert start["lead"]["run"] == str(alone.folder.relative_to(tmp_path))
    assert alone.last is not None
    assert start["lead"]["standalone"] == alone.last["top1"]
    with (tmp_path / "s" / "report" / "table.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    for student in ("last_e_nano", "last_e_small"):
        assert rows[student]["seeds"] == "1 / 1"
        assert "(" in rows[student]["gain (95 %)"]
        assert "no interval" not in rows[student]["gain (95 %)"]
    third = CliRunner().invoke(cli, words)
    assert third.exit_code == 0
    assert "6 steps, 0 of them to do" in third.stdout
    assert "$ " not in third.stdout
