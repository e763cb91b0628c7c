"""The kernel script itself, as Kaggle runs it: alone, inputs read-only, no network."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkpoints import untrained
from fake_kaggle import USER, FakeKaggle
from kaggle_home import kaggle, lastkd
from kaggle_machine import job_file, machines, mount, printed, run_script, unpacked_code
from run_logs import Log

from lastkd.distributed.launch import environment_alone
from lastkd.distributed.stop_requests import Stopped
from lastkd.errors import UserError
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.kaggle import runner
from lastkd.kaggle.inputs import Mounts
from lastkd.kaggle.job import Job, read_job, seconds, with_job
from lastkd.kaggle.packing import fill, metadata, pack_code, template, template_jobs
from lastkd.kaggle.references import source
from lastkd.kaggle.runner import JobRunner, make_command, stopped_early
from lastkd.kaggle.state import pack
from lastkd.models.checkpoint import read_checkpoint
from lastkd.pipeline.runner import Command
from lastkd.runs.events import read_events
from lastkd.runs.predictions import Predictions

__all__ = ["kaggle"]
STUDENT = f"{USER}/lastkd-distill-nano"
SETTINGS = ["--variant", "nano", "--epochs", "2", "--frames", "8", "--batch-size", "8"]
SETTINGS += ["--warmup-epochs", "0", "--log-every", "1", "--eval-every", "2"]


@pytest.mark.slow
def test_a_distillation_over_two_versions_equals_one_at_home(
    kaggle: FakeKaggle, tmp_path: Path
) -> None:
    kaggle.run_kernel = machines(kaggle, tmp_path / "there", ["new", "old", "new"])
    size = ("--subjects", 2, "--repetitions", 2)
    assert lastkd("push", "prepare", "synthetic", *size).exit_code == 0
    prepared = f"{USER}/lastkd-prepare-synthetic"
    version = kaggle.wait(prepared)
    assert printed(version)[-1] == "lastkd: done", printed(version)
    assert lastkd("fetch", "--all", "--out", "home").exit_code == 0
    store = tmp_path / "home" / "store"
    teacher = untrained(tmp_path / "teacher.safetensors", store, settings={"frames": 8})
    kaggle.add_dataset(f"{USER}/a-teacher", teacher__safetensors=teacher.read_bytes())

    inputs = ("--data", f"kernel:{prepared}", "--teacher", f"{USER}/a-teacher")
    pushed = lastkd(
        "push", "distill", *SETTINGS, *inputs, "--machine", "cpu", "--time-budget", "1s"
    )
    assert pushed.exit_code == 0, repr(pushed.exception)
    first = kaggle.wait(STUDENT)
    assert (first.status, job_file(first)["state"]) == ("COMPLETE", "more"), printed(first)
    assert printed(first)[-1].startswith("lastkd: stopped (time budget); go on with")
    code = unpacked_code(printed(first))
    assert code.is_relative_to(tmp_path / "there" / "machine1" / "tmp")
    result = lastkd("resume", "--time-budget", "10m", "--until-done", "--poll", 0.05)
    assert result.exit_code == 0, result.output + repr(result.exception)
    second = kaggle.wait(STUDENT)
    assert printed(second)[-1] == "lastkd: done", printed(second)
    assert second.number == 2

    config = str(LAUNCH_CONFIGS / "cpu.yaml")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    command += ["-m", "lastkd.distill", *SETTINGS, "--data", str(store)]
    command += ["--teacher", str(teacher), "--run", "home/nano"]
    subprocess.run(
        command, cwd=tmp_path, env=environment_alone() | {"OMP_NUM_THREADS": "1"}, check=True
    )
    there, here = tmp_path / "runs" / "lastkd-distill-nano" / "nano", tmp_path / "home" / "nano"
    for name in ("best.safetensors", "last.safetensors"):
        assert (
            read_checkpoint(there / name).weights_hash == read_checkpoint(here / name).weights_hash
        )
    assert measured(there) == measured(here)
    start = next(iter(read_events(there / "events.jsonl")))
    assert start["processes"] == 2


def measured(run: Path) -> dict[tuple[str, int], list[float]]:
    """The losses of each step and the accuracy of each evaluation, the latest of each."""
    found: dict[tuple[str, int], list[float]] = {}
    for event in read_events(run / "events.jsonl"):
        if event["event"] == "step":
            found["step", event["step"]] = [event[key] for key in ("ce", "soft", "total", "lr")]
        elif event["event"] == "epoch":
            found["epoch", event["epoch"]] = [event[key] for key in ("top1", "top5", "clips")]
    return found


@pytest.mark.parametrize("layout", ["old", "new"])
def test_a_missing_input_ends_a_kernel_at_once(tmp_path: Path, layout: str) -> None:
    mount(tmp_path / "input", layout, "datasets", f"{USER}/a-store", {"readme.txt": b"nothing"})
    job = template_jobs()["train"].model_copy(
        update={"inputs": {"data": f"{USER}/a-store"}, "machine": "cpu"}
    )
    lines: list[str] = []
    assert run_script(tmp_path, fill(job, pack_code()), lines.append) == 1
    assert lines[-1].startswith("lastkd: failed: input data (someone/a-store): no store")
    assert "readme.txt" in lines[-1]
    assert any(line.startswith("torch ") for line in lines)


def test_a_later_attempt_without_its_state_ends_at_once(tmp_path: Path) -> None:
    job = Job(command="prepare synthetic --out store", machine="cpu", id="ab", attempt=2)
    lines: list[str] = []
    assert run_script(tmp_path, fill(job, pack_code()), lines.append) == 1
    assert "the state of attempt 1 (state-ab-1.lastkd) is not among the inputs" in lines[-1]


def test_two_t4_that_are_not_there_end_a_kernel_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lines: list[str] = []
    script = fill(template_jobs()["sequence"], pack_code())
    assert run_script(tmp_path, script, lines.append) == 1
    assert "2 GPUs are needed and 0 are here" in lines[-1]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "gpus", lambda: ["GPU 0: Tesla T4", "GPU 1: Tesla T4"])


class Children:
    """Stands for processes: what was started, and how each of them ends."""

    def __init__(self, *codes: int | Stopped) -> None:
        self.codes = list(codes)
        self.commands: list[list[str]] = []

    def __call__(self, argv: list[str], requests: Any, **options: Any) -> int:
        self.commands.append(argv)
        options["on_line"](f"line of {len(self.commands)}")
        code = self.codes.pop(0)
        if isinstance(code, Stopped):
            raise code
        return code


@pytest.mark.parametrize(
    ("codes", "exit_code", "last"),
    [
        ((0, 0), 0, "lastkd: done"),
        ((1,), 1, "this machine won't do; the output of lastkd check stands above"),
        ((Stopped("time budget"),), 1, "lastkd check didn't end within 150 s"),
        ((Stopped("SIGTERM"),), 0, "stopped (SIGTERM)"),
    ],
)
def test_a_job_on_gpus_checks_them_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    two_gpus: None,
    codes: tuple[int | Stopped, ...],
    exit_code: int,
    last: str,
) -> None:
    store = {"store.json": b"{}", "clips.safetensors": b""}
    mount(tmp_path / "input", "new", "datasets", f"{USER}/a-store", store)
    children = Children(*codes)
    monkeypatch.setattr(runner, "run_child", children)
    job = {"command": "train --model nano --data {data}", "inputs": {"data": f"{USER}/a-store"}}
    assert runner.run(job, root=tmp_path, code=tmp_path) == exit_code
    check = children.commands[0]
    assert check[check.index("check") :] == [
        *("check", "--no-pace", "--data", str(tmp_path / "input/datasets" / USER / "a-store")),
        *("--gpus", "2", "--launch-config", "kaggle_t4x2"),
    ]
    assert len(children.commands) == len(codes)
    lines = capsys.readouterr().out.splitlines()
    assert "check: line of 1" in lines
    assert last in lines[-1]


def test_the_check_alone_is_the_whole_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_gpus: None
) -> None:
    children = Children(1)
    monkeypatch.setattr(runner, "run_child", children)
    assert runner.run({"command": "check"}, root=tmp_path, code=tmp_path) == 1
    assert len(children.commands) == 1
    assert "--no-pace" not in children.commands[0]


def test_lastkd_is_taken_from_a_dataset(tmp_path: Path) -> None:
    job = Job(command="info --help", machine="cpu", code=f"{USER}/lastkd-code/a.lastkd")
    lines: list[str] = []
    assert run_script(tmp_path / "1", made(tmp_path / "1", job), lines.append) == 1
    assert lines == [
        "lastkd: failed: no a.lastkd among the inputs; attach the dataset that contains it\n"
    ]
    files = {"a.lastkd": pack_code()}
    mount(tmp_path / "2" / "input", "new", "datasets", f"{USER}/lastkd-code", files)
    lines.clear()
    assert run_script(tmp_path / "2", made(tmp_path / "2", job), lines.append) == 0
    assert lines[-1] == "lastkd: done\n"


def made(folder: Path, job: Job) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return fill(job, None)


# --- commands -------------------------------------------------------------------------------


def test_commands_that_train_are_launched_within_the_budget() -> None:
    store, one, two = Path("/in/store"), Path("/in/a.safetensors"), Path("/in/b.safetensors")
    inputs = {"data": [store], "checkpoint": [one, two]}

    def made(command: str, **more: Any) -> Command:
        return make_command(Job(command=command, **more), inputs)

    train = made("train --model last_e_nano --data {data}", config={"epochs": 3})
    assert (train.module, train.launched, train.budgeted) == ("lastkd.train", True, True)
    assert train.arguments == (
        *("--model", "last_e_nano", "--data", "/in/store"),
        *("--config", "lastkd-config.yaml", "--resume", "auto"),
    )
    sequence = made("sequence --data {data} --out runs", machine="cpu")
    assert (sequence.module, sequence.launched, sequence.budgeted) == ("lastkd", False, True)
    assert sequence.arguments[-2:] == ("--launch-config", "cpu")
    evaluate = made("evaluate {checkpoint} --data {data}")
    assert evaluate.arguments == ("evaluate", str(one), str(two), "--data", "/in/store")
    assert not evaluate.launched
    inputs |= {"teacher": [one], "teacher2": [two]}
    ensemble = made("distill --teacher {teacher},{teacher2}")
    assert ensemble.arguments[:2] == ("--teacher", f"{one},{two}")
    del inputs["teacher"]
    with pytest.raises(UserError, match="no input teacher, which the command names"):
        made("distill --teacher {teacher}")


def test_a_command_that_ended_well_may_have_stopped_on_its_budget(tmp_path: Path) -> None:
    run = Log(tmp_path / "runs" / "nano").run([50.0])
    assert not stopped_early(tmp_path)
    run.end("stopped", reason="time budget")
    assert stopped_early(tmp_path)
    # of several runs in turn the sequence itself knows
    (tmp_path / "runs" / "pipeline.json").write_text('{"state": "done", "reason": ""}')
    assert not stopped_early(tmp_path)


@pytest.mark.slow
def test_a_sequence_over_two_versions_is_the_one_at_home(tmp_path: Path, store_path: Path) -> None:
    store = {path.name: path.read_bytes() for path in store_path.iterdir()}
    quick = "--variant nano --epochs 1 --frames 8 --batch-size 8 --warmup-epochs 0"
    job = Job(
        command=f"sequence --data {{data}} --out runs --no-figures --only standalone {quick}",
        inputs={"data": f"{USER}/a-store"},
        machine="cpu",
        time_budget="1s",
        id="ab",
    )
    ends = []
    for attempt in (1, 2):
        root = tmp_path / str(attempt)
        root.mkdir()
        mount(root / "input", "new", "datasets", f"{USER}/a-store", store)
        if attempt == 2:
            job = job.model_copy(update={"time_budget": "1h", "attempt": 2})
            outputs = tmp_path / "1" / "working"
            files = {str(p.relative_to(outputs)): p for p in outputs.rglob("*") if p.is_file()}
            pack(files, root / "input" / job.state_file)
        lines: list[str] = []
        assert run_script(root, fill(job, pack_code()), lines.append) == 0, "".join(lines)
        ends.append(lines[-1])
    assert ends[0].startswith("lastkd: stopped (time budget)")
    assert ends[1] == "lastkd: done\n", "".join(lines)
    runs = tmp_path / "2" / "working" / "runs"
    predictions = Predictions.load(runs / "seed-0" / "standalone" / "nano" / "predictions.npz")
    assert predictions.about["checkpoint"].endswith("seed-0/standalone/nano/last.safetensors")
    assert predictions.about["chosen_by"] == "the last epoch"
    assert (runs / "report" / "07_Experiments.md").exists()


def test_inputs_are_found_by_what_they_hold(tmp_path: Path, store_path: Path) -> None:
    inputs = tmp_path / "input"
    nested = inputs / "datasets" / USER / "mixed" / "deep"
    shutil.copytree(store_path, nested / "ntu60")
    for run in ("nano", "large"):
        untrained(nested / "runs" / run / "best.safetensors", store_path, settings={"frames": 8})
        untrained(nested / "runs" / run / "last.safetensors", store_path, settings={"frames": 8})
    job = Job(
        command="evaluate {checkpoint} --data {data}",
        machine="cpu",
        inputs={"data": f"{USER}/mixed", "checkpoint": f"{USER}/mixed"},
    )
    (tmp_path / "working").mkdir()
    runner = JobRunner(job, tmp_path, tmp_path)
    runner.check()
    assert runner.inputs["data"] == [nested / "ntu60"]
    assert [path.parent.name for path in runner.inputs["checkpoint"]] == ["large", "nano"]
    one = runner.job.model_copy(update={"inputs": {"teacher": f"{USER}/mixed/deep/runs/nano"}})
    runner = JobRunner(one, tmp_path, tmp_path)
    runner.check()
    assert runner.inputs["teacher"] == [nested / "runs" / "nano" / "best.safetensors"]


def test_skeletons_are_found_in_every_form(tmp_path: Path) -> None:
    def found(*names: str) -> list[str]:
        shutil.rmtree(tmp_path / "input", ignore_errors=True)
        inside = tmp_path / "input" / "some-skeletons"
        for name in names:
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            (inside / name).touch()
        paths = Mounts(tmp_path / "input").find("source", source(f"{USER}/some-skeletons"))
        return [path.relative_to(inside).as_posix() for path in paths]

    assert found("a/nturgb+d_skeletons/S001C001P001R001A001.skeleton", "readme.txt") == ["."]
    assert found("a.zip", "b.zip", "note.pdf") == ["a.zip", "b.zip"]
    assert found("x/ntu60_3danno.pkl") == ["x/ntu60_3danno.pkl"]
    assert found("last/train_joint.npy", "last/train_label.pkl", "last/val_label.pkl") == ["last"]
    with pytest.raises(UserError, match="contains 2 that fit"):
        found("NTU60_CS.npz", "NTU60_CV.npz")


@pytest.mark.slow
def test_an_evaluation_is_kept(tmp_path: Path, store_path: Path) -> None:
    store = {path.name: path.read_bytes() for path in store_path.iterdir()}
    mount(tmp_path / "input", "new", "datasets", f"{USER}/a-store", store)
    weights = untrained(
        tmp_path / "teacher.safetensors", store_path, settings={"frames": 8}
    ).read_bytes()
    files = {"nano/best.safetensors": weights, "nano/last.safetensors": weights}
    mount(tmp_path / "input", "old", "datasets", f"{USER}/students", files)
    job = Job(
        command=template_jobs()["evaluate"].command,
        inputs={"data": f"{USER}/a-store", "checkpoint": f"{USER}/students"},
        machine="cpu",
    )
    lines: list[str] = []
    assert run_script(tmp_path, fill(job, pack_code()), lines.append) == 0, lines
    measured = json.loads((tmp_path / "working" / "evaluation" / "nano.json").read_text())
    assert measured["clips"] == 32


# --- templates ------------------------------------------------------------------------------


def test_every_job_is_complete() -> None:
    jobs = template_jobs()
    assert set(jobs) == {
        *("check", "prepare", "train", "baselines", "distill", "evaluate", "sequence")
    }
    for what, job in jobs.items():
        inputs = {name: [Path("/in") / name] for name in job.inputs}
        name, *_ = make_command(job, inputs).arguments
        assert job.command.startswith(what if what != "baselines" else "sequence"), name
        assert "machine_shape" in metadata(job, None) or job.machine == "cpu"
    about = metadata(jobs["train"], None)
    assert (about["is_private"], about["enable_internet"]) == (True, False)
    assert (about["code_file"], about["machine_shape"]) == ("kernel.py", "NvidiaTeslaT4")
    # by hand, the script is the sequence's as it stands
    assert read_job(template(), "kernel.py") == jobs["sequence"]


def test_a_job_survives_its_script() -> None:
    job = Job(
        command="train --model 'it''s' --out \"x\"",
        config={"compile": True, "tau": None, "teacher_settings": {"epochs": 9, "lr": 0.1}},
        inputs={"data": "a/b-c"},
        kernel="a/lastkd",
        id="0a",
        attempt=3,
    )
    script = with_job(template(), job)
    compile(script, "kernel.py", "exec")
    assert read_job(script, "script") == job


def test_a_kernel_that_an_older_lastkd_has_pushed_can_be_resumed() -> None:
    """Its script holds the older code, which does the steps; only the block at its top is ours."""
    steps = '["train --model last_v2_base --data {data}", "report runs --out report"]'
    script = f'JOB = {{\n    "steps": {steps},\n    "machine": "t4x2",\n    "id": "ab",\n}}\n'
    job = read_job(script, "pushed")
    assert job.commands[1] == "report runs --out report"
    later = with_job(script, job.model_copy(update={"attempt": 2}))
    assert ast.literal_eval(later.removeprefix("JOB = ")) == {
        "steps": list(job.steps),
        "machine": "t4x2",
        "time_budget": "11h",
        "id": "ab",
        "attempt": 2,
    }
    with pytest.raises(UserError, match="names no command"):
        read_job('JOB = {\n    "machine": "cpu",\n}\n', "pushed")


@pytest.mark.parametrize(
    ("text", "expected"), [("11h", 39600), ("90m", 5400), ("1h30m", 5400), ("45s", 45)]
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
