"""lastkd sweep: a grid on one teacher pass, each point as it would be alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from lastkd.cli.app import cli
from lastkd.distributed.accelerator import make_accelerator
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.pipeline.sweep import grid_of
from lastkd.runs.events import read_events
from lastkd.runs.log import Run, read_runs
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings
from lastkd.training.loop import train
from lastkd.training.teacher import FrozenTeacher

QUICK = {"epochs": 1, "frames": 8, "batch_size": 8, "warmup_epochs": 0}


def sweep(*words: object) -> Result:
    quick = [f"--{name.replace('_', '-')}={value}" for name, value in QUICK.items()]
    return CliRunner().invoke(cli, ["sweep", *map(str, words), *quick])


def test_a_grid_has_every_combination() -> None:
    grid = grid_of({"alpha": (0.3, 0.7), "tau": (2.0, 4.0)})
    assert [tuple(values.values()) for values in grid] == [(0.3, 2), (0.3, 4), (0.7, 2), (0.7, 4)]


def test_a_sweep_is_one_teacher_pass_and_each_point_an_ordinary_run(
    tmp_path: Path, store_path: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    forward = FrozenTeacher.__call__

    def counted(self: FrozenTeacher, streams: dict[str, torch.Tensor], bodies: torch.Tensor):  # type: ignore[no-untyped-def]
        passes.append(len(bodies))
        return forward(self, streams, bodies)

    monkeypatch.setattr(FrozenTeacher, "__call__", counted)
    words = ["--variant", "nano", "--data", store_path, "--teacher", teacher]
    words += ["--run", tmp_path / "grid"]
    result = sweep(*words, "--alpha", "0.3,0.7", "--tau", "2,6")
    assert result.exception is None, result.output
    assert sum(passes) == 32  # the training clips, once
    assert "nano: best at alpha" in result.output
    assert result.output.count("*") == 2  # the title's and the best point's

    # a point is what it would have been alone
    alone = resolve(DistillSettings, QUICK | {"variant": "nano", "alpha": 0.7, "tau": 6.0})
    train(
        alone,
        data=store_path,
        teacher=teacher,
        folder=tmp_path / "alone",
        accelerator=make_accelerator(),
    )
    of_grid, by_itself = (
        read_checkpoint(folder / "last.safetensors").weights_hash
        for folder in (tmp_path / "grid" / "nano_alpha0.7_tau6", tmp_path / "alone")
    )
    assert of_grid == by_itself

    saved = json.loads((tmp_path / "grid" / "sweep.json").read_text())
    assert [(point["alpha"], point["tau"]) for point in saved["points"]] == [
        (0.3, 2),
        (0.3, 6),
        (0.7, 2),
        (0.7, 6),
    ]
    assert (saved["epoch"], saved["loss"], saved["epochs"]) == ("last", "kd", 1)
    best = max(point["top1"] for point in saved["points"])
    assert saved["best"]["nano"]["top1"] == best
    with (tmp_path / "grid" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["top1"]) for row in rows] == [point["top1"] for point in saved["points"]]
    for run in read_runs(tmp_path / "grid"):
        assert run.last is not None
        (point,) = [point for point in saved["points"] if point["run"] == str(run.folder)]
        assert point["top1"] == run.last["top1"]
        assert run.start["settings"]["alpha"] == point["alpha"]
        # its own time, not that of all points together
        step = next(iter(run.steps.values()))
        assert step["student_ms"] > 0

    # a larger grid keeps what there is
    before = (tmp_path / "grid" / "nano_alpha0.3_tau2" / "events.jsonl").read_bytes()
    result = sweep(*words, "--alpha", "0.3", "--tau", "2,3")
    assert result.exception is None, result.output
    assert (tmp_path / "grid" / "nano_alpha0.3_tau2" / "events.jsonl").read_bytes() == before
    *_, end = read_events(tmp_path / "grid" / "nano_alpha0.3_tau3" / "events.jsonl")
    assert end["state"] == "finished"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "which grid?"),
        (("--alpha", "0.5,1.5"), "less than or equal to 1"),
        (("--alpha", "0.5,0.50000001"), "stands for two points"),
        (("--alpha", "0.5", "--loss", "dkd"), "is no setting of the loss dkd"),
        (("--tau", "2,4"), "name yours with --data and --teacher"),
        (("--tau", "2,4", "--data", "nowhere"), "nowhere: no such store"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    error = sweep("--variant", "nano", *words).exception
    assert isinstance(error, UserError), error
    assert hint in str(error)
    assert "\n" not in str(error)
    assert list(tmp_path.iterdir()) == []


def test_with_a_validation_part_the_grid_is_chosen_on_it(
    tmp_path: Path, store_path: Path, teacher: Path
) -> None:
    words = ["--variant", "nano", "--data", store_path, "--teacher", teacher]
    words += ["--run", tmp_path / "grid", "--validation", "performers:1"]
    result = sweep(*words, "--alpha", "0.3,0.7")
    assert result.exception is None, result.output
    assert "chosen on the validation part" in result.output
    grid = json.loads((tmp_path / "grid" / "sweep.json").read_text())
    best = max(grid["points"], key=lambda point: point["validation_top1"])
    assert grid["best"]["nano"] == best
    assert grid["best_chosen_by"] == "top-1 on the validation part of the split"
    for point in grid["points"]:
        run = Run.read(Path(point["run"]))
        assert run.last is not None
        assert (point["top1"], run.last["clips"]) == (run.last["top1"], 32)
