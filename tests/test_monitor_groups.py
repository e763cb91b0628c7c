"""What the monitor makes of several runs: groups, baselines, alerts, and where runs are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monitor_logs import poll, read, watch
from run_logs import BEGAN, NTU60, SMALL_SET, SOFTNESS, TEACHER, Log, three_runs

from lastkd.errors import UserError
from lastkd.monitor.log.alerts import AlertLog, alerts
from lastkd.monitor.log.classes import class_changes, class_names
from lastkd.monitor.log.groups import Compared, compare, expected, grouped
from lastkd.monitor.log.json_output import to_dict
from lastkd.monitor.log.records import LOG_NAME
from lastkd.monitor.log.watcher import Watcher
from lastkd.monitor.screen.glyphs import UNICODE, fit_name
from lastkd.monitor.screen.run_facts import overview

# --- which runs belong together -------------------------------------------------------------------


def test_a_teacher_its_students_and_their_baselines_are_one_group(tmp_path: Path) -> None:
    three_runs(tmp_path)
    Log(tmp_path / "other", data={**SMALL_SET, "hash": "else"}).run([40.0]).end()
    watcher = watch(tmp_path)
    first, second = watcher.groups
    assert first.title == "last_v2_base 91.50 % teaches on synthetic, xsub"
    assert [run.name for run in first.runs] == ["teacher", "alone", "distilled"]
    assert [run.name for run in second.runs] == ["other"]
    distilled = first.runs[2]
    compared = watcher.compared(distilled)
    assert compared.baseline is first.runs[1]
    assert compared.teacher_run is first.runs[0]
    assert compared.gain(distilled) == pytest.approx(4.0)


def test_the_baseline_has_the_model_the_data_and_the_split(tmp_path: Path) -> None:
    student = read(Log(tmp_path / "s", teacher=TEACHER).run([70.0]))
    others = [
        read(Log(tmp_path / "model", "last_e_small").run([60.0])),
        read(Log(tmp_path / "data", data=NTU60).run([61.0])),
        read(Log(tmp_path / "split", split="xview").run([62.0])),
        read(Log(tmp_path / "distilled", teacher=TEACHER).run([63.0])),
    ]
    assert compare(student, [student, *others]).baseline is None
    other_seed = read(Log(tmp_path / "seed", seed=5).run([64.0]).end())
    fitting = read(Log(tmp_path / "fits").run([65.0]))
    assert compare(student, [*others, other_seed]).baseline is other_seed
    assert compare(student, [other_seed, fitting, *others]).baseline is fitting


def test_a_group_is_named_before_its_runs_have_started(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / LOG_NAME).touch()
    (group,) = grouped([read(tmp_path / "r" / LOG_NAME)])
    assert group.title == "not started yet"


@pytest.mark.parametrize(
    ("variant", "teacher", "range_"),
    [
        ("nano", None, (85, 87)),
        ("nano", TEACHER, (87, 89)),
        ("small", TEACHER, (89, 91)),
        ("base", TEACHER, (91, 92)),
        ("large", TEACHER, (92, 93)),
        ("large", None, (91, 93)),
    ],
)
def test_what_the_design_expects_on_ntu60(
    tmp_path: Path, variant: str, teacher: dict[str, object] | None, range_: tuple[float, float]
) -> None:
    log = Log(tmp_path / "r", f"last_e_{variant}", teacher=teacher, data=NTU60)
    assert expected(read(log)) == range_


def test_nothing_is_expected_elsewhere(tmp_path: Path) -> None:
    for name, model, data, split in (
        ("small set", "last_e_nano", SMALL_SET, "xsub"),
        ("other split", "last_e_nano", NTU60, "xview"),
        ("120 classes", "last_e_nano", {**NTU60, "classes": 120}, "xsub"),
        ("a part of it", "last_e_nano", {**NTU60, "train": 1000}, "xsub"),
        ("the teacher", "last_v2_base", NTU60, "xsub"),
    ):
        assert expected(read(Log(tmp_path / name, model, data=data, split=split))) is None


def test_a_run_with_a_validation_part_chooses_on_it_and_is_tested_once(tmp_path: Path) -> None:
    data = {**SMALL_SET, "validation": 16, "validation_hash": "v"}
    log = Log(tmp_path / "kd", teacher=TEACHER, data=data, softness=SOFTNESS)
    log.run([50.0, 70.0])
    log.write("test", 101, checkpoint="last.safetensors", epoch=2, top1=66.0)
    log.end()
    Log(tmp_path / "alone").run([60.0]).end()
    watcher = watch(tmp_path)
    run = next(run for run in watcher.runs if run.distilled)
    assert run.chooser == "validation"
    assert run.best == (2, 70.0)
    assert not run.unread()
    assert watcher.compared(run).baseline is None  # it was trained on other clips
    better = Compared(teacher_top1=60.0)  # on the test part, so it isn't compared
    assert not [alert for alert in alerts(run, better) if alert.kind == "teacher"]
    facts = dict(overview(run, watcher.compared(run)))
    assert facts["best"] == "70.00 % at epoch 2 on the validation part"
    assert facts["test part"] == "66.00 % with last.safetensors, epoch 2"
    assert facts["soft labels"] == (
        "at tau 4, top probability 0.31, entropy 72 % of uniform, 97 % right, "
        "45 % of the first gradient"
    )


def test_class_changes_are_against_the_baseline_or_the_first_evaluation(tmp_path: Path) -> None:
    watcher = watch(three_runs(tmp_path))
    teacher, alone, distilled = watcher.runs
    words, changes = class_changes(distilled, watcher.compared(distilled), ["wave", "nod"])
    assert words == "against alone"
    assert [(c.name, c.gain) for c in changes] == [("wave", 4.0), ("nod", 4.0), ("class 2", 4.0)]
    words, changes = class_changes(teacher, watcher.compared(teacher), [])
    assert (words, changes[0].before, changes[0].now) == ("since epoch 1", 50.0, 81.5)
    assert class_names(alone) == []


# --- alerts ---------------------------------------------------------------------------------------


def kinds(log: Log, now: float | None = None, others: tuple[Log, ...] = ()) -> dict[str, str]:
    run = read(log)
    at = (run.last_time or 0) + 1 if now is None else now
    return {a.kind: a.reason for a in alerts(run, compare(run, [read(o) for o in others]), at)}


def test_a_run_that_goes_well_raises_no_alert(tmp_path: Path) -> None:
    log = Log(tmp_path / "r", teacher=TEACHER, epochs=8).run([50.0] * 6)
    assert kinds(log) == {}


def test_alerts_each_have_their_reason(tmp_path: Path) -> None:
    nan = Log(tmp_path / "nan")
    nan.step(3, ce=None, total=None, not_finite=["ce", "total"])
    assert "ce, total not finite at step 3" in kinds(nan)["nan"]

    skipped = Log(tmp_path / "skipped")
    for step, reason in ((1, "gradient"), (2, "overflow"), (3, "gradient"), (3, "gradient")):
        skipped.write("skipped", 1, step=step, epoch=1, reason=reason, count=step)
    skipped.step(4)
    assert kinds(skipped)["skipped"] == "steps skipped: 2 by gradient"

    rising = Log(tmp_path / "rising", epochs=100)
    for step in range(1, 400):
        rising.step(step, total=2 - step / 200 if step < 200 else 1 + (step - 200) / 100)
    assert "loss rising since step 2" in kinds(rising)["rising"]

    stuck = Log(tmp_path / "stuck", epochs=100, teacher=TEACHER)
    for step in range(1, 400):
        stuck.step(step, soft=0.4)
    assert kinds(stuck)["stuck"].startswith("KL stuck at 0.4")

    slow = Log(tmp_path / "slow", epochs=100)
    for step in range(1, 100):
        slow.step(step, clips_per_s=160.0 if step < 85 else 70.0)
    assert kinds(slow)["slow"] == "throughput fell by half: 70 clips/s now, 160 before"

    better = Log(tmp_path / "better", teacher=TEACHER).run([92.0])
    assert kinds(better)["teacher"] == (
        "teacher worse than student: 91.50 % against 92.00 % at epoch 1"
    )

    quiet = Log(tmp_path / "quiet").run([50.0], until=40)
    assert "no event for 17 min" in kinds(quiet, BEGAN + 1004)["stalled"]

    full = Log(tmp_path / "full")
    full.device(1, disk_free_gb=1.5)
    full.step(2)
    assert kinds(full)["disk"] == "disk nearly full: 1.5 GB free"

    failed = Log(tmp_path / "failed").run([50.0]).end("failed", reason="out of memory")
    assert kinds(failed)["failed"] == "failed: out of memory"


def test_a_disk_that_fills_up_is_told_before_it_is_full(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    for step in range(0, 6000, 100):  # ten minutes
        log.device(step, disk_free_gb=20.0 - step / 500)
    log.step(6000)
    assert "disk full in" in kinds(log)["disk"]


def test_an_alert_is_told_once_and_a_second_stall_again(tmp_path: Path) -> None:
    log = Log(tmp_path / "r").run([50.0], until=40)
    reported = AlertLog()
    run = read(log)
    for now, expected_kinds in ((1000, ["stalled"]), (1100, [])):
        found = alerts(run, compare(run, []), BEGAN + now)
        assert [alert.kind for alert in reported.add("r", found)] == expected_kinds
    assert reported.all[0].time == pytest.approx(BEGAN + 4 + 60)
    log.write("step", 20_000, step=45, epoch=1)
    poll(run)
    assert reported.add("r", alerts(run, compare(run, []), BEGAN + 2001)) == []
    again = reported.add("r", alerts(run, compare(run, []), BEGAN + 50_000))
    assert [alert.kind for alert in again] == ["stalled"]


# --- finding runs ---------------------------------------------------------------------------------


def test_runs_are_found_at_any_depth_and_as_they_come_and_go(tmp_path: Path) -> None:
    Log(tmp_path / "a").step(1)
    deep = Log(tmp_path / "x" / "y" / "b")
    Log(tmp_path / ".hidden" / "c").step(1)
    watcher = watch(tmp_path)
    assert sorted(run.name for run in watcher.runs) == ["a", "b"]
    Log(tmp_path / "d").step(1)
    watcher.scan()
    watcher.load()
    assert sorted(run.name for run in watcher.runs) == ["a", "b", "d"]
    deep.path.unlink()
    watcher.poll()
    assert sorted(run.name for run in watcher.runs) == ["a", "d"]


def test_runs_whose_folders_are_called_alike_are_told_apart(tmp_path: Path) -> None:
    Log(tmp_path / "seed-0" / "alone" / "nano")
    Log(tmp_path / "teacher")
    watcher = watch(tmp_path)
    assert {run.name for run in watcher.runs} == {"nano", "teacher"}
    Log(tmp_path / "seed-0" / "distilled" / "nano")
    watcher.scan()
    assert {run.name for run in watcher.runs} == {"alone/nano", "distilled/nano", "teacher"}
    Log(tmp_path / "seed-1" / "alone" / "nano")
    watcher.scan()
    names = {"seed-0/alone/nano", "seed-1/alone/nano", "distilled/nano", "teacher"}
    assert {run.name for run in watcher.runs} == names


def test_of_a_long_name_with_folders_the_end_is_shown() -> None:
    assert fit_name("alone/nano", 8, UNICODE) == "…ne/nano"
    assert fit_name("alone/nano", 12, UNICODE) == "alone/nano  "
    assert fit_name("a_long_name", 8, UNICODE) == "a_long_…"


def test_a_root_may_be_a_run_or_its_log(tmp_path: Path) -> None:
    log = Log(tmp_path / "a")
    for root in (tmp_path / "a", log.path):
        assert [run.name for run in watch(root).runs] == ["a"]


def test_a_root_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run"):
        Watcher([tmp_path / "nowhere"])


def test_facts_are_plain_and_complete(tmp_path: Path) -> None:
    report = to_dict(watch(three_runs(tmp_path)))
    assert json.loads(json.dumps(report, allow_nan=False)) == json.loads(json.dumps(report))
    distilled = report["runs"][2]
    assert distilled["run"] == "distilled"
    assert distilled["gain"] == 4.0
    assert distilled["standalone"]["best"] == {"epoch": 4, "top1": 72.5}
    assert distilled["teacher"] == {"model": "last_v2_base", "top1": 91.5}
    assert distilled["loss"]["name"] == "kd"
    assert distilled["loss"]["soft_weight"] == pytest.approx(4.8)
    assert distilled["loss"]["kl_weight"] == distilled["loss"]["soft_weight"]
    assert distilled["device"]["devices"][0]["temperature_c"] == 64
    assert (distilled["state"], distilled["alerts"], distilled["unread"]) == ("finished", [], [])
