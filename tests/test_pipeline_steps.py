"""The steps of a sequence: what is done, what the rest is, and how long it takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from filelock import FileLock
from pipeline_runs import save_predictions, short_sequence, trainings, write_run

from lastkd.cli.app import cli
from lastkd.distributed.accelerator import make_accelerator
from lastkd.errors import UserError
from lastkd.files.shipped import CONFIGS
from lastkd.pipeline import measure
from lastkd.pipeline.builtin import builtin_sequence, builtin_steps
from lastkd.pipeline.estimate import order, seconds_left
from lastkd.pipeline.runner import train_in_groups
from lastkd.pipeline.settings import SequenceSettings, sequence_settings
from lastkd.pipeline.steps import EvaluationStep, TrainingStep, make_steps
from lastkd.runs.log import Run
from lastkd.training import loop


@pytest.fixture
def sequence(tmp_path: Path, store_path: Path) -> SequenceSettings:
    return short_sequence(tmp_path / "s", store_path)


def test_the_steps_in_their_order(sequence: SequenceSettings) -> None:
    titles = [step.title for step in make_steps(sequence.model_copy(update={"seeds": 2}))]
    assert titles[:6] == [
        "last_v2_tiny, teacher",
        "evaluation of teacher",
        "nano, small standalone, seed 0",
        "nano, small distilled, seed 0",
        "evaluation of seed 0",
        "nano, small standalone, seed 1",
    ]
    assert titles[6:] == ["nano, small distilled, seed 1", "evaluation of seed 1", "report"]
    given = sequence.model_copy(update={"teacher": Path("t.safetensors")})
    assert not any("teacher" in step.title for step in make_steps(given))


def test_some_kinds_of_runs_alone_and_later_seeds(sequence: SequenceSettings) -> None:
    def titles(**given: Any) -> list[str]:
        return [step.title for step in make_steps(sequence.model_copy(update=given))]

    assert titles(only=("standalone",), first_seed=2) == [
        "nano, small standalone, seed 2",
        "evaluation of seed 2",
        "report",
    ]
    assert titles(only=("teacher",)) == ["last_v2_tiny, teacher", "evaluation of teacher", "report"]
    assert "nano, small distilled, seed 0" in titles(only=("teacher", "distilled"))
    with pytest.raises(UserError, match=r"teacher/best.safetensors: no such teacher to distil"):
        sequence.model_copy(update={"only": ("distilled",)}).check()


def test_an_evaluation_goes_on_with_the_runs_that_it_lacks(sequence: SequenceSettings) -> None:
    step = make_steps(sequence)[-2]
    assert isinstance(step, EvaluationStep)
    assert step.status().text == "to do"
    assert len(step.left) == 4
    first, *rest = step.left
    save_predictions(first)
    assert step.status().text == "goes on after 1 of 4 runs"
    assert [word for word in step.command().arguments if word.endswith("last.safetensors")] == [
        str(run / "last.safetensors") for run in rest
    ]
    for run in rest:
        save_predictions(run)
    assert step.status().done


def test_models_of_a_factory_are_evaluated_apart(sequence: SequenceSettings) -> None:
    variant = ("nano", "mymodels:student")
    steps = make_steps(sequence.model_copy(update={"variant": variant}))
    evaluations = [step for step in steps if isinstance(step, EvaluationStep)]
    assert [step.title for step in evaluations] == [
        "evaluation of teacher",
        "evaluation of seed 0",
        "evaluation of mymodels:student, seed 0",
    ]
    assert evaluations[-1].command().arguments[-2:] == ("--model", "mymodels:student")


def test_a_step_is_to_do_goes_on_or_is_done(sequence: SequenceSettings) -> None:
    teacher, alone, *_ = trainings(sequence)
    assert teacher.status().text == "to do"
    write_run(teacher, teacher.folders[0], ended="time budget", done=6)
    status = teacher.status()
    assert (status.done, status.share) == (False, 0.75)
    assert status.text == "goes on after step 6 of 8 (time budget)"
    with FileLock(teacher.folders[0] / ".lock"):
        assert teacher.status().text == "at work, after step 6 of 8"
    nano, small = alone.folders
    write_run(alone, nano)
    assert (alone.status().done, alone.status().share) == (False, 0.5)
    write_run(alone, small)
    assert alone.status().done


def test_a_run_of_other_settings_is_refused_and_not_passed_over(
    sequence: SequenceSettings,
) -> None:
    teacher, *_ = trainings(sequence)
    write_run(teacher, teacher.folders[0])
    longer = sequence.model_copy(update={"settings": sequence.settings | {"epochs": 9}})
    with pytest.raises(UserError, match=r"--epochs 2 there and 9 here.*another --out"):
        trainings(longer)[0].status()
    larger = sequence.model_copy(update={"settings": sequence.settings | {"batch_size": 16}})
    with pytest.raises(UserError, match="global batch 8 there and 16 here"):
        trainings(larger)[0].status()
    # how a run is conducted doesn't make it another one
    other = sequence.model_copy(update={"settings": sequence.settings | {"log_every": 1}})
    assert trainings(other)[0].status().done


def options(step: TrainingStep) -> dict[str, str]:
    arguments = step.command().arguments
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def test_standalone_students_share_one_pass_of_the_views(sequence: SequenceSettings) -> None:
    _, alone, _ = trainings(sequence)
    above = sequence.folder / "seed-0" / "standalone"
    given = options(alone)
    assert (given["--model"], given["--run"]) == ("nano,small", str(above))
    assert alone.folders == [above / "nano", above / "small"]
    _, alone, _ = trainings(sequence.model_copy(update={"variant": ("nano",)}))
    assert (options(alone)["--model"], options(alone)["--run"]) == ("nano", str(above / "nano"))


def test_distillation_takes_all_students_on_one_pass(sequence: SequenceSettings) -> None:
    *_, distillation = trainings(sequence)
    above = sequence.folder / "seed-0" / "distilled"
    given = options(distillation)
    assert (given["--variant"], given["--run"]) == ("nano,small", str(above))
    assert given["--teacher"] == str(sequence.folder / "teacher" / "best.safetensors")
    assert given["--teacher-cache"] == str(sequence.folder / "seed-0" / "soft_labels")
    assert distillation.command().budgeted
    *_, alone = trainings(sequence.model_copy(update={"variant": ("nano",)}))
    assert options(alone)["--run"] == str(above / "nano")


def test_students_train_together_as_far_as_they_are_equally_far(
    sequence: SequenceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[list[str]] = []

    def train(settings: Any, *, folder: list[Path], **more: Any) -> list[Path]:
        trained.append([path.name for path in folder])
        return [path / "best.safetensors" for path in folder]

    monkeypatch.setattr(loop, "train", train)
    teacher, *_, distillation = trainings(sequence)
    names = ("new", "begun", "finished", "also new", "ahead", "begun with it")
    folders = [sequence.folder / name for name in names]
    for number, ended, done in ((1, "SIGTERM", 4), (2, "finished", 8), (4, "x", 6), (5, "x", 4)):
        write_run(teacher, teacher.folders[0], ended=ended, done=done)
        teacher.folders[0].rename(folders[number])
    settings = 3 * distillation.settings()
    best = train_in_groups(
        settings, folders, data=sequence.data, teacher=None, accelerator=make_accelerator()
    )
    assert trained == [["finished"], ["begun", "begun with it"], ["ahead"], ["new", "also new"]]
    assert [path.parent for path in best] == folders


def test_tau_auto_goes_by_the_standalone_runs_of_the_seed(sequence: SequenceSettings) -> None:
    auto = sequence.model_copy(update={"settings": sequence.settings | {"tau": "auto"}})
    auto.check()
    *_, distillation = trainings(auto)
    words = distillation.command().arguments
    assert words[words.index("--tau") + 1] == "auto"
    standalone = str(sequence.folder / "seed-0" / "standalone")
    assert words[words.index("--standalone") + 1] == standalone


def test_settings_of_all_runs_and_of_one_kind(tmp_path: Path, store_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"data: {store_path}\nvariant: nano\nepochs: 5\nalpha: 0.2\nlabel_smoothing: 0.3\n"
        "teacher_settings: {epochs: 9, lr: 0.1}\n"
    )
    sequence = sequence_settings({"lr": 0.2, "tau": 2.0}, file)
    sequence.check()
    teacher, nano, distilled = (step.settings()[0] for step in trainings(sequence))
    assert (teacher.epochs, nano.epochs, distilled.epochs) == (9, 5, 5)
    # the command line goes before what a file says of one kind
    assert {own.lr for own in (teacher, nano, distilled)} == {0.2}
    assert nano.model_dump()["label_smoothing"] == 0.3
    assert (distilled.model_dump()["alpha"], distilled.model_dump()["tau"]) == (0.2, 2.0)


@pytest.mark.parametrize("name", ["ntu60_xsub", "ntu120_xsub", "ntu120_xset"])
def test_the_sequences_that_come_along(name: str) -> None:
    sequence = sequence_settings({}, Path(name))
    assert sequence.split == name.partition("_")[2]
    assert sequence.folder == Path("runs") / name
    assert sequence.variant == ("nano", "small", "base", "large")
    assert sequence.teacher_model == "last_v2_base"
    assert (CONFIGS / "sequence" / f"{name}.yaml").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "data/ntu60: no such store; make one with lastkd prepare"),
        (("--config", "ntu60"), "no such file or sequence; did you mean 'ntu60_xsub'?"),
        (("--data", "STORE", "--teacher", "t.safetensors"), "t.safetensors: no such teacher"),
        (("--data", "STORE", "--teacher-model", "last_v3"), "unknown"),
        (("--data", "STORE", "--launch-config", "t4"), "no such launch config"),
        (("--data", "STORE", "--time-budget", "soon"), "isn't a duration"),
        (("--data", "STORE", "--only", "teachers"), "did you mean 'teacher'?"),
        (("--data", "STORE", "--loss", "dkd", "--alpha", "0.5"), "no setting of the loss dkd"),
        (("--data", "STORE", "--config", "typo.yaml"), "unknown key 'epoch'; did you mean"),
        (("--data", "STORE", "--config", "run.yaml"), "the sequence decides it for each run"),
        (("--data", "STORE", "--config", "kind.yaml"), "teacher_settings: unknown key 'epoch'"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    store_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("typo", "epoch: 3"),
        ("run", "seed: 3"),
        ("kind", "teacher_settings: {epoch: 3}"),
    ):
        Path(f"{name}.yaml").write_text(text)
    said = [str(store_path) if word == "STORE" else word for word in words]
    error = CliRunner().invoke(cli, ["sequence", *said]).exception
    assert isinstance(error, UserError), error
    assert hint in str(error)
    assert "\n" not in str(error)
    assert not Path("runs").exists()


def test_under_a_launcher_it_says_that_it_starts_one_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    error = CliRunner().invoke(cli, ["sequence"]).exception
    assert "start it without" in str(error)


# --- the plan -------------------------------------------------------------------------------


def test_times_are_those_of_what_is_left(sequence: SequenceSettings) -> None:
    teacher, _, distillation = trainings(sequence)
    part = {"step_s": 2.0, "steps_per_epoch": 4, "eval_s": {"last_v2_tiny": 0.5}}
    part |= {"evaluated_clips": 32, "test_clips": 32}
    found = {"start_s": 7.0, "parts": {"teacher": part}}
    whole = 2 * 4 * 2.0 + 2 * 32 * 0.5  # two epochs of steps and evaluations
    assert seconds_left(teacher, teacher.status(), found) == 7 + whole
    write_run(teacher, teacher.folders[0], ended="SIGTERM", done=6)
    assert seconds_left(teacher, teacher.status(), found) == 7 + whole / 4
    evaluation = make_steps(sequence)[1]
    assert seconds_left(evaluation, evaluation.status(), found) == 7 + 32 * 0.5
    write_run(distillation, distillation.folders[0])
    write_run(distillation, distillation.folders[1])
    assert seconds_left(distillation, distillation.status(), found) == 0


def test_a_measurement_is_of_real_steps_and_leaves_nothing(
    sequence: SequenceSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "ENOUGH_S", 0.1)
    parts = {"standalone", "distilled", "evaluation of last_v2_tiny"}
    said = json.loads(json.dumps(order(sequence, parts)))
    assert list(said["parts"]) == ["teacher", "standalone", "distilled"]
    accelerator = make_accelerator()
    measurement = measure.Measurement(said, tmp_path / "scratch", accelerator)
    teacher = measurement.part(said["parts"]["teacher"])
    assert (teacher["step_s"], teacher["steps_per_epoch"], teacher["test_clips"]) == (0, 4, 32)
    assert teacher["eval_s"]["last_v2_tiny"] > 0
    for name in ("standalone", "distilled"):
        students = measurement.part(said["parts"][name])
        assert students["step_s"] > 0
        assert set(students["eval_s"]) == {"last_e_nano", "last_e_small"}
    assert not sequence.folder.exists()
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["last_v2_tiny.safetensors"]


# --- the built-in set -----------------------------------------------------------------------


def test_the_steps_on_the_builtin_set_know_their_runs_again(
    tmp_path: Path, store_path: Path
) -> None:
    sequence = builtin_sequence(tmp_path / "demo", seed=3)
    preparation, *runs = builtin_steps(sequence)
    assert [step.title for step in (preparation, *runs)] == [
        "synthetic store",
        "last_v2_tiny, teacher",
        "nano standalone, seed 3",
        "nano distilled, seed 3",
    ]
    assert not preparation.status().done
    shutil.copytree(store_path, sequence.data)
    assert preparation.status().done
    for step in runs:
        assert isinstance(step, TrainingStep)
        write_run(step, step.folders[0])
        assert step.status().done
        assert Run.read(step.folders[0]).start["settings"]["split"] == "xsub"
        assert Run.read(step.folders[0]).seed == 3
