"""The kernel script itself, as Kaggle runs it: alone, inputs read-only, no network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import untrained
from fake_kaggle import USER, FakeKaggle
from kaggle_home import kaggle, lastkd
from kaggle_machine import job_file, machines, mount, run_script, said, unpacked_code

from lastkd.distributed.launch import environment_alone
from lastkd.errors import UserError
from lastkd.files.shipped import KERNELS, LAUNCH_CONFIGS
from lastkd.kaggle.inputs import Mounts
from lastkd.kaggle.job import Job, Step, read_job, seconds, with_job
from lastkd.kaggle.packing import fill, pack_code, template, template_job, templates
from lastkd.kaggle.references import source
from lastkd.kaggle.runner import Machine
from lastkd.models.checkpoint import read_checkpoint
from lastkd.runs.events import read_events

__all__ = ["kaggle"]
STUDENT = f"{USER}/lastkd-distill-nano"
SETTINGS = ["--variant", "nano", "--epochs", "2", "--frames", "8", "--batch-size", "8"]
SETTINGS += ["--warmup-epochs", "0", "--log-every", "1", "--eval-every", "2"]


@pytest.mark.slow
def test_a_distillation_over_three_versions_equals_one_at_home(
    kaggle: FakeKaggle, tmp_path: Path
) -> None:
    kaggle.run_kernel = machines(kaggle, tmp_path / "there", ["new", "old", "new", "old"])
    size = ("--subjects", 2, "--repetitions", 2)
    assert lastkd("push", "prepare", "synthetic", *size).exit_code == 0
    prepared = f"{USER}/lastkd-prepare-synthetic"
    version = kaggle.wait(prepared)
    assert said(version)[-1] == "lastkd: done: 1 of 1 steps", said(version)
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
    assert (first.status, job_file(first)["state"]) == ("COMPLETE", "more"), said(first)
    assert said(first)[-1].startswith("lastkd: stopped on its time budget: 0 of 1 steps; go on")
    code = unpacked_code(said(first))
    assert code.is_relative_to(tmp_path / "there" / "machine1" / "tmp")
    assert lastkd("resume", "--time-budget", "1s", "--poll", 0.05).exit_code == 0
    second = kaggle.wait(STUDENT)
    assert job_file(second)["state"] == "more", said(second)
    result = lastkd("resume", "--time-budget", "10m", "--until-done", "--poll", 0.05)
    assert result.exit_code == 0, result.output + repr(result.exception)
    third = kaggle.wait(STUDENT)
    assert said(third)[-1] == "lastkd: done: 1 of 1 steps", said(third)
    assert third.number == 3

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
    job = template_job("train").model_copy(
        update={"inputs": {"data": f"{USER}/a-store"}, "machine": "cpu"}
    )
    lines: list[str] = []
    assert run_script(tmp_path, fill("train", job, pack_code()), lines.append) == 1
    assert lines[-1].startswith("lastkd: failed: input data (someone/a-store): no store")
    assert "readme.txt" in lines[-1]
    assert any(line.startswith("torch ") for line in lines)


def test_a_later_attempt_without_its_state_ends_at_once(tmp_path: Path) -> None:
    job = Job(steps=("prepare synthetic --out store",), machine="cpu", id="ab", attempt=2)
    lines: list[str] = []
    assert run_script(tmp_path, fill("prepare", job, pack_code()), lines.append) == 1
    assert "the state of attempt 1 (state-ab-1.lastkd) is not among the inputs" in lines[-1]


def test_two_t4_that_are_not_there_end_a_kernel_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lines: list[str] = []
    script = fill("sequence", template_job("sequence"), pack_code())
    assert run_script(tmp_path, script, lines.append) == 1
    assert "2 GPUs are needed and 0 are here" in lines[-1]


def test_lastkd_is_taken_from_a_dataset(tmp_path: Path) -> None:
    job = Job(steps=("info --help",), machine="cpu", code=f"{USER}/lastkd-code/a.lastkd")
    lines: list[str] = []
    assert run_script(tmp_path / "1", made(tmp_path / "1", job), lines.append) == 1
    assert lines == [
        "lastkd: failed: no a.lastkd among the inputs; attach the dataset that holds it\n"
    ]
    files = {"a.lastkd": pack_code()}
    mount(tmp_path / "2" / "input", "new", "datasets", f"{USER}/lastkd-code", files)
    lines.clear()
    assert run_script(tmp_path / "2", made(tmp_path / "2", job), lines.append) == 0
    assert lines[-1] == "lastkd: done: 1 of 1 steps\n"


def made(folder: Path, job: Job) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return fill("train", job, None)


# --- steps ----------------------------------------------------------------------------------


def test_a_step_is_repeated_for_each_checkpoint(tmp_path: Path) -> None:
    for run in ("last_v2_base", "alone/nano", "distilled/nano"):
        state = tmp_path / "working" / "runs" / run / "checkpoints" / "step-1-epoch-0"
        state.mkdir(parents=True)
        (state / "best.safetensors").touch()
        (state.parents[1] / "best.safetensors").touch()
    machine = Machine(template_job("sequence"), tmp_path, tmp_path)
    machine.inputs = {"data": [Path("/in/store")]}
    commands = list(machine.commands(Step(machine.job.steps[-2])))
    assert [into for _, into in commands] == [
        "evaluation/alone-nano.json",
        "evaluation/distilled-nano.json",
        "evaluation/last_v2_base.json",
    ]
    assert commands[0][0][:4] == [
        "evaluate",
        "runs/alone/nano/best.safetensors",
        "--data",
        "/in/store",
    ]


def test_inputs_are_found_by_what_they_hold(tmp_path: Path, store_path: Path) -> None:
    inputs = tmp_path / "input"
    nested = inputs / "datasets" / USER / "mixed" / "deep"
    shutil.copytree(store_path, nested / "ntu60")
    for run in ("nano", "large"):
        untrained(nested / "runs" / run / "best.safetensors", store_path, settings={"frames": 8})
        untrained(nested / "runs" / run / "last.safetensors", store_path, settings={"frames": 8})
    job = Job(
        steps=("evaluate {checkpoint} --data {data}",),
        machine="cpu",
        inputs={"data": f"{USER}/mixed", "checkpoint": f"{USER}/mixed"},
    )
    (tmp_path / "working").mkdir()
    machine = Machine(job, tmp_path, tmp_path)
    machine.check()
    assert machine.inputs["data"] == [nested / "ntu60"]
    assert [path.parent.name for path in machine.inputs["checkpoint"]] == ["large", "nano"]
    one = machine.job.model_copy(update={"inputs": {"teacher": f"{USER}/mixed/deep/runs/nano"}})
    machine = Machine(one, tmp_path, tmp_path)
    machine.check()
    assert machine.inputs["teacher"] == [nested / "runs" / "nano" / "best.safetensors"]


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
    with pytest.raises(UserError, match="holds 2 that fit"):
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
        steps=template_job("evaluate").steps,
        inputs={"data": f"{USER}/a-store", "checkpoint": f"{USER}/students"},
        machine="cpu",
    )
    lines: list[str] = []
    assert run_script(tmp_path, fill("evaluate", job, pack_code()), lines.append) == 0, lines
    measured = json.loads((tmp_path / "working" / "evaluation" / "nano.json").read_text())
    assert measured["clips"] == 32


# --- templates ------------------------------------------------------------------------------


def test_every_template_is_complete() -> None:
    assert set(templates()) == {
        "prepare",
        "train",
        "baselines",
        "distill",
        "evaluate",
        "sequence",
    }
    starts = {template(what).partition("\n}\n")[2] for what in templates()}
    assert len(starts) == 1  # below the job all are the same
    for what in templates():
        about = json.loads((KERNELS / what / "kernel-metadata.json").read_text())
        assert (about["is_private"], about["enable_internet"]) == (True, False)
        assert about["code_file"] == "kernel.py"
        assert ("machine_shape" in about) == (template_job(what).machine == "t4x2")


def test_a_job_survives_its_script() -> None:
    job = Job(
        steps=("train --model 'it''s' > a.json", 'evaluate runs/*/"x".safetensors'),
        inputs={"data": "a/b-c"},
        kernel="a/lastkd",
        id="0a",
        attempt=3,
    )
    script = with_job(template("distill"), job)
    compile(script, "kernel.py", "exec")
    assert read_job(script, "script") == job


@pytest.mark.parametrize(
    ("text", "expected"), [("11h", 39600), ("90m", 5400), ("1h30m", 5400), ("45s", 45)]
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
