"""Stopped runs resume to the same result, byte for byte, or say in one sentence why they can't."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from filelock import FileLock
from short_runs import Start, curve, distilled, events, same_end, standalone, weights

from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint, save_checkpoint
from lastkd.runs.folder import is_live
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training.checkpoints import Checkpoints, DamagedError
from lastkd.training.loop import TrainingRun


@pytest.fixture(scope="module")
def after_5(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    start.until(5, standalone(), folder)
    return folder


@pytest.fixture
def stopped(after_5: Path, tmp_path: Path) -> Path:
    """The folder of a run that was stopped after step 5, in its second epoch."""
    shutil.copytree(after_5, tmp_path / "run")
    return tmp_path / "run"


# within an epoch before and after a report; before an evaluation; before the last one
@pytest.mark.parametrize("steps", [[1, 2, 3, 5], [9]])
def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(
    tmp_path: Path, start: Start, undisturbed: Path, steps: list[int]
) -> None:
    folder = tmp_path / "run"
    for step in steps:
        start.until(step, standalone(), folder)
        (end,) = events(folder, "end")[-1:]
        assert (end["state"], end["reason"]) == ("stopped", "SIGTERM")
        assert events(folder, "checkpoint")[-1]["step"] == step
    start(standalone(), folder)
    assert same_end(folder, undisturbed)
    assert curve(folder) == curve(undisturbed)
    resumes = events(folder, "resume")
    assert [event["step"] for event in resumes] == steps
    assert {event["run_id"] for event in resumes} == {events(folder, "start")[0]["run_id"]}
    assert events(folder, "end")[-1]["state"] == "finished"
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        "events.jsonl",
        "last.safetensors",
        "settings.yaml",
    ]


def test_averaged_weights_and_augmented_views_resume_exactly(tmp_path: Path, start: Start) -> None:
    further = {"mirror": 0.5, "shear": 0.1, "time_warp": 0.2, "joint_noise": 0.01}
    settings = standalone(ema=0.9, dropped_joints=0.1, validation="performers:1", **further)
    settings = settings.model_copy(update={"batch_size": 5})  # of 16 clips
    start(settings, tmp_path / "whole")
    start.until(4, settings, tmp_path / "cut")
    start(settings, tmp_path / "cut")
    assert same_end(tmp_path / "cut", tmp_path / "whole")
    assert weights(tmp_path / "whole") != weights(tmp_path / "whole", "best.safetensors")


def test_repeated_steps_are_marked(tmp_path: Path, start: Start, undisturbed: Path) -> None:
    def die(run: TrainingRun) -> None:
        if run.position.step == 5:
            raise RuntimeError("as if killed")

    folder = tmp_path / "run"
    with pytest.raises(RuntimeError):
        start(standalone(log_every=1), folder, die)
    (end,) = events(folder, "end")
    assert (end["state"], end["reason"]) == ("failed", "as if killed")
    start(standalone(log_every=1), folder)
    (resume,) = events(folder, "resume")
    assert (resume["step"], resume["epoch"], resume["reason"]) == (3, 2, "as if killed")
    steps = [(event["step"], event.get("redone", False)) for event in events(folder, "step")]
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9]
    assert [redone for _, redone in steps] == [False] * 5 + [True] * 2 + [False] * 4
    assert same_end(folder, undisturbed)


def test_a_run_killed_before_its_first_checkpoint_starts_over(
    tmp_path: Path, start: Start, undisturbed: Path
) -> None:
    def die(run: TrainingRun) -> None:
        raise RuntimeError("as if killed")

    folder = tmp_path / "run"
    with pytest.raises(RuntimeError):
        start(standalone(), folder, die)
    with (folder / "events.jsonl").open("ab") as log:
        log.write(b'{"event": "st')  # the line that the kill cut off
    (folder / ".last.safetensors.1.part").touch()
    start(standalone(), folder)
    assert events(folder, "resume")[0]["step"] == 0
    assert len(events(folder, "start")) == 1
    assert same_end(folder, undisturbed)
    assert not list(folder.glob(".*"))


def test_checkpoints_are_written_by_the_clock_within_an_epoch(tmp_path: Path, start: Start) -> None:
    kept: list[list[str]] = []

    def see(run: TrainingRun) -> None:
        kept.append([place.name for place in Checkpoints(tmp_path / "run").positions()])

    start(standalone(checkpoint_minutes=1e-6, epochs=1), tmp_path / "run", see)
    steps = [event["step"] for event in events(tmp_path / "run", "checkpoint")]
    assert set(steps) == {1, 2, 3}
    assert max(map(len, kept)) == 2  # the two newest are kept
    for event in events(tmp_path / "run", "checkpoint"):
        assert event["mb"] > 0
        assert event["seconds"] > 0


def test_several_students_resume_together_and_end_as_they_would_alone(
    tmp_path: Path, start: Start
) -> None:
    both = [distilled(variant=variant, epochs=2) for variant in ("nano", "small")]
    for variant in both:
        start(variant, tmp_path / f"alone-{variant.variant}")
    folders = [tmp_path / own.variant for own in both]
    start.until(4, both, folders)
    # the second has a checkpoint that the first one hasn't got any more
    shutil.rmtree(next((folders[0] / "checkpoints").glob("step-00000004*")))
    start(both, folders)
    for folder, own in zip(folders, both, strict=True):
        assert events(folder, "resume")[0]["step"] == 3
        assert weights(folder) == weights(tmp_path / f"alone-{own.variant}")


@pytest.mark.parametrize("lost", [False, True])
def test_a_half_filled_teacher_cache_ends_the_same(
    tmp_path: Path, start: Start, lost: bool
) -> None:
    """Also if the labels were replayed before, and the cache is gone when the run goes on."""
    start(distilled(teacher_cache=tmp_path / "whole", epochs=2), tmp_path / "undisturbed")
    cache = tmp_path / "cache"
    if lost:
        shutil.copytree(tmp_path / "whole", cache)
    start.until(5, distilled(teacher_cache=cache, epochs=2), tmp_path / "run")
    assert (cache / "epoch-0002.safetensors").exists() is lost
    if lost:
        (cache / "epoch-0002.safetensors").unlink()
    start(distilled(teacher_cache=cache, epochs=2), tmp_path / "run")
    assert weights(tmp_path / "run") == weights(tmp_path / "undisturbed")
    for epoch in (1, 2):
        name = f"epoch-{epoch:04d}.safetensors"
        assert (cache / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_accumulated_passes_are_resumed_between_steps(tmp_path: Path, start: Start) -> None:
    settings = standalone(batch_size=5, accumulation=2, epochs=2)
    start(settings, tmp_path / "undisturbed")
    start.until(4, settings, tmp_path / "run")
    start(settings, tmp_path / "run")
    assert same_end(tmp_path / "run", tmp_path / "undisturbed")


def damage_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: damage_byte(folder / "tensors.safetensors"),
        lambda folder: damage_byte(folder / "last.safetensors"),
        lambda folder: damage_byte(folder / "manifest.json"),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("{}"),
        lambda folder: (folder / "manifest.json").write_text("[" * 5000),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "state.json").unlink(),
        lambda folder: (folder / "state.json").write_text("{}"),
        lambda folder: (folder / "tensors.safetensors").write_bytes(b""),
    ],
    ids=list("abcdefghij"),
)
def test_a_checkpoint_that_changed_after_writing_is_damaged(
    stopped: Path, damage: Callable[[Path], None]
) -> None:
    checkpoints = Checkpoints(stopped)
    newest = checkpoints.positions()[0]
    checkpoints.read(newest)
    damage(checkpoints.path(newest))
    with pytest.raises(DamagedError, match=f"{newest.name}: is damaged"):
        checkpoints.read(newest)


def test_a_damaged_checkpoint_is_named_and_skipped(
    stopped: Path, start: Start, undisturbed: Path
) -> None:
    newest = stopped / "checkpoints" / "step-00000005-epoch-0001"
    damage_byte(newest / "tensors.safetensors")
    start(standalone(), stopped)
    (warning,) = (w["text"] for w in events(stopped, "warning") if "damaged" in w["text"])
    assert str(newest) in warning
    assert events(stopped, "resume")[0]["step"] == 3
    assert same_end(stopped, undisturbed)


def test_without_any_intact_checkpoint_nothing_is_deleted(
    stopped: Path, start: Start, undisturbed: Path
) -> None:
    for path in (stopped / "checkpoints").glob("*/tensors.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"no position has an intact checkpoint.*remove these folders"
    ):
        start(standalone(), stopped)
    shutil.rmtree(stopped / "checkpoints")
    start(standalone(), stopped)
    assert same_end(stopped, undisturbed)


def test_best_and_last_are_restored_to_the_step_of_the_checkpoint(
    stopped: Path, start: Start, undisturbed: Path
) -> None:
    before = {name: weights(stopped, name) for name in ("best.safetensors", "last.safetensors")}
    for name in before:  # as a later process left them, whose checkpoints are lost
        shutil.copyfile(undisturbed / name, stopped / f"{name}.new")
        (stopped / f"{name}.new").replace(stopped / name)
    seen: dict[str, str] = {}

    def see(run: TrainingRun) -> None:
        if not seen:
            seen.update({name: weights(stopped, name) for name in before})

    start(standalone(), stopped, see)
    assert seen == before
    assert same_end(stopped, undisturbed)


def test_other_settings_are_refused_naming_the_difference(stopped: Path, start: Start) -> None:
    before = (stopped / "events.jsonl").read_bytes()
    with pytest.raises(UserError) as caught:
        start(standalone(lr=0.1, seed=6, batch_size=8), stopped)
    for words in ("--lr 0.05 there and 0.1 here", "--seed 5 there", "global batch 10 there"):
        assert words in str(caught.value)
    assert (stopped / "events.jsonl").read_bytes() == before


def test_settings_that_do_not_change_the_result_may_differ(
    stopped: Path, start: Start, undisturbed: Path
) -> None:
    more = {"log_every": 1, "eval_batch_size": 7, "checkpoint_minutes": 3, "resume": "must"}
    start(standalone(**more), stopped)
    assert weights(stopped) == weights(undisturbed)
    assert resolve(TrainSettings, {}, file=stopped / "settings.yaml").log_every == 1


def test_another_store_or_teacher_is_refused(
    tmp_path: Path, start: Start, accelerator: Accelerator
) -> None:
    start.until(4, distilled(), tmp_path / "run")
    settings = SyntheticSettings(subjects=4, clips_per_subject_and_action=1, seed=9)
    prepare(open_source("synthetic", synthetic=settings), tmp_path / "other")
    with pytest.raises(UserError, match="data's content hash"):
        Start(tmp_path / "other", start.teacher, accelerator)(distilled(), tmp_path / "run")
    checkpoint = read_checkpoint(start.teacher)
    moved = {key: tensor + 1 for key, tensor in checkpoint.tensors.items()}
    save_checkpoint(tmp_path / "t.safetensors", moved, checkpoint.info)
    with pytest.raises(UserError, match="teacher's weights hash"):
        Start(start.data, tmp_path / "t.safetensors", accelerator)(distilled(), tmp_path / "run")


def test_the_same_global_batch_divided_otherwise_resumes_with_a_warning(
    stopped: Path, start: Start
) -> None:
    start(standalone(batch_size=5, accumulation=2), stopped)
    (text,) = (w["text"] for w in events(stopped, "warning") if "conditions" in w["text"])
    assert "clips a pass 10 before and 5 now" in text
    assert "not be byte for byte" in text


def test_a_finished_run_is_reported_and_left_unchanged(
    tmp_path: Path, start: Start, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    start(standalone(), folder)
    assert "the run is finished" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    with pytest.raises(UserError, match="--epochs 3 there and 4 here"):
        start(standalone(epochs=4), folder)


def test_resume_never_and_must(tmp_path: Path, start: Start) -> None:
    with pytest.raises(UserError, match="holds no run to resume"):
        start(standalone(resume="must"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    start.until(1, standalone(resume="never"), tmp_path / "run")
    with pytest.raises(UserError, match="holds a run already"):
        start(standalone(resume="never"), tmp_path / "run")


def test_a_live_run_is_not_written_by_another_process(stopped: Path, start: Start) -> None:
    before = (stopped / "events.jsonl").read_bytes()
    # a process holds an advisory lock on the file, as a live run does
    with (
        FileLock(stopped / ".lock", timeout=0),
        pytest.raises(UserError, match="a live run is writing there"),
    ):
        start(standalone(), stopped)
    assert (stopped / "events.jsonl").read_bytes() == before


def test_a_disk_without_locks_is_one_sentence(
    stopped: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: FileLock, *_: Any, **__: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    (stopped / ".lock").touch()
    monkeypatch.setattr(FileLock, "acquire", refused)
    assert not is_live(stopped)
    with pytest.raises(
        UserError, match=r"cannot be written \(FileSystem does not .* another --run"
    ):
        start(standalone(), stopped)


def test_a_checkpoint_says_what_it_holds(stopped: Path, start: Start) -> None:
    (path,) = (stopped / "checkpoints").glob("step-00000005*")
    assert sorted(p.name for p in path.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "manifest.json",
        "state.json",
        "tensors.safetensors",
    ]
    state = json.loads((path / "state.json").read_text())
    assert (state["step"], state["epochs"], state["conditions"]["processes"]) == (5, 1, 1)
