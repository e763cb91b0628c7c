"""The event log: whole lines of strict JSON, only ever appended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lastkd.errors import UserError
from lastkd.runs.events import EventLog, read_events


def test_events_come_back_in_order(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("start", model="last_e_nano")
    log.write("step", step=1, ce=0.5)
    log.close()
    start, step = read_events(tmp_path / "events.jsonl")
    assert (start["event"], start["schema"], len(start["run_id"])) == ("start", 2, 32)
    assert (step["event"], step["step"], step["ce"]) == ("step", 1, 0.5)
    assert step["time"] >= start["time"]


def test_numbers_that_are_not_finite_are_null_and_named(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.write("step", ce=float("nan"), nested={"a": [1.0, float("inf")]}, where=Path("x"))
    log.close()
    text = (tmp_path / "events.jsonl").read_text()
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert record["ce"] is None
    assert record["nested"] == {"a": [1.0, None]}
    assert record["not_finite"] == ["ce", "nested.a[1]"]
    assert record["where"] == "x"


def test_a_half_written_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "start"}\n{"event": "st')
    assert [event["event"] for event in read_events(path)] == ["start"]


def test_a_line_that_is_not_an_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "start"}\ngarbage\n')
    with pytest.raises(UserError, match="line 2"):
        list(read_events(path))


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    for name in ("start", "end"):
        log = EventLog(tmp_path / "events.jsonl")
        log.write(name)
        log.close()
    assert [e["event"] for e in read_events(tmp_path / "events.jsonl")] == ["start", "end"]


def test_a_line_left_half_written_by_a_kill_is_cut_off_before_the_log_continues(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.jsonl"
    whole = b'{"event": "start", "run_id": "one"}\n'
    for left in (b'{"event": "st', b"\0\0\0\0", b'{"event"\n{"ev', b"\0\0\n"):
        path.write_bytes(whole + left)
        log = EventLog(path)
        log.write("resume", step=0)
        log.close()
        assert path.read_bytes().startswith(whole)
        start, resume = read_events(path)
        assert (resume["event"], resume["run_id"]) == ("resume", start["run_id"])


def test_events_of_a_step_that_was_recorded_before_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = EventLog(path)
    first.write("start")
    for step in (1, 2, 3):
        first.write("step", step=step)
    first.close()
    again = EventLog(path)
    for step in (3, 4):
        again.write("step", step=step)
    again.write("epoch", step=3)  # no epoch was recorded yet
    again.write("checkpoint", step=3)
    again.close()
    marked = [(e["event"], e["step"]) for e in read_events(path) if e.get("redone")]
    assert marked == [("step", 3)]
