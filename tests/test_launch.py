"""Runs started as users start them: by launchers, in several processes, from an installed wheel."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up_sets import lastkd
from safetensors.torch import load_file

from lastkd.distributed.launch import Launch, environment_alone
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.models.checkpoint import read_info
from lastkd.pipeline import builtin
from lastkd.runs.events import read_events

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
QUICK = ["--epochs", "1", "--frames", "8", "--batch-size", "8", "--warmup-epochs", "0"]
PATIENCE_S = 900
ROOT = Path(__file__).resolve().parents[1]


def started(command: list[str], cwd: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=environment_alone() | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ran(command: list[str], cwd: Path, **environment: str) -> tuple[int, str]:
    process = started(command, cwd, **environment)
    try:
        out, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out


def train(store: Path, run: str, *options: str) -> list[str]:
    return [
        *["-m", "lastkd.train", "--model", "last_e_nano", "--data", str(store)],
        *["--run", run, *QUICK, *options],
    ]


def test_a_cpu_needs_no_launcher_and_a_gpu_takes_accelerates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cpu = Launch.default()
    assert cpu.argv("lastkd.train", "--lr", "1") == [
        sys.executable,
        *["-m", "lastkd.train", "--lr", "1"],
    ]
    assert cpu.text("lastkd.train", "--lr", "1") == "python -m lastkd.train --lr 1"
    assert cpu.text("lastkd", "evaluate") == "lastkd evaluate"
    assert cpu.mixed_precision == "no"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    gpu = Launch.default()
    assert gpu.by_launcher
    assert gpu.mixed_precision == "fp16"
    expected = "accelerate launch --config_file launch_configs/gpu.yaml -m lastkd.train --lr 1"
    assert gpu.text("lastkd.train", "--lr", "1") == expected


def test_on_a_mac_the_default_keeps_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    text = Launch.default().text("lastkd.train")
    assert "launch_configs/cpu.yaml --num_processes 1 " in text


def test_child_processes_inherit_the_users_threads_but_not_a_ranks_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.environ", {"OMP_NUM_THREADS": "3", "HOME": "/h"})
    assert environment_alone() == {"OMP_NUM_THREADS": "3", "HOME": "/h"}
    rank = {"OMP_NUM_THREADS": "1", "RANK": "0", "ACCELERATE_USE_CPU": "true", "HOME": "/h"}
    monkeypatch.setattr("os.environ", rank)
    assert environment_alone() == {"HOME": "/h"}


@pytest.fixture(scope="module")
def trained_by_two(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run in two processes, evaluated in uneven batches, and its output."""
    folder = tmp_path_factory.mktemp("two")
    command = [*LAUNCH, str(LAUNCH_CONFIGS / "cpu.yaml")]
    code, out = ran([*command, *train(store_path, "run", "--eval-batch-size", "3")], folder)
    assert code == 0, out
    return folder / "run", out


@pytest.mark.slow
def test_cpu_yaml_trains_in_two_processes_that_say_so(trained_by_two: tuple[Path, str]) -> None:
    folder, out = trained_by_two
    start = next(iter(read_events(folder / "events.jsonl")))
    assert (start["processes"], start["global_batch"]) == (2, 16)
    assert "2 x cpu" in out
    assert "global batch 16 = 8 clips x 2 processes x 1 passes" in out


def ranks_of_torchrun(store: Path, folder: Path, **settings: Any) -> list[dict[str, str]]:
    """Trains in two processes that torchrun starts; what each rank's student has become."""
    worker = Path(__file__).with_name("rank_digest.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    folder.parent.mkdir(exist_ok=True)
    code, out = ran(
        [*command, str(worker), str(store), str(folder), json.dumps(settings)], folder.parent
    )
    assert code == 0, out
    return [json.loads((folder / f"rank{rank}").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_torchrun_trains_in_two_processes_that_stay_equal(tmp_path: Path, store_path: Path) -> None:
    first, second = ranks_of_torchrun(store_path, tmp_path / "run")
    assert first == second
    assert first["wrapped"] == "DistributedDataParallel"
    start = next(iter(read_events(tmp_path / "run" / "events.jsonl")))
    assert (start["processes"], start["global_batch"]) == (2, 16)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for a CPU by g++")
def test_a_compiled_student_in_two_processes_becomes_what_it_does_uncompiled(
    tmp_path: Path, store_path: Path
) -> None:
    # a small model of one's own: a LAST-E takes minutes to compile for a CPU
    runs = {
        compiled: ranks_of_torchrun(
            store_path, tmp_path / str(compiled), model="own_models:student", compile=compiled
        )
        for compiled in (False, True)
    }
    assert runs[True][0] == runs[True][1]
    events = list(read_events(tmp_path / "True" / "events.jsonl"))
    assert not [event for event in events if event["event"] == "warning"]
    plain, compiled = (load_file(tmp_path / str(one) / "last.safetensors") for one in (False, True))
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_each_clip_counts_once_whatever_the_number_of_processes(
    trained_by_two: tuple[Path, str], store_path: Path
) -> None:
    checkpoint = trained_by_two[0] / "last.safetensors"
    info = read_info(checkpoint)
    assert info.accuracy["clips"] == 32
    done = lastkd("evaluate", checkpoint, "--data", store_path, "--json")
    assert done.exit_code == 0, done.exception
    measured = json.loads(done.stdout[done.stdout.index("{") :])
    assert {key: measured[key] for key in ("top1", "top5", "mean_class", "clips")} == {
        key: info.accuracy[key] for key in ("top1", "top5", "mean_class", "clips")
    }


@pytest.mark.slow
def test_two_launchers_on_loopback_train_one_model(tmp_path: Path, store_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    both = [
        started(
            [
                *[*LAUNCH, str(LAUNCH_CONFIGS / "multi_node.yaml"), "--machine_rank", rank],
                *["--main_process_port", port, *train(store_path, "run")],
            ],
            tmp_path,
            ACCELERATE_USE_CPU="true",
        )
        for rank in ("0", "1")
    ]
    outs = [process.communicate(timeout=PATIENCE_S)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    start = next(iter(read_events(tmp_path / "run" / "events.jsonl")))
    assert (start["processes"], start["global_batch"]) == (2, 16)


def test_a_missing_store_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lastkd.train", "--model", "last_e_nano"]
    code, out = ran([*command, "--data", "nowhere"], tmp_path)
    assert code == 2
    assert out.startswith("Error: nowhere: no such store; make one with lastkd prepare")
    assert len(out.splitlines()) == 1


def test_an_unknown_option_names_the_nearest(tmp_path: Path) -> None:
    code, out = ran([sys.executable, "-m", "lastkd.distill", "--epoch", "3"], tmp_path)
    assert code == 2
    assert "--epochs" in out
    assert "Traceback" not in out


@pytest.mark.slow
def test_distilling_without_inputs_says_so_and_uses_the_builtin_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read = builtin.read_mapping
    # a poor teacher, but at once
    short = {"frames": 8, "batch_size": 32, "teacher_settings": {"epochs": 1}}
    monkeypatch.setattr(builtin, "read_mapping", lambda path: read(path) | short)
    builtin.builtin_teacher()
    command = [*LAUNCH, str(LAUNCH_CONFIGS / "cpu.yaml"), "-m", "lastkd.distill"]
    command += ["--variant", "nano", "--run", "run", "--epochs", "1"]
    command += ["--frames", "8", "--batch-size", "32"]
    code, out = ran(command, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert code == 0, out
    assert "Neither a store (data/ntu60) nor a teacher" in out
    assert "built-in synthetic data" in out
    start = next(iter(read_events(tmp_path / "run" / "events.jsonl")))
    assert start["teacher"]["model"] == "last_v2_tiny"


@pytest.mark.slow
def test_an_installed_wheel_finds_its_configs_and_runs_elsewhere(
    tmp_path: Path, store_path: Path
) -> None:
    pip = [sys.executable, "-m", "pip"]
    code, out = ran([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], tmp_path)
    assert code == 0, out
    (wheel,) = tmp_path.glob("lastkd-*.whl")
    home = tmp_path / "empty"
    venv.create(home)
    python = home / "bin" / "python"
    site = next((home / "lib").glob("python*")) / "site-packages"
    # by this environment's pip: putting one into the new environment takes longer than all of this
    install = [*pip, "install", "--no-deps", "--target", str(site), str(wheel)]
    code, out = ran(install, tmp_path)
    assert code == 0, out
    # the dependencies come from here (they are large); lastkd itself only from the wheel
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    code, out = ran([str(python), "-c", "import lastkd; print(lastkd.__file__)"], tmp_path)
    assert out.strip().startswith(str(home)), out
    assert not Path(out.strip()).samefile(ROOT / "lastkd" / "__init__.py")
    assert (Path(out.strip()).parent / "py.typed").exists()
    code, out = ran([str(python), *train(store_path, "run")], tmp_path)
    assert code == 0, out
    assert (tmp_path / "run" / "best.safetensors").exists()
    command = ["-m", "lastkd", "kaggle", "push", "train", "--data", "me/a-store"]
    code, out = ran([str(python), *command, "--owner", "me", "--dry-run", "--out", "k"], tmp_path)
    assert code == 0, out
    assert (tmp_path / "k" / "kernel.py").exists()
