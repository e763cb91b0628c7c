"""What the monitor reads of a run: logs as they grow, break and lie, and series of any length."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path

import pytest
from monitor_logs import poll, read
from run_logs import BEGAN, TEACHER, Log

from lastkd.monitor.log import run as run_module
from lastkd.monitor.log.records import LOG_NAME
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.series import Series
from lastkd.runs import events

# --- one run ------------------------------------------------------------------------------------


def test_a_run_in_figures(tmp_path: Path) -> None:
    run = read(Log(tmp_path / "nano", teacher=TEACHER).run([55.0, 69.0, 75.0], until=160))
    assert (run.name, run.variant, run.distilled) == ("nano", "nano", True)
    assert (run.step, run.total_steps, run.epoch, run.total_epochs) == (160, 200, 4, 4)
    assert run.progress == pytest.approx(0.8)
    assert run.clips_per_s == 160.0
    assert run.teacher_share == pytest.approx(0.4)
    # 40 steps of 16 clips at 160 clips/s, and one evaluation of 2 s
    assert run.seconds_left() == pytest.approx(4 + 2)
    assert run.best == run.final == (3, 75.0)
    assert run.weights() == pytest.approx((0.7, 0.3 * 16))
    assert 0.1 < (run.soft_share() or 0) < 0.5


DKD = {"name": "dkd", "title": "DKD", "hard_weight": 1.0, "soft_weight": 16.0}
DKD_SETTINGS = {"loss": "dkd", "alpha": None, "tau": 4.0, "ce_weight": 1.0, "soft_weight": 1.0}


def test_the_weights_and_the_share_are_those_of_the_loss(tmp_path: Path) -> None:
    log = Log(tmp_path / "r", teacher=TEACHER, of_loss=DKD)
    for step in range(1, 11):
        log.step(step, ce=1.0, soft=0.5, soft_weight=16.0, total=9.0)
    run = read(log)
    assert (run.soft_title, run.weights()) == ("DKD", (1.0, 16.0))
    assert round(100 * (run.soft_share() or 0)) == 89


@pytest.mark.parametrize(
    ("settings", "weights", "share"),
    [
        (DKD_SETTINGS, (1.0, 16.0), 16 * 0.5 / 9),
        (DKD_SETTINGS | {"loss": "dist", "tau": 1.0}, (1.0, 1.0), 0.5 / 9),
        (
            DKD_SETTINGS | {"loss": "logit_std", "tau": 2.0, "ce_weight": 0.1, "soft_weight": 1.0},
            (0.1, 4.0),
            4 * 0.5 / 9,
        ),
        ({"alpha": 0.7, "tau": 4.0}, (0.7, 4.8), 4.8 * 0.5 / 9),
    ],
)
def test_logs_of_schema_1_have_the_weights_of_their_settings(
    tmp_path: Path, settings: dict[str, float], weights: tuple[float, float], share: float
) -> None:
    log = Log(tmp_path / "r", teacher=TEACHER, schema=1, **settings)
    for step in range(1, 11):
        log.write("step", step, step=step, epoch=1, ce=1.0, kl=0.5, total=9.0)
    run = read(log)
    assert run.weights() == pytest.approx(weights)
    assert run.soft_share() == pytest.approx(share)
    # a later version goes on with the log
    log.step(11, ce=1.0, soft=0.5, soft_weight=weights[1], total=9.0)
    assert poll(run).soft_share() == pytest.approx(share)
    assert (run.last is not None) and run.last.soft == 0.5


def test_the_warm_up_of_the_soft_term_is_seen(tmp_path: Path) -> None:
    new = Log(tmp_path / "new", teacher=TEACHER, of_loss=DKD, soft_warmup=0.05)
    old = Log(tmp_path / "old", teacher=TEACHER, schema=1, soft_warmup=0.05, **DKD_SETTINGS)
    for step in range(1, 5):  # of 200, so that a tenth of them is half of the warm-up
        grown = 16 * (step - 1) / 10
        new.step(step, ce=1.0, soft=0.5, soft_weight=grown, total=1 + grown / 2)
        old.write("step", step, step=step, epoch=1, ce=1.0, kl=0.5, total=1 + grown / 2)
    shares = [read(log).soft_share() for log in (new, old)]
    soft = sum(16 * step / 10 / 2 for step in range(4))
    assert shares == pytest.approx([soft / (4 + soft)] * 2)


def test_what_a_run_writes_is_what_is_read(tmp_path: Path) -> None:
    log = events.EventLog(tmp_path / LOG_NAME)
    assert events.FILE_NAME == LOG_NAME
    log.write("start", model="last_e_nano", total_steps=9)
    log.write("step", step=1, epoch=1, ce=float("nan"), total=float("nan"))
    log.write("end", state="failed", reason="no finite number")
    run = read(log.path)
    assert (run.model, run.step, run.state(), run.bad_lines) == ("last_e_nano", 1, "failed", 0)
    assert run.not_finite[0].not_finite == ["ce", "total"]
    assert run.start is not None
    assert run.start.run_id == log.run_id


@pytest.mark.parametrize("state", ["finished", "stopped", "failed"])
def test_an_end_is_the_state(tmp_path: Path, state: str) -> None:
    assert read(Log(tmp_path / "r").run([50.0]).end(state)).state() == state


def test_running_turns_to_stalled_when_its_own_pace_explains_no_more(tmp_path: Path) -> None:
    run = read(Log(tmp_path / "r").run([50.0], until=40))
    last = BEGAN + 4
    assert run.state(last + 50) == "running"
    assert run.state(last + 61) == "stalled"


def test_a_slow_run_and_an_evaluation_may_be_silent_for_longer(tmp_path: Path) -> None:
    slow = Log(tmp_path / "slow")
    for step in range(1, 40):
        slow.write("step", 600 * step, step=step, epoch=1)  # a minute each
    assert read(slow).state(BEGAN + 60 * 39 + 400) == "running"
    assert read(slow).state(BEGAN + 60 * 39 + 500) == "stalled"
    evaluates = Log(tmp_path / "evaluates").run([50.0], until=45)
    evaluates.epoch(1, 50.0, seconds=100.0)
    evaluates.step(100)  # the second epoch's last step
    assert read(evaluates).state(BEGAN + 10 + 300) == "running"


def test_device_events_are_no_sign_of_progress(tmp_path: Path) -> None:
    log = Log(tmp_path / "r").run([50.0], until=40)
    log.device(10_000)
    run = read(log)
    assert run.state(BEGAN + 1000) == "stalled"
    assert run.devices[-1].devices[0].name == "Tesla T4"


def test_a_run_without_a_start_or_steps_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).touch()
    assert read(tmp_path / LOG_NAME).state() == "waiting"


# --- logs that grow, break and lie ----------------------------------------------------------------


def test_a_growing_log_is_read_piece_by_piece(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    run = read(log)
    for step in (1, 2, 3):
        log.step(step)
        assert poll(run).step == step
    assert not run.poll()


def test_a_half_written_line_waits_for_its_rest(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    run = read(log)
    line = json.dumps({"event": "step", "time": 1.0, "step": 7, "epoch": 1}).encode()
    for part in (line[:20], line[20:33], line[33:]):
        with log.path.open("ab") as file:
            file.write(part)
        assert poll(run).step == 0
    with log.path.open("ab") as file:
        file.write(b"\n")
    assert poll(run).step == 7
    assert run.bad_lines == 0


def test_bytes_of_one_character_may_come_apart(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    run = read(log)
    line = '{"event": "warning", "time": 1.0, "text": "42 °C"}\n'.encode()
    middle = line.index("°".encode()) + 1
    for part in (line[:middle], line[middle:]):
        with log.path.open("ab") as file:
            file.write(part)
        poll(run)
    assert run.warnings[-1].text == "42 °C"


GARBAGE = [
    b"not json",
    b'{"event": "step", "time": 1.0, "step": "seven", "epoch": 1}',
    b'{"event": "step", "time": 1.0, "step": 7}',
    b'{"event": "epoch", "time": NaN, "epoch": 1}',
    b"[1, 2, 3]",
    b'{"no": "event"}',
    b'{"event": 5}',
    b"\xff\xfe\x00\x00",
    b'{"event": "step", "time": 1.0, "step": 7, "epoch": 1',
    b"[" * 5000,
]


@pytest.mark.parametrize("line", GARBAGE)
def test_garbage_is_counted_and_passed_over(tmp_path: Path, line: bytes) -> None:
    log = Log(tmp_path / "r")
    log.step(1)
    with log.path.open("ab") as file:
        file.write(line + b"\n\n")
    log.step(2)
    run = read(log)
    assert (run.step, run.bad_lines) == (2, 1)
    assert run.unread() == ["1 unreadable line skipped"]


def test_half_a_line_of_a_killed_run_costs_no_event_behind_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    log.step(1)
    with log.path.open("ab") as file:
        file.write(b'{"event": "step", "time": 17')
    log.write("resume", 10, step=1, epoch=1)
    log.step(2)
    run = read(log)
    assert (run.step, run.bad_lines, len(run.resumes)) == (2, 1, 1)


def test_a_line_without_an_end_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lastkd.monitor.log.tail.LONGEST_LINE", 1 << 16)
    log = Log(tmp_path / "r")
    with log.path.open("ab") as file:
        file.write(b"x" * (1 << 20))
    run = Run(log.path.parent, log.path)
    for _ in range(40):
        run.poll(1 << 15)
    with log.path.open("ab") as file:
        file.write(b"\n")
    log.step(1)
    assert poll(run).step == 1
    assert run.unread() == ["1 unreadable line skipped"]


def test_a_newer_log_is_read_as_far_as_it_is_understood(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    start = {**log.start, "schema": 3, "new": {"key": 1}}
    log.path.unlink()
    log.write("start", 0, **start)
    log.write("dream", 1, of="sheep")
    log.step(1, mood="good")
    run = read(log)
    assert (run.step, run.bad_lines) == (1, 0)
    assert run.unread() == [
        "written by a newer lastkd (schema 3; known here: 2)",
        "unknown events skipped: dream",
    ]


def test_a_log_that_was_cut_is_read_anew(tmp_path: Path) -> None:
    log = Log(tmp_path / "r").run([50.0], until=40)
    run = read(log)
    log.path.write_text("")
    assert poll(run).step == 0
    assert run.start is None


def test_a_log_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    old = Log(tmp_path / "r").run([50.0, 60.0])
    run = read(old)
    new = Log(tmp_path / "new", "last_e_base").run([70.0], until=50)
    new.path.replace(old.path)
    poll(run)
    assert (run.model, run.step, run.best) == ("last_e_base", 50, (1, 70.0))


def test_a_log_that_was_cut_and_grew_past_the_old_place_is_read_anew(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    log.step(1)
    run = read(log)
    size = log.path.stat().st_size
    text = log.path.read_text().replace('"r0000', '"s0000')
    log.path.write_text(text)  # the same inode, another run id
    for step in range(1, 30):
        log.step(step, ce=9.0)
    assert log.path.stat().st_size > size
    poll(run)
    assert run.step == 29
    assert run.series.points("ce")[0][1] == 9.0


def test_a_log_that_was_cut_behind_its_first_line_is_noticed_too(tmp_path: Path) -> None:
    log = Log(tmp_path / "r")
    whole = log.path.read_bytes()
    for step in range(1, 20):
        log.step(step)
    run = read(log)
    log.path.write_bytes(whole)  # the same run id
    for step in range(1, 60):
        log.step(step, ce=9.0)
    assert poll(run).step == 59
    assert {mean for _, mean, _, _ in run.series.points("ce")} == {9.0}


def test_a_second_start_in_one_file_begins_a_new_run(tmp_path: Path) -> None:
    log = Log(tmp_path / "r").run([50.0, 60.0])
    log.write("start", 0, **{**log.start, "run_id": "other"})
    run = read(log)
    assert (run.step, run.best) == (0, None)


def test_a_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "r" / LOG_NAME).mkdir(parents=True)
    run = read(tmp_path / "r" / LOG_NAME)
    assert run.unread() == ["cannot be read: Is a directory"]


def test_redone_steps_and_epochs_replace_the_first_ones(tmp_path: Path) -> None:
    log = Log(tmp_path / "r").run([50.0, 60.0], until=100)
    log.write("resume", 101, step=60, epoch=2)
    for step in range(65, 105, 5):
        log.step(step, ce=9.0, redone=step <= 100)
    log.epoch(2, 61.0)
    run = read(log)
    points = dict(run.series_means("ce"))
    assert len(points) == 20  # one for each step number
    assert [points[step] for step in (65, 80, 100)] == [9.0] * 3
    assert points[60] < 9.0
    assert run.accuracies == [(1, 50.0), (2, 61.0)]


def test_a_run_that_goes_on_has_no_end(tmp_path: Path) -> None:
    log = Log(tmp_path / "r").run([50.0], until=40)
    log.end("stopped", reason="time budget")
    run = read(log)
    assert run.state() == "stopped"
    log.write("resume", 50, step=40, epoch=1)
    assert poll(run).state(BEGAN + 10) == "running"


# --- long logs ------------------------------------------------------------------------------------


def test_a_long_log_is_sampled_and_nothing_but_steps_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path / "r", epochs=40, teacher=TEACHER)
    log.run([50.0 + epoch for epoch in range(40)], every=1)
    log.step(2001, ce=None, total=None, not_finite=["ce", "total"])
    log.step(2002)
    whole = read(log)
    monkeypatch.setattr(run_module, "MAX_WHOLE", log.path.stat().st_size // 4 + 1)
    run = Run(log.path.parent, log.path)
    while run.poll(1 << 16) or run.pending:
        pass
    assert run.stride == 4
    assert "one in 4 of its older step events" in run.unread()[0]
    assert run.accuracies == whole.accuracies
    assert len(run.devices) == len(whole.devices) == 20
    assert (run.step, run.not_finite[0].step) == (2002, 2001)
    taken = sum(run.series.channels["student_ms"].count)
    assert 450 < taken < 700
    log.step(2003)
    log.step(2004)  # what comes later is read in full
    assert poll(run).step == 2004
    assert sum(run.series.channels["student_ms"].count) == taken + 2


def test_the_memory_of_a_run_does_not_grow_with_its_steps() -> None:
    series = Series(("a", "b"), capacity=128)

    def add(first: int, count: int) -> None:
        for at in range(first, first + count, 500):
            steps = list(range(at, at + 500))
            series.add(steps, [[math.sin(step) for step in steps]] * 2)

    add(1, 10_000)
    tracemalloc.start()
    add(10_001, 100_000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 50_000
    assert 64 <= len(series.keys) <= 128
    lows = [low for _, _, low, _ in series.points("a")]
    assert max(lows) < -0.99  # no extreme is lost


def test_a_series_keeps_means_and_extremes_while_its_buckets_widen() -> None:
    series = Series(("a",), capacity=8)
    values = [float(n * n % 17) for n in range(1, 101)]
    for step, value in enumerate(values, start=1):
        series.add([step], [[value]])
    assert series.width == 16
    for key, (_, mean, low, high) in zip(series.keys, series.points("a"), strict=True):
        inside = [v for step, v in enumerate(values, 1) if step // 16 == key]
        assert (mean, low, high) == (
            pytest.approx(sum(inside) / len(inside)),
            min(inside),
            max(inside),
        )
