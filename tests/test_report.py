"""The report, from run folders made of events and predictions alone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lastkd.cli.app import cli
from lastkd.errors import UserError
from lastkd.evaluation.statistics import compare, gain_over_seeds
from lastkd.report.table import make_rows
from lastkd.runs.events import FILE_NAME, EventLog
from lastkd.runs.log import PREDICTIONS, Run, read_runs
from lastkd.runs.predictions import Predictions

CLIPS, CLASSES = 200, 4
NAMES = tuple(f"clip{k}" for k in range(CLIPS))
LABELS = np.arange(CLIPS) % CLASSES


def said(right: int, seed: int) -> Predictions:
    """Predictions of which exactly `right` clips are right."""
    hits = np.random.default_rng(seed).permutation(CLIPS) < right
    guess = np.where(hits, LABELS, (LABELS + 1) % CLASSES)
    classes = ("sit", "stand", "wave", "clap")
    return Predictions(NAMES, LABELS, np.eye(CLASSES, dtype=np.float32)[guess], classes)


def write_run(
    folder: Path,
    model: str,
    *,
    seed: int = 0,
    top1: tuple[float, ...] = (50.0, 60.0),
    teacher: bool = False,
    state: str | None = "finished",
    data: str = "d" * 64,
    **settings: Any,
) -> None:
    folder.mkdir(parents=True)
    log = EventLog(folder / FILE_NAME)
    distilled = {"loss": "kd", "alpha": 0.7, "tau": 4.0} if teacher else {}
    log.write(
        "start",
        model=model,
        parameters=92_358,
        settings={"seed": seed, "split": "xsub", "epochs": len(top1), **distilled, **settings},
        versions={"lastkd": "0.1.0", "torch": "2.13.0"},
        data={"hash": data, "source": "a test", "classes": 4, "train": 200, "test": 200},
        teacher={"model": "last_v2_tiny", "hash": "t" * 64} if teacher else None,
    )
    for epoch, value in enumerate(top1, start=1):
        log.write("step", step=epoch, epoch=epoch, ce=2.0 / epoch, kl=0.5, total=3.0)
        by_class = [value] * CLASSES
        log.write("epoch", epoch=epoch, top1=value, top5=90.0, mean_class=value, by_class=by_class)
    if state is not None:
        log.write("end", state=state)
    log.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    write_run(folder / "teacher", "last_v2_tiny", top1=(70.0, 75.0))
    for seed in (0, 1):
        write_run(folder / f"alone{seed}", "last_e_nano", seed=seed, top1=(66.0, 60.0 + seed))
        write_run(folder / f"kd{seed}", "last_e_nano", seed=seed, top1=(50, 65), teacher=True)
    write_run(folder / "small", "last_e_small")
    write_run(folder / "cut", "last_e_nano", seed=2, top1=(99.0,), state=None)
    return folder


def keep(runs: Path) -> None:
    for seed in (0, 1):
        said(120 + 2 * seed, seed).save(runs / f"alone{seed}" / PREDICTIONS)
        said(130, 10 + seed).save(runs / f"kd{seed}" / PREDICTIONS)


def report(*words: object) -> str:
    result = CliRunner().invoke(cli, ["report", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_rows_compare_the_last_epochs_over_seeds(runs: Path) -> None:
    nano, *_ = make_rows(read_runs(runs))
    assert (nano.model, nano.method) == ("last_e_nano", "kd, alpha 0.7, tau 4")
    assert str(nano.figure("standalone", "last", "top1")) == "60.50 ± 0.71"
    assert nano.figure("standalone", "best", "top1").mean == 66  # an epoch chosen on the test part
    assert nano.mean_gain == pytest.approx(4.5)
    assert nano.gain is None  # no predictions, no interval


def test_gain_and_tests_are_those_of_the_predictions(runs: Path) -> None:
    keep(runs)
    nano, *_ = make_rows(read_runs(runs))
    assert nano.gain is not None
    assert nano.gain.gain == pytest.approx(100 * (260 - 242) / 2 / CLIPS)
    assert nano.gain.low < nano.gain.gain < nano.gain.high
    assert sorted(nano.by_seed) == [0, 1]
    first = compare(said(130, 10).right, said(120, 0).right)
    assert nano.by_seed[0] == first
    alone = gain_over_seeds([(said(130, 10).right, said(120, 0).right)])
    assert (alone.gain, alone.low, alone.high) == (first.gain, first.low, first.high)


def test_the_files_of_a_report(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    keep(runs)
    said(150, 3).save(runs / "teacher" / PREDICTIONS)
    out = tmp_path / "report"
    assert "6 of 7 runs finished, 5 figures" in report(runs, "--out", out)
    text = (out / "07_Experiments.md").read_text(encoding="utf-8")
    assert "| last_e_nano | 92,358 | 0.102 | kd, alpha 0.7, tau 4 | 2 / 2 | 60.50 ± 0.71 |" in text
    assert "- last_e_small: no finished distilled run." in text
    assert "- last_e_large: no finished standalone and no distilled run." in text
    assert "| last_e_large | missing |" in text
    assert "| last_v2_tiny | 92,358 | 0 | 75.00 | 90.00 | 75.00 (2) |" in text
    assert "EfficientGCN-B0" in text and "87-89" in text
    assert "unfinished" in text and "t" * 12 in text
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert len(pictures) == 5
    assert all(f"({name})" in text for name in pictures)
    assert len(list(out.glob("*.svg"))) == 5
    with (out / "table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["student"] for row in rows[:2]] == ["last_e_nano", "last_e_small"]
    assert rows[0]["gain (95 %)"].startswith("+4.50 (")
    tex = (out / "table.tex").read_text(encoding="utf-8")
    assert r"last\_e\_nano" in tex and r"$\pm$" in tex


def test_without_predictions_it_says_how_to_make_them(runs: Path, tmp_path: Path) -> None:
    report(runs, "--out", tmp_path / "r", "--no-figures")
    text = (tmp_path / "r" / "07_Experiments.md").read_text(encoding="utf-8")
    assert "+4.50 (no interval)" in text
    assert "lastkd evaluate" in text and f"--predictions {runs}" in text


def test_losses_and_data_are_never_mixed(runs: Path, tmp_path: Path) -> None:
    write_run(
        runs / "dkd", "last_e_nano", teacher=True, loss="dkd", alpha=None, dkd_alpha=1, dkd_beta=8
    )
    write_run(runs / "elsewhere", "last_e_nano", data="e" * 64)
    methods = [row.method for row in make_rows(read_runs(runs)) if row.model == "last_e_nano"]
    assert methods == ["dkd, dkd_alpha 1, dkd_beta 8, tau 4", "kd, alpha 0.7, tau 4"]
    report(runs, "--out", tmp_path / "r", "--no-figures")
    text = (tmp_path / "r" / "07_Experiments.md").read_text(encoding="utf-8")
    assert text.count("\n## a test, xsub") == 2


def test_a_resumed_run_counts_the_latest_event_of_each_epoch(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "last_e_nano", top1=(10.0, 20.0), state="stopped")
    log = EventLog(tmp_path / "run" / FILE_NAME)
    log.write("resume", step=1, epoch=1)
    log.write("epoch", epoch=2, top1=30.0, top5=90.0, mean_class=30.0, by_class=[30.0] * 4)
    assert Run.read(tmp_path / "run").state == "unfinished"
    log.write("end", state="finished")
    log.close()
    run = Run.read(tmp_path / "run")
    assert run.state == "finished"
    assert run.last is not None and run.last["top1"] == 30


def test_a_folder_without_runs_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run at any depth"):
        read_runs(tmp_path)
