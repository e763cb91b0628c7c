"""lastkd kaggle push: what is checked, what is sent, what is made of the answer."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from fake_kaggle import KEY, TOKEN, USER, FakeKaggle, Version
from kaggle_home import kaggle, lastkd

from lastkd.errors import UserError
from lastkd.kaggle import packing
from lastkd.kaggle.job import Job, read_job

__all__ = ["kaggle"]
ROOT = Path(__file__).resolve().parents[1]
DISTILL = ("push", "distill", "--variant", "nano,large", "--data", f"{USER}/ntu60-store")
DISTILL += ("--teacher", f"{USER}/last-v2-base")


@pytest.fixture
def inputs(kaggle: FakeKaggle) -> None:
    kaggle.add_dataset(f"{USER}/ntu60-store", store__json=b"{}")
    kaggle.add_dataset(f"{USER}/last-v2-base", best__safetensors=b"")


def refused(*words: object) -> str:
    result = lastkd(*words)
    assert isinstance(result.exception, UserError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_push_starts_a_private_kernel_on_two_t4_without_internet(
    kaggle: FakeKaggle, inputs: None
) -> None:
    result = lastkd(*DISTILL, "--epochs", 5, "--tau", 2)
    assert result.exit_code == 0, result.output + repr(result.exception)
    asked = kaggle.kernels[f"{USER}/lastkd-distill-nano-large"][0].asked
    assert asked["machineShape"] == "NvidiaTeslaT4"
    assert (asked["isPrivate"], asked["enableInternet"]) == (True, False)
    assert asked["kernelType"] == "script"
    assert set(asked["datasetDataSources"]) == {f"{USER}/ntu60-store", f"{USER}/last-v2-base"}
    assert 11 * 3600 < asked["sessionTimeoutSeconds"] < 12 * 3600
    job = read_job(asked["text"], "pushed")
    assert job.command == (
        "distill --data {data} --split xsub --teacher {teacher} --variant nano,large --epochs 5 "
        "--tau 2.0"
    )
    assert "https://www.kaggle.com/code/someone/lastkd-distill-nano-large" in result.output
    assert "1.0 of 30.0 GPU hours used" in result.output


def test_lastkd_travels_in_the_script_as_it_is_here(kaggle: FakeKaggle, inputs: None) -> None:
    assert lastkd(*DISTILL).exit_code == 0
    script = kaggle.kernels[f"{USER}/lastkd-distill-nano-large"][0].asked["text"]
    packed = script.partition('LASTKD = """')[2].partition('"""')[0]
    archive = zipfile.ZipFile(io.BytesIO(zlib.decompress(base64.b64decode(packed))))
    assert archive.read("lastkd/distill.py") == (ROOT / "lastkd" / "distill.py").read_bytes()
    assert "lastkd/launch_configs/kaggle_t4x2.yaml" in archive.namelist()
    assert "lastkd/configs/training/recipe.yaml" in archive.namelist()
    assert len(script.encode()) <= packing.SCRIPT_LIMIT


def test_what_is_too_large_for_the_script_travels_in_a_dataset_that_is_made_once(
    kaggle: FakeKaggle, inputs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "SCRIPT_LIMIT", 50_000)
    assert lastkd(*DISTILL, "--poll", 0.01).exit_code == 0
    (version,) = kaggle.datasets[f"{USER}/lastkd-code"]
    assert kaggle.private[f"{USER}/lastkd-code"]
    asked = kaggle.kernels[f"{USER}/lastkd-distill-nano-large"][0].asked
    assert f"{USER}/lastkd-code" in asked["datasetDataSources"]
    (name,) = version.files
    assert read_job(asked["text"], "pushed").code == f"{USER}/lastkd-code/{name}"
    assert lastkd(*DISTILL, "--poll", 0.01, "--name", "another-one").exit_code == 0
    assert len(kaggle.datasets[f"{USER}/lastkd-code"]) == 1


def test_the_output_of_prepare_is_taken_as_data(kaggle: FakeKaggle, inputs: None) -> None:
    assert (
        lastkd("push", "prepare", f"{USER}/ntu60-store/nturgb", "--layout", "ntu25").exit_code == 0
    )
    prepared = f"{USER}/lastkd-prepare-nturgb"
    asked = kaggle.kernels[prepared][0].asked
    assert "machineShape" not in asked
    job = read_job(asked["text"], "x")
    assert job.command == "prepare {source} --out store --layout ntu25"
    assert job.inputs == {"source": f"{USER}/ntu60-store/nturgb"}
    rules = ("--split-by", "mine=share 0.8", "--split-by", "camera", "--strict")
    assert lastkd("push", "prepare", "synthetic", *rules, "--name", "rules").exit_code == 0
    assert read_job(kaggle.kernels[f"{USER}/rules"][0].asked["text"], "x").command == (
        "prepare synthetic --out store --split-by 'mine=share 0.8' --split-by camera --strict"
    )
    assert "is a file of this machine" in refused(
        "push", "prepare", "synthetic", "--split-by", "list a.txt b.txt"
    )
    kaggle.wait(prepared)
    assert lastkd("push", "train", "--data", prepared).exit_code == 0  # no dataset, so a kernel
    asked = kaggle.kernels[f"{USER}/lastkd-train-last-v2-base"][0].asked
    assert asked["kernelDataSources"] == [prepared]
    assert asked.get("datasetDataSources", []) == []


def pushed_job(kaggle: FakeKaggle, name: str) -> Job:
    return read_job(kaggle.kernels[f"{USER}/{name}"][0].asked["text"], "pushed")


def test_a_sequence_is_that_of_lastkd_sequence(kaggle: FakeKaggle, inputs: None) -> None:
    data = ("--data", f"{USER}/ntu60-store")
    more = ("--variant", "nano", "--epochs", 3, "--seeds", 2)
    assert lastkd("push", "sequence", *data, *more).exit_code == 0
    assert pushed_job(kaggle, "lastkd-sequence").command == (
        "sequence --data {data} --split xsub --out runs --no-figures --variant nano --epochs 3 "
        "--seeds 2"
    )
    teacher = ("--teacher", f"{USER}/last-v2-base", "--name", "no-teacher")
    assert lastkd("push", "sequence", *data, *teacher).exit_code == 0
    job = pushed_job(kaggle, "no-teacher")
    assert "--teacher {teacher}" in job.command
    assert job.inputs["teacher"] == f"{USER}/last-v2-base"
    kaggle.add_dataset(f"{USER}/another", best__safetensors=b"")
    both = ("--teacher", f"{USER}/last-v2-base,{USER}/another/seed-1", "--name", "two-teachers")
    assert lastkd("push", "distill", *data, *both).exit_code == 0
    job = pushed_job(kaggle, "two-teachers")
    assert job.command.endswith("--teacher {teacher},{teacher2}")
    assert job.inputs["teacher2"] == f"{USER}/another/seed-1"


def test_the_students_alone_are_a_part_of_the_sequence(kaggle: FakeKaggle, inputs: None) -> None:
    data = ("--data", f"{USER}/ntu60-store")
    assert lastkd("push", "baselines", *data, "--variant", "small,base").exit_code == 0
    assert pushed_job(kaggle, "lastkd-baselines").command == (
        "sequence --data {data} --split xsub --out runs --no-figures --only standalone "
        "--variant small,base"
    )
    assert "tau" not in lastkd("push", "baselines", "--help").output


def test_checkpoints_are_evaluated_by_one_command(kaggle: FakeKaggle, inputs: None) -> None:
    words = ("push", "evaluate", f"{USER}/last-v2-base", "--data", f"{USER}/ntu60-store")
    assert lastkd(*words, "--split", "xview").exit_code == 0
    assert pushed_job(kaggle, "lastkd-evaluate").command == (
        "evaluate {checkpoint} --data {data} --out evaluation --split xview --clips 1 --confused 5"
    )


def test_the_machine_alone_can_be_checked(kaggle: FakeKaggle, inputs: None) -> None:
    assert lastkd("push", "check", "--data", f"{USER}/ntu60-store").exit_code == 0
    asked = kaggle.kernels[f"{USER}/lastkd-check"][0].asked
    assert asked["machineShape"] == "NvidiaTeslaT4"
    assert pushed_job(kaggle, "lastkd-check").command.startswith("check --data {data}")
    assert lastkd("push", "check", "--name", "lastkd-quick", "--no-pace").exit_code == 0
    assert "--no-pace" in pushed_job(kaggle, "lastkd-quick").command


def test_settings_of_a_file_travel(kaggle: FakeKaggle, inputs: None, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 7\nalpha: 0.25\ncompile: true\n")
    assert lastkd(*DISTILL, "--config", "mine.yaml", "--epochs", 8).exit_code == 0
    job = pushed_job(kaggle, "lastkd-distill-nano-large")
    assert job.command.endswith("--epochs 8")  # which overrides the file, there as here
    assert job.config == {"epochs": 7, "alpha": 0.25, "compile": True}
    (tmp_path / "all.yaml").write_text("split: xset\nteacher_settings: {epochs: 9}\nout: here\n")
    data = ("--data", f"{USER}/ntu60-store", "--config", "all.yaml")
    assert lastkd("push", "sequence", *data).exit_code == 0
    job = pushed_job(kaggle, "lastkd-sequence")
    assert "--split" not in job.command
    assert job.config == {"split": "xset", "teacher_settings": {"epochs": 9}}


def test_dry_run_writes_the_folder_and_asks_nobody(kaggle: FakeKaggle, tmp_path: Path) -> None:
    result = lastkd(*DISTILL, "--dry-run", "--out", "folder")
    assert result.exit_code == 0, result.output
    about = json.loads((tmp_path / "folder" / "kernel-metadata.json").read_text())
    assert about["id"] == f"{USER}/lastkd-distill-nano-large"
    assert about["title"] == "lastkd distill nano large"
    assert (about["is_private"], about["enable_internet"]) == (True, False)
    assert about["machine_shape"] == "NvidiaTeslaT4"
    compile((tmp_path / "folder" / "kernel.py").read_text(), "kernel.py", "exec")
    assert kaggle.asked == []
    assert "exists already" in refused(*DISTILL, "--dry-run", "--out", "folder")


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (("--epochs", "0"), "epochs"),
        (("--name", "x"), "5 to 50"),
        (("--name", "Not A Slug"), "lower-case letters"),
        (("--time-budget", "14h"), "12 hours"),
        (("--time-budget", "soon"), "11h"),
        (("--run", "/elsewhere"), "folder of the kernel's"),
        (("--data", "nowhere"), "OWNER/SLUG"),
        (("--config", "typo.yaml"), "typo.yaml: unknown key 'epoch'; did you mean 'epochs'?"),
        (("--config", "here.yaml"), "here.yaml: standalone runs/nano: a kernel can't see runs"),
        (("--teacher", f"{USER}/nothing-here"), "no dataset or kernel"),
    ],
)
def test_a_mistake_is_found_before_anything_is_pushed(
    kaggle: FakeKaggle, inputs: None, more: tuple[str, ...], hint: str
) -> None:
    Path("typo.yaml").write_text("epoch: 3")
    Path("here.yaml").write_text("standalone: runs/nano")
    assert hint in refused(*DISTILL, *more)
    assert kaggle.kernels == {}


def test_missing_inputs_are_named(kaggle: FakeKaggle) -> None:
    assert "--data" in refused("push", "train")
    assert "--teacher" in refused("push", "distill", "--data", f"{USER}/ntu60-store")


def test_a_running_version_is_left_alone(kaggle: FakeKaggle, inputs: None) -> None:
    def forever(version: Version) -> str:
        with version.changed:
            version.changed.wait_for(lambda: version.failure == "stop", timeout=30)
        return "COMPLETE"

    kaggle.run_kernel = forever
    assert lastkd(*DISTILL).exit_code == 0
    assert "is running" in refused(*DISTILL)
    assert len(kaggle.kernels[f"{USER}/lastkd-distill-nano-large"]) == 1


def test_errors_that_the_client_passes_over_are_seen(kaggle: FakeKaggle, inputs: None) -> None:
    kaggle.push_error = "Maximum batch GPU session count of 2 reached."
    assert "Maximum batch GPU session count" in refused(*DISTILL)
    kaggle.push_error = ""
    kaggle.refused = {f"{USER}/last-v2-base"}
    output = refused(*DISTILL)
    assert "version 1 without someone/last-v2-base" in output


def test_a_used_up_quota_is_seen_before(kaggle: FakeKaggle, inputs: None) -> None:
    kaggle.quota_used_s = 30 * 3600 - 60
    assert "30.0 of 30.0 GPU hours used, refreshed 2026-01-03" in refused(*DISTILL)
    assert kaggle.kernels == {}
    kaggle.quota_used_s = 27 * 3600
    assert lastkd(*DISTILL).exit_code == 0
    asked = kaggle.kernels[f"{USER}/lastkd-distill-nano-large"][0].asked
    job = read_job(asked["text"], "x")
    assert (job.time_budget, job.quota_left) == ("11h", "165m")  # what is left, less a margin
    assert job.budget_s == 165 * 60
    assert lastkd("push", "prepare", "synthetic").exit_code == 0  # a CPU needs no quota


def test_a_push_whose_answer_is_lost_counts_once(kaggle: FakeKaggle, inputs: None) -> None:
    kaggle.faults = {"lost answer": 1}
    result = lastkd(*DISTILL)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "version 1 started" in result.output
    assert kaggle.asked.count("SaveKernel") == 1


def test_a_push_that_never_arrives_says_so(kaggle: FakeKaggle, inputs: None) -> None:
    kaggle.faults = {"SaveKernel": 1}
    assert "isn't known whether the push has arrived" in refused(*DISTILL)
    assert kaggle.kernels == {}


def test_questions_outlast_a_broken_connection(kaggle: FakeKaggle, inputs: None) -> None:
    kaggle.faults = {"GetDatasetStatus": 2, "GetAcceleratorQuotaStatistics": 3}
    assert lastkd(*DISTILL).exit_code == 0


# --- credentials ----------------------------------------------------------------------------


def test_without_credentials_one_sentence_says_where_to_get_them(
    kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_KEY")
    output = refused("quota")
    assert "no Kaggle credentials found" in output
    assert "https://www.kaggle.com/settings" in output
    assert kaggle.asked == []


def test_refused_credentials_and_a_dead_network(
    kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_KEY", "an-old-key-that-is-void")
    assert "refuses your credentials" in refused("quota")
    kaggle.close()
    assert "can't be reached" in refused("quota")


def test_without_the_client_one_sentence_says_what_to_install(
    kaggle: FakeKaggle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'lastkd[kaggle]'" in refused("quota")


@pytest.mark.parametrize("kind", ["token", "kaggle.json"])
def test_credentials_of_a_fresh_process_are_found_and_never_shown(
    kaggle: FakeKaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also from the top of a checkout, whose folder `kaggle` must not hide the client."""
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    monkeypatch.setenv("VERBOSE", "true")  # asks the client to print its headers
    home = tmp_path / ".kaggle"
    home.mkdir()
    if kind == "token":
        (home / "access_token").write_text(TOKEN)
    else:
        (home / "kaggle.json").write_text(json.dumps({"username": USER, "key": KEY}))
    command = [sys.executable, "-m", "lastkd", "kaggle", "quota"]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "29.0 left" in done.stdout
    output = done.stdout + done.stderr
    assert KEY not in output
    assert TOKEN not in output
    assert base64.b64encode(f"{USER}:{KEY}".encode()).decode() not in output


def test_no_secret_gets_into_a_kernel(
    kaggle: FakeKaggle, inputs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "contains your Kaggle credentials" in refused(*DISTILL, "--split", KEY)
    assert kaggle.kernels == {}
    assert lastkd(*DISTILL).exit_code == 0
    state = [path.read_text() for path in (tmp_path / ".state").rglob("*.json")]
    script = kaggle.kernels[f"{USER}/lastkd-distill-nano-large"][0].asked["text"]
    assert not any(KEY in text for text in [script, *state])


def test_help_needs_neither_client_nor_network(kaggle: FakeKaggle) -> None:
    for words in ((), ("push",), ("push", "distill"), ("push", "prepare"), ("upload",)):
        assert lastkd(*words, "--help").exit_code == 0
    assert kaggle.asked == []
