"""`lastkd check`: a machine that will do, and each way in which one won't."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import CliRunner, Result

from lastkd import losses
from lastkd.cli.app import cli
from lastkd.pipeline import check
from lastkd.pipeline.check_device import Deviation, DeviceProbe

QUICK = ("--teacher-model", "last_v2_tiny", "--no-pace")  # --pace after it has the last word
NAMES = [
    *("versions", "devices", "teacher", "student", "losses", "compile", "processes"),
    *("store", "disk"),
]


def run(*options: str) -> Result:
    return CliRunner().invoke(cli, ["check", *QUICK, *options])


def findings(*options: str) -> dict[str, dict[str, Any]]:
    result = run("--json", *options)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    report = json.loads(result.stdout)
    by_name = {finding["name"]: finding for finding in report["findings"]}
    failed = any(finding["state"] == "failed" for finding in by_name.values())
    assert report["ok"] is not failed
    assert result.exit_code == int(failed)
    return by_name


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the two processes, which take seconds to start."""
    skipped = ("skipped", "", {})
    monkeypatch.setattr(check.Checks, "processes", lambda self: skipped)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs that is checked, which isn't there."""
    return tmp_path_factory.mktemp("check") / "runs"


@pytest.fixture(scope="module")
def whole(store_path: Path, runs: Path) -> dict[str, dict[str, Any]]:
    """What the whole check finds on this machine."""
    return findings("--pace", "--data", str(store_path), "--out", str(runs))


@pytest.mark.slow
def test_this_machine_will_do(whole: dict[str, dict[str, Any]], runs: Path) -> None:
    found = {name: whole[name] for name in whole if name != "pace"}
    assert list(whole) == [*NAMES, "pace"]
    states = {name: finding["state"] for name, finding in found.items()}
    assert states.pop("compile") == "skipped"  # a CPU gains nothing by it
    assert set(states.values()) == {"ok"}, found
    assert found["teacher"]["values"]["relative"] < 1e-4
    assert found["student"]["values"]["repeats"]
    assert found["losses"]["values"]["losses"] == list(losses.LOSSES)
    assert found["processes"]["values"]["processes"] == 2
    assert found["processes"]["values"]["agree"]
    assert found["store"]["values"]["train"] == 32
    assert found["disk"]["values"]["needed_gb"] > 0
    assert not runs.exists()


@pytest.mark.slow
def test_the_pace_reckons_every_step_of_a_sequence(
    whole: dict[str, dict[str, Any]], runs: Path
) -> None:
    assert not any(finding["state"] == "failed" for finding in whole.values()), whole
    pace = whole["pace"]
    titles = [step["step"] for step in pace["values"]["steps"]]
    assert titles[0] == "last_v2_tiny, teacher"
    assert titles[-1] == "all"
    assert any("distilled" in title for title in titles)
    assert pace["values"]["hours"] > 0
    assert not list(runs.parent.iterdir())


def test_missing_gpus_end_the_check_at_once() -> None:
    found = findings("--gpus", "2")
    assert list(found) == NAMES[:2]
    assert found["devices"]["detail"].startswith("2 GPUs are needed and 0 are here")
    result = run("--gpus", "2")
    assert result.exit_code == 1
    assert "This machine won't do: devices: 2 GPUs are needed" in result.output


def test_a_gpu_that_torch_has_no_kernels_for_is_named(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def no_kernel(device: torch.device) -> None:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla P100")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (15 << 30, 16 << 30))
    monkeypatch.setattr(check, "_one_kernel", no_kernel)
    found = findings()
    assert list(found) == NAMES[:2]
    assert "Tesla P100 (compute 6.0)" in found["devices"]["detail"]
    assert "choose another GPU" in found["devices"]["detail"]


@pytest.mark.parametrize(
    ("deviation", "why"),
    [(Deviation(0.2, True), "more than 0.0001"), (Deviation(float("inf"), False), "isn't finite")],
)
def test_a_teacher_that_comes_out_wrong_fails(
    monkeypatch: pytest.MonkeyPatch, quick: None, deviation: Deviation, why: str
) -> None:
    monkeypatch.setattr(DeviceProbe, "teacher_deviation", lambda self: deviation)
    found = findings()
    assert found["teacher"]["state"] == "failed"
    assert why in found["teacher"]["detail"]
    assert found["student"]["state"] == "ok"  # the others are looked at all the same


def test_steps_that_do_not_repeat_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(DeviceProbe, "repeats", lambda self: False)
    assert findings()["student"]["state"] == "warning"


def test_a_loss_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    class Unstable(losses.KD):
        def soft_term(self, student: Any, teacher: Any, labels: Any) -> Any:
            return student.exp().exp().mean()

    monkeypatch.setitem(losses.LOSSES, "kd", Unstable)
    found = findings()["losses"]
    assert found["state"] == "failed"
    assert found["detail"] == "kd: value or gradient isn't finite"


@pytest.mark.parametrize(
    ("refusal", "state", "detail"),
    [
        (None, "ok", "--compile works on a GPU"),
        ("--compile: torch can't compile for a GPU", "skipped", "torch can't compile for a GPU"),
    ],
)
def test_a_gpu_that_torch_compiles_for_or_does_not_is_told(
    monkeypatch: pytest.MonkeyPatch, refusal: str | None, state: str, detail: str
) -> None:
    class OnGpu:
        device = torch.device("cuda")

    monkeypatch.setattr(check, "make_accelerator", lambda **_: OnGpu())
    monkeypatch.setattr(check, "device_name", lambda device: "a GPU")
    monkeypatch.setattr(check, "compile_refusal", lambda device: refusal)
    found = check.Checks(check.CheckSettings(), Path()).compile()
    assert found[0] == state
    assert detail in found[1]


def test_processes_that_disagree_or_do_not_answer_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def disagreeing(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        outcome = {"processes": 2, "backend": "gloo", "agree": False, "exchange_ms": 1.0}
        Path(command[-1]).write_text(json.dumps(outcome), encoding="utf-8")
        return subprocess.CompletedProcess(command, 0, "", "")

    def silent(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, 1)

    def broken(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "Traceback\nRuntimeError: no network\n")

    monkeypatch.setattr(check.Checks, "student", lambda self: ("skipped", "", {}))
    for runner, why in (
        (disagreeing, "2 processes over gloo end with different weights"),
        (silent, "don't answer each other over gloo"),
        (broken, "RuntimeError: no network"),
    ):
        monkeypatch.setattr(check.subprocess, "run", runner)
        found = findings()["processes"]
        assert found["state"] == "failed"
        assert why in found["detail"]


def test_a_missing_store_and_a_slow_disk_are_said(
    monkeypatch: pytest.MonkeyPatch, quick: None, store_path: Path
) -> None:
    found = findings("--data", "no/such/store")["store"]
    assert found["state"] == "failed"
    assert "no/such/store" in found["detail"]
    monkeypatch.setattr(check, "_read_speed", lambda path: 3.0)
    every = findings("--data", str(store_path))
    assert list(every) == NAMES
    found = every["store"]
    assert found["state"] == "warning"
    assert "read at 3 MB/s" in found["detail"]


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "state"), [(10**6, "failed"), (10**12, "ok")])
def test_room_for_a_whole_sequence_is_needed(
    monkeypatch: pytest.MonkeyPatch, quick: None, tmp_path: Path, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**13, 0, free))
    found = findings("--out", str(tmp_path / "deep" / "runs"))["disk"]
    assert found["state"] == state
    assert found["detail"].startswith(f"{tmp_path}: ")


def test_an_unknown_launch_config_is_a_users_mistake() -> None:
    result = run("--launch-config", "kagle_t4x2")
    assert "did you mean 'kaggle_t4x2'" in str(result.exception)


def test_versions_below_the_bounds_fail(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setattr(check.importlib.metadata, "requires", lambda name: ["torch>=99"])
    found = findings()["versions"]
    assert found["state"] == "failed"
    assert found["detail"].startswith("torch>=99 is needed and ")
    assert os.linesep not in found["detail"]
