"""lastkd kaggle upload, status, logs, fetch and resume: what comes back, and goes on."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
from fake_kaggle import KEY, USER, FakeKaggle, Version
from kaggle_home import kaggle, lastkd
from test_kaggle_push import refused

from lastkd.data.layouts import get_layout
from lastkd.kaggle.event_lines import MARK, EventFollower, EventPrinter, LineAssembler
from lastkd.kaggle.job import JOB_FILE, read_job
from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
from lastkd.models.registry import build_model
from lastkd.runs.events import EventLog, read_events

__all__ = ["kaggle"]
KERNEL = f"{USER}/lastkd-train-last-v2-base"
RUN = "runs/last_v2_base"
QUICK = ("--poll", 0.02)


def events(versions: int) -> list[bytes]:
    """The lines of the event log after so many versions of two steps each."""
    lines = [{"event": "start", "time": 1.0, "total_steps": 6, "data": {}}]
    for version in range(versions):
        steps = [2 * version + 1, 2 * version + 2]
        lines += [{"event": "step", "time": 2.0, "step": s, "epoch": 1, "ce": 0.5} for s in steps]
    return [json.dumps(line).encode() + b"\n" for line in lines]


def train(version: Version) -> str:
    """A kernel that is done with its third version, and carries its state from one to the next."""
    job = read_job(version.asked["text"], "pushed")
    log = events(job.attempt)
    known = 0 if job.attempt == 1 else len(events(job.attempt - 1))
    version.print("lastkd 0.1.0\n")
    for number in range(known, len(log)):
        event_line = {"run": RUN, "line": number, "event": json.loads(log[number])}
        version.print(MARK + json.dumps(event_line) + "\n")
    version.print(f"attempt {job.attempt} ends")
    state = "done" if job.attempt == 3 else "more"
    job_content = {"id": job.id, "attempt": job.attempt, "state": state, "reason": ""}
    version.outputs = {
        JOB_FILE: json.dumps(job_content).encode(),
        f"{RUN}/events.jsonl": b"".join(log),
        f"{RUN}/best.safetensors": os.urandom(100_000),
        f"{RUN}/checkpoints/step-1/state.json": b"{}",
        f"{RUN}/settings.yaml": b"epochs: 3\n",
        "store/clips.safetensors": b"large",
    }
    return "COMPLETE"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model = build_model("last_e_nano", 3)
    layout = get_layout("ntu25")
    info = CheckpointInfo(architecture=model.architecture, num_classes=3, layout=layout)
    save_checkpoint(tmp_path / "nano.safetensors", model.state_dict(), info)
    return tmp_path / "nano.safetensors"


@pytest.fixture
def pushed(kaggle: FakeKaggle) -> FakeKaggle:
    """A kernel whose first version has stopped on its time budget."""
    kaggle.add_dataset(f"{USER}/ntu60-store", store__json=b"{}")
    kaggle.run_kernel = train
    result = lastkd("push", "train", "--data", f"{USER}/ntu60-store")
    assert result.exit_code == 0, repr(result.exception)
    kaggle.wait(KERNEL)
    return kaggle


def states(kaggle: FakeKaggle) -> list[str]:
    return [name for version in kaggle.datasets[f"{KERNEL}-state"] for name in version.files]


# --- upload ---------------------------------------------------------------------------------


def test_a_store_becomes_a_private_dataset_and_then_a_version_of_it(
    kaggle: FakeKaggle, store_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(store_path, tmp_path / "ntu60")
    result = lastkd("upload", "ntu60", *QUICK)
    assert result.exit_code == 0, result.output + repr(result.exception)
    assert "forbids passing its data on" in result.output
    assert f"--data {USER}/lastkd-ntu60" in result.output
    assert lastkd("upload", "ntu60", *QUICK).exit_code == 0
    first, second = kaggle.datasets[f"{USER}/lastkd-ntu60"]
    assert kaggle.private[f"{USER}/lastkd-ntu60"]
    assert set(first.files) == set(second.files) == {"store.json", "clips.safetensors"}
    for name, content in first.files.items():
        assert content == (store_path / name).read_bytes()


def test_run_folders_arrive_as_folders_without_what_only_resuming_needs(
    kaggle: FakeKaggle, checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("nano", "large"):
        folder = tmp_path / "runs" / name
        (folder / "checkpoints" / "step-00000001-epoch-0000").mkdir(parents=True)
        shutil.copy(checkpoint, folder / "best.safetensors")
        shutil.copy(checkpoint, folder / "checkpoints" / "step-00000001-epoch-0000")
        (folder / "events.jsonl").write_text("")
    result = lastkd("upload", "runs", "--name", "students", *QUICK)
    assert result.exit_code == 0, result.output + repr(result.exception)
    (version,) = kaggle.datasets[f"{USER}/students"]
    assert sorted(version.files) == [
        "large/best.safetensors",
        "large/events.jsonl",
        "nano/best.safetensors",
        "nano/events.jsonl",
    ]


@pytest.mark.parametrize("name", ["kaggle.json", "access_token", ".env", "id_rsa", "my_token.txt"])
def test_a_file_named_like_credentials_stops_an_upload(
    kaggle: FakeKaggle, store_path: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(store_path, tmp_path / "store")
    (tmp_path / "store" / name).write_text("x")
    assert "like a file with credentials" in refused("upload", "store")
    (tmp_path / "store" / name).rename(tmp_path / "store" / "store.txt")
    (tmp_path / "store" / "store.json").write_text(KEY)
    assert "contains your Kaggle credentials" in refused("upload", "store")
    assert kaggle.asked == []


def test_what_was_left_out_of_a_store_goes_with_it(
    kaggle: FakeKaggle, store_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(store_path, tmp_path / "store")
    (tmp_path / "store" / "details.jsonl").write_text('{"clip": "a", "left_out": ["nobody"]}\n')
    (tmp_path / "store" / "notes.txt").write_text("mine")
    assert lastkd("upload", "store", *QUICK).exit_code == 0
    (version,) = kaggle.datasets[f"{USER}/lastkd-store"]
    assert set(version.files) == {"store.json", "clips.safetensors", "details.jsonl"}


def test_an_upload_outlasts_broken_connections_and_misses_no_file(
    kaggle: FakeKaggle, store_path: Path, tmp_path: Path
) -> None:
    shutil.copytree(store_path, tmp_path / "store")
    kaggle.faults = {"upload": 1}
    result = lastkd("upload", "store", *QUICK)
    assert result.exit_code == 0, result.output + repr(result.exception)
    (version,) = kaggle.datasets[f"{USER}/lastkd-store"]
    assert version.files["clips.safetensors"] == (store_path / "clips.safetensors").read_bytes()
    # the client says so from 2.2.5 on; before, it left the file out without a word
    kaggle.faults = {"refuse upload": 1}
    output = refused("upload", "store", *QUICK)
    assert re.search(r"Upload unsuccessful: \w+|\w+\.\w+ has not arrived whole", output), output


def test_what_can_not_be_uploaded(kaggle: FakeKaggle, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "contains neither a store" in refused("upload", "empty")
    assert "no such folder" in refused("upload", "nowhere")


# --- status, logs, fetch --------------------------------------------------------------------


def test_status_shows_version_steps_and_progress(pushed: FakeKaggle) -> None:
    assert lastkd("fetch").exit_code == 0
    output = lastkd("status").output
    assert f"{KERNEL}: version 1 is COMPLETE" in output
    assert "lastkd train --model last_v2_base --data {data} --split xsub" in output
    assert "step 2 of 6, epoch 1" in output
    assert "may see" in refused("status", "someone/no-such-kernel")


def test_a_log_is_printed_without_its_events(pushed: FakeKaggle) -> None:
    output = lastkd("logs").output
    assert output.splitlines() == ["lastkd 0.1.0", "attempt 1 ends"]


def test_a_live_log_becomes_an_event_log_and_a_broken_stream_repeats_nothing(
    kaggle: FakeKaggle, tmp_path: Path
) -> None:
    kaggle.add_dataset(f"{USER}/ntu60-store", store__json=b"{}")
    go = threading.Event()

    def slowly(version: Version) -> str:
        assert go.wait(30)
        return train(version)

    kaggle.run_kernel = slowly
    assert lastkd("push", "train", "--data", f"{USER}/ntu60-store").exit_code == 0
    kaggle.faults = {"stream": 2}
    threading.Timer(0.3, go.set).start()
    result = lastkd("logs", "-f", *QUICK)
    assert result.exit_code == 0, result.output + repr(result.exception)
    log = tmp_path / "runs" / "lastkd-train-last-v2-base" / "last_v2_base" / "events.jsonl"
    assert list(read_events(log)) == [json.loads(line) for line in events(1)]
    assert result.output.count("lastkd 0.1.0") == 1
    assert result.output.count("attempt 1 ends") == 1
    assert "has ended as COMPLETE" in result.output
    before = log.read_bytes()
    assert lastkd("logs", "-f", *QUICK).exit_code == 0  # once more, from the beginning
    assert log.read_bytes() == before


def test_fetch_brings_run_folders_over_a_broken_connection(
    pushed: FakeKaggle, tmp_path: Path
) -> None:
    pushed.faults = {"download": 2}
    result = lastkd("fetch")
    assert result.exit_code == 0, repr(result.exception)
    folder = tmp_path / "runs" / "lastkd-train-last-v2-base"
    outputs = pushed.kernels[KERNEL][0].outputs
    best = folder / "last_v2_base" / "best.safetensors"
    assert best.read_bytes() == outputs[f"{RUN}/best.safetensors"]
    assert not (folder / "store").exists()
    assert lastkd("fetch", "--all").exit_code == 0
    assert (folder / "store" / "clips.safetensors").read_bytes() == b"large"
    pushed.faults = {"download": 1000}
    assert "broke off" in refused("fetch")
    assert best.read_bytes() == outputs[f"{RUN}/best.safetensors"]  # nothing half-written


def test_an_output_that_leads_outside_is_refused(pushed: FakeKaggle, tmp_path: Path) -> None:
    pushed.kernels[KERNEL][0].outputs = {"../../outside": b"x"}
    assert "outside its folder" in refused("fetch")
    assert not (tmp_path.parent / "outside").exists()


# --- resume ---------------------------------------------------------------------------------


def test_resume_goes_on_from_the_output_until_the_work_is_done(
    pushed: FakeKaggle, tmp_path: Path
) -> None:
    result = lastkd("resume", "--until-done", *QUICK)
    assert result.exit_code == 0, result.output + repr(result.exception)
    versions = pushed.kernels[KERNEL]
    jobs = [read_job(version.asked["text"], "x") for version in versions]
    assert [job.attempt for job in jobs] == [1, 2, 3]
    assert len({job.id for job in jobs}) == 1
    assert f"{KERNEL}-state" in versions[1].asked["datasetDataSources"]
    assert states(pushed) == [jobs[1].state_file, jobs[2].state_file]
    carried = pushed.datasets[f"{KERNEL}-state"][0].files[jobs[1].state_file]
    with zipfile.ZipFile(io.BytesIO(carried)) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    outputs = dict(versions[0].outputs)
    del outputs["store/clips.safetensors"]
    assert packed == outputs
    # the same code in each version
    archives = [v.asked["text"].partition("LASTKD =")[2] for v in versions]
    assert archives[0] == archives[1] == archives[2]
    folder = tmp_path / "runs" / "lastkd-train-last-v2-base"
    log = folder / "last_v2_base" / "events.jsonl"
    assert list(read_events(log)) == [json.loads(line) for line in events(3)]
    best = versions[2].outputs[f"{RUN}/best.safetensors"]
    assert (folder / "last_v2_base" / "best.safetensors").read_bytes() == best
    assert "done" in result.output
    assert lastkd("resume", *QUICK).exit_code == 0  # nothing is left to do
    assert len(versions) == 3


@pytest.mark.parametrize(
    "broken",
    [
        "ListKernelSessionOutput",
        "download",
        "StartBlobUpload",
        "CreateDataset",
        "GetDatasetStatus",
        "SaveKernel",
        "lost answer",
    ],
)
def test_resume_stopped_anywhere_and_started_again_pushes_once(
    pushed: FakeKaggle, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kaggle as client

    monkeypatch.setattr(client.api.__class__, "with_retry", lambda self, method: method)
    go = threading.Event()
    pushed.run_kernel = lambda version: train(version) if go.wait(30) else "ERROR"
    pushed.faults = {broken: 4}  # one more than a question is repeated
    lastkd("resume", *QUICK)
    pushed.faults = {}
    for _ in range(2):  # the second finds it running
        lastkd("resume", *QUICK)
        assert len(pushed.kernels[KERNEL]) == 2
        assert len(states(pushed)) == 1
    go.set()
    pushed.wait(KERNEL)
    lastkd("resume", *QUICK)
    assert len(pushed.kernels[KERNEL]) == 3


def test_resume_on_another_machine_knows_what_the_service_knows(
    pushed: FakeKaggle, tmp_path: Path
) -> None:
    assert lastkd("resume", *QUICK).exit_code == 0
    pushed.wait(KERNEL)
    shutil.rmtree(tmp_path / ".state")
    shutil.rmtree(tmp_path / "runs")
    assert lastkd("resume", KERNEL, "--until-done", *QUICK).exit_code == 0
    assert len(pushed.kernels[KERNEL]) == 3
    assert len(states(pushed)) == 2


def test_resume_waits_for_a_service_that_is_behind_its_time(pushed: FakeKaggle) -> None:
    assert lastkd("resume", *QUICK).exit_code == 0
    pushed.wait(KERNEL)
    pushed.stale_looks = 5  # still shows the version before
    assert lastkd("resume", *QUICK).exit_code == 0
    assert len(pushed.kernels[KERNEL]) == 3


def test_resume_keeps_within_the_quota_and_goes_on_when_it_is_fresh(pushed: FakeKaggle) -> None:
    pushed.quota_used_s = 30 * 3600
    assert "quota is used up" in refused("resume", "--until-done", *QUICK)
    assert len(pushed.kernels[KERNEL]) == 1
    pushed.quota_used_s = 0
    assert lastkd("resume", "--until-done", *QUICK).exit_code == 0
    assert len(pushed.kernels[KERNEL]) == 3
    assert len(states(pushed)) == 2  # what was carried before the quota ended is used


def test_a_failed_version_is_only_started_again_when_asked(pushed: FakeKaggle) -> None:
    pushed.run_kernel = lambda version: "ERROR"
    assert lastkd("resume", *QUICK).exit_code == 0
    pushed.wait(KERNEL).failure = "out of memory"
    assert "ended as ERROR (out of memory)" in refused("resume", *QUICK)
    pushed.run_kernel = train
    assert lastkd("resume", "--retry", "--until-done", *QUICK).exit_code == 0
    attempts = [read_job(v.asked["text"], "x").attempt for v in pushed.kernels[KERNEL]]
    assert attempts == [1, 2, 2, 3]


def test_push_does_not_start_over_what_can_be_resumed(pushed: FakeKaggle) -> None:
    words = ("push", "train", "--data", f"{USER}/ntu60-store")
    assert f"lastkd kaggle resume {KERNEL}" in refused(*words)
    assert lastkd(*words, "--fresh").exit_code == 0


def test_two_at_once_are_kept_apart(pushed: FakeKaggle) -> None:
    from lastkd.kaggle import history
    from lastkd.kaggle.references import reference

    with history.exclusive(reference(KERNEL)):
        assert "another lastkd kaggle command" in refused("resume", *QUICK)


# --- events on a log ------------------------------------------------------------------------


def test_printed_events_come_back_as_the_same_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "working" / "runs" / "a").mkdir(parents=True)
    log = EventLog(tmp_path / "working" / "runs" / "a" / "events.jsonl")
    log.write("start", run="a", note="\u00fcber \n lines")
    printer = EventPrinter(tmp_path / "working", threading.Lock(), every_s=0.01)
    printer.places.clear()
    printer.start()
    log.write("step", step=1, ce=float("nan"))
    printer.stop()
    output = capsys.readouterr().out
    follower = EventFollower(tmp_path / "local")
    assert all(follower.take(line) for line in output.splitlines())
    copy = tmp_path / "local" / "a" / "events.jsonl"
    assert copy.read_bytes() == log.path.read_bytes()
    again = EventFollower(tmp_path / "local")
    assert all(again.take(line) for line in output.splitlines())
    assert copy.read_bytes() == log.path.read_bytes()


def test_pieces_of_a_log_become_lines() -> None:
    event_line = MARK + json.dumps({"run": "a", "line": 0, "event": {"event": "end"}})
    assembler = LineAssembler()
    pieces = ["one\ntwo\n", "three", event_line[:20], event_line[20:] + "\n", "four\n"]
    lines = [line for piece in pieces for line in assembler.lines(piece)]
    assert lines == ["one", "two", "three", event_line, "four"]


def test_lost_lines_leave_gaps_and_a_half_written_one_is_mended(tmp_path: Path) -> None:
    def event_line(line: int) -> str:
        return MARK + json.dumps(
            {"run": "a", "line": line, "event": {"event": "step", "step": line}}
        )

    log = tmp_path / "a" / "events.jsonl"
    EventFollower(tmp_path).take(event_line(0))
    EventFollower(tmp_path).take(event_line(3))
    assert [event["event"] for event in read_events(log)] == ["step", "gap", "gap", "step"]
    with log.open("a") as file:
        file.write('{"event": "st')
    EventFollower(tmp_path).take(event_line(4))
    assert [event.get("step") for event in read_events(log)] == [0, None, None, 3, 4]
    assert EventFollower(tmp_path).take(event_line(0).replace('"a"', '"../b"'))
    assert not (tmp_path.parent / "b").exists()
