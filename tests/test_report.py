"""The report, from run folders made of events and predictions alone."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from report_runs import CLIPS, SOFTNESS, predictions, write_run
from scipy import stats

from lastkd.cli.app import cli
from lastkd.errors import UserError
from lastkd.evaluation.statistics import compare, gain_over_seeds, gain_over_sets
from lastkd.report.summary import summarise
from lastkd.report.table import Row, make_sections
from lastkd.runs.events import FILE_NAME, EventLog
from lastkd.runs.log import PREDICTIONS, Run, read_runs


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
        predictions(120 + 2 * seed, seed).save(runs / f"alone{seed}" / PREDICTIONS)
        predictions(130, 10 + seed).save(runs / f"kd{seed}" / PREDICTIONS)


def rows_of(runs: Path) -> list[Row]:
    return make_sections(read_runs(runs))[0].rows


def report(*words: object) -> str:
    result = CliRunner().invoke(cli, ["report", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_rows_compare_the_last_epochs_over_seeds(runs: Path) -> None:
    nano, *_ = rows_of(runs)
    assert (nano.model, nano.method) == ("last_e_nano", "kd, alpha 0.7, tau 4")
    assert str(nano.figure("standalone", "last", "top1")) == "60.50 ± 0.71"
    assert nano.figure("standalone", "best", "top1").mean == 66  # an epoch chosen on the test part
    assert nano.mean_gain == pytest.approx(4.5)
    assert nano.gain is None  # no predictions, no interval


def test_gain_and_tests_are_those_of_the_predictions(runs: Path) -> None:
    keep(runs)
    nano, *_ = rows_of(runs)
    assert nano.gain is not None
    assert nano.gain.gain == pytest.approx(100 * (260 - 242) / 2 / CLIPS)
    assert nano.gain.low < nano.gain.gain < nano.gain.high
    assert sorted(nano.by_seed) == [0, 1]
    first = compare(predictions(130, 10).right, predictions(120, 0).right)
    assert nano.by_seed[0] == first
    alone = gain_over_seeds([(predictions(130, 10).right, predictions(120, 0).right)])
    assert (alone.gain, alone.low, alone.high) == (first.gain, first.low, first.high)


def test_the_files_of_a_report(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    keep(runs)
    predictions(150, 3).save(runs / "teacher" / PREDICTIONS)
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
    methods = [row.method for row in rows_of(runs) if row.model == "last_e_nano"]
    assert methods == ["dkd, dkd_alpha 1, dkd_beta 8, tau 4", "kd, alpha 0.7, tau 4"]
    report(runs, "--out", tmp_path / "r", "--no-figures")
    text = (tmp_path / "r" / "07_Experiments.md").read_text(encoding="utf-8")
    assert text.count("\n## a test ") == text.count("\na test, split xsub") == 2


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


# --- several sets ---------------------------------------------------------------------------------


def two_sets(folder: Path, *, seeds: int = 3) -> Path:
    """nano gains 2 points on one set and loses 1.5 on another; its teacher has 80."""
    for name, alone, gain in (("utd", 70.0, 2.0), ("florence", 60.0, -1.5)):
        for seed in range(seeds):
            about = {"data": f"{name:x<64}", "seed": seed}
            top1 = (50.0, alone + seed)
            write_run(folder / name / f"alone{seed}", "last_e_nano", top1=top1, **about)
            top1 = (50.0, alone + seed + gain)
            tau = 2.0 if name == "utd" else 4.0  # chosen for each set: the same line
            run = folder / name / f"kd{seed}"
            write_run(run, "last_e_nano", top1=top1, teacher=True, **about, tau=tau)
    return folder


def test_gains_over_sets_weigh_each_set_alike(tmp_path: Path) -> None:
    (line,) = summarise(make_sections(read_runs(two_sets(tmp_path / "runs"))))
    assert (line.model, line.method) == ("last_e_nano", "kd")
    assert sorted(line.set_gains.values()) == pytest.approx([-1.5, 2.0])
    assert line.gain is not None
    assert (line.gain.gain, line.gain.sets, line.gain.seeds) == (pytest.approx(0.25), 2, 6)
    assert len(line.harmed) == 1
    # alone 71 and 61 with teachers of 80: 28 points in all, of which half a point is closed
    assert line.gap_closed == pytest.approx(0.5 / 28)


def test_a_seed_without_its_partner_is_left_out(tmp_path: Path) -> None:
    runs = two_sets(tmp_path / "runs")
    about = {"data": f"{'utd':x<64}", "top1": (50.0, 99.0), "tau": 2.0}
    write_run(runs / "utd" / "kd9", "last_e_nano", seed=9, teacher=True, **about)
    (line,) = summarise(make_sections(read_runs(runs)))
    assert max(line.set_gains.values()) == pytest.approx(2.0)


def test_methods_of_one_loss_on_one_set_are_never_pooled(tmp_path: Path) -> None:
    runs = two_sets(tmp_path / "runs")
    for seed in range(3):
        about = {"data": f"{'utd':x<64}", "top1": (50.0, 90.0), "tau": 8.0}
        write_run(runs / "utd" / f"hot{seed}", "last_e_nano", seed=seed, teacher=True, **about)
    methods = [line.method for line in summarise(make_sections(read_runs(runs)))]
    assert methods == [f"kd, alpha 0.7, tau {tau}" for tau in (2, 4, 8)]


def test_the_interval_over_sets_is_students() -> None:
    means = np.array([1.0, 2.5, -0.5, 3.0])
    gain = gain_over_sets([[mean - 1, mean + 1] for mean in means])
    low, high = stats.t.interval(0.95, 3, means.mean(), stats.sem(means))
    assert (gain.low, gain.high) == (pytest.approx(low), pytest.approx(high))
    one = gain_over_sets([[1.0, 2.0, 3.0]])  # over the seeds of the only set
    assert one.low == pytest.approx(stats.t.interval(0.95, 2, 2.0, stats.sem([1, 2, 3]))[0])
    assert str(gain_over_sets([[1.5]])) == "+1.50 (no interval)"
    with pytest.raises(ValueError, match="at least one gain of each set"):
        gain_over_sets([[1.0], []])


def test_the_interval_holds_the_true_mean_in_19_of_20_experiments() -> None:
    rng = np.random.default_rng(0)
    truth, held = 1.2, 0
    for _ in range(1000):
        sets = truth + rng.normal(0, 1.5, size=(6, 1))  # sets differ, and so do their seeds
        gain = gain_over_sets((sets + rng.normal(0, 1.0, size=(6, 3))).tolist())
        assert gain.low is not None and gain.high is not None
        held += gain.low <= truth <= gain.high
    assert 930 <= held <= 970


def test_a_report_over_several_sets_has_a_table_a_csv_and_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "r"
    report(two_sets(tmp_path / "runs"), "--out", out)
    text = (out / "07_Experiments.md").read_text(encoding="utf-8")
    assert "| set | last_e_nano, kd |" in text
    assert "71.00 to 73.00: +2.00 ± 0.00 |" in text
    assert "| mean gain (95 %) | +0.25 (-21.99 to +22.49) |" in text
    assert "| sets that gained | 1 of 2 |" in text
    assert "(gains_over_sets.png)" in text
    for suffix in (".png", ".svg", ".pdf", ".tex"):
        assert (out / f"gains_over_sets{suffix}").stat().st_size > 100
    with (out / "gains.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["gain"] for row in rows} == {"2.00", "-1.50"}


# --- what may be compared -------------------------------------------------------------------------


def test_of_several_baselines_the_one_with_the_same_settings_counts(runs: Path) -> None:
    write_run(runs / "patient", "last_e_nano", seed=0, top1=(50.0, 60.0, 70.0))
    nano, *_ = rows_of(runs)
    assert [run.folder.name for run in nano.standalone] == ["alone0", "alone1"]
    assert not nano.differing


def test_an_uneven_comparison_says_in_what(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "alone", "last_e_nano", top1=(50.0, 60.0, 70.0), ema=0.0)
    write_run(tmp_path / "runs" / "kd", "last_e_nano", teacher=True, ema=0.99)
    nano, *_ = rows_of(tmp_path / "runs")
    assert nano.differing == ("ema 0.99, alone 0", "epochs 2, alone 3")
    report(tmp_path / "runs", "--out", tmp_path / "r", "--no-figures")
    text = (tmp_path / "r" / "07_Experiments.md").read_text(encoding="utf-8")
    assert "not only the teacher differs (ema 0.99, alone 0; epochs 2, alone 3)" in text


def test_runs_of_one_seed_that_differ_are_rows_of_their_own(runs: Path) -> None:
    for seed in (0, 1):
        top1 = (50, 65, 70, 80)
        write_run(runs / f"patient{seed}", "last_e_nano", seed=seed, top1=top1, teacher=True)
    methods = [row.method for row in rows_of(runs) if row.model == "last_e_nano"]
    assert methods == ["kd, alpha 0.7, tau 4, epochs 2", "kd, alpha 0.7, tau 4, epochs 4"]


def measured_at(folder: Path, seed: int, tau: float, even_tau: float) -> None:
    """A distilled run whose labels are evenly soft at `even_tau`."""
    softness = SOFTNESS | {"tau": tau, "even_tau": even_tau}
    write_run(folder, "last_e_nano", seed=seed, teacher=True, tau=tau, softness=softness)


def test_seeds_whose_tau_was_measured_are_one_method(tmp_path: Path) -> None:
    for seed, tau in enumerate((3.5, 3.75, 3.75)):
        write_run(tmp_path / f"alone{seed}", "last_e_nano", seed=seed)
        measured_at(tmp_path / f"kd{seed}", seed, tau, tau)
    nano, *_ = rows_of(tmp_path)
    assert nano.method == "kd, alpha 0.7, tau auto"
    assert [run.seed for run in nano.distilled] == [0, 1, 2]


def test_temperatures_that_were_given_stay_methods_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "alone", "last_e_nano")
    measured_at(tmp_path / "even", 0, 3.5, 3.5)
    measured_at(tmp_path / "given", 1, 4.0, 3.75)  # of another seed, but not the measured one
    measured_at(tmp_path / "swept", 0, 3.75, 3.75)  # of the same seed
    methods = [row.method for row in rows_of(tmp_path) if row.distilled]
    assert methods == ["kd, alpha 0.7, tau 3.5", "kd, alpha 0.7, tau 3.75", "kd, alpha 0.7, tau 4"]


def test_a_validation_part_chooses_and_the_test_part_is_reported(tmp_path: Path) -> None:
    held = {"validation": 40, "validation_hash": "v" * 64}
    for teacher, last, best in ((False, 60.0, 62.0), (True, 66.0, 64.0)):
        write_run(
            tmp_path / "runs" / f"{teacher}",
            "last_e_nano",
            teacher=teacher,
            top1=(90.0, 95.0),
            about_data=held,
            tests={"last.safetensors": last, "best.safetensors": best},
            softness=SOFTNESS,
        )
    write_run(tmp_path / "runs" / "without", "last_e_nano")  # more training clips: not comparable
    chosen, other = make_sections(read_runs(tmp_path / "runs"))
    assert (chosen.chooser, other.chooser) == ("validation", "test")
    nano = chosen.rows[0]
    assert nano.mean_gain == 6.0
    assert nano.figure("distilled", "best", "top1").mean == 64.0
    report(tmp_path / "runs", "--out", tmp_path / "r", "--no-figures")
    text = (tmp_path / "r" / "07_Experiments.md").read_text(encoding="utf-8")
    assert "chosen on 40 validation clips; the test part was used once, at the end" in text
    assert "| validation | 62.00 | 64.00 |" in text
    softness = "| 4 | 2.5 | 0.31 | 72 | 97 | 45 | --tau 4.4 |"
    assert f"| last_e_nano | kd, alpha 0.7, tau 4 | 0 {softness}" in text
