"""How far a teacher is ahead of a student's standalone run, by logs and checkpoints alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_logs import SMALL_SET, Log

from lastkd.runs.log import Run
from lastkd.runs.standalone import LEAST_LEAD, Lead

TEACHER = {"split": "xsub", "top1": 90.0, "clips": 40}


def standalone(folder: Path, *, validation: bool = False) -> Run:
    data = {**SMALL_SET, "validation": 16, "validation_hash": "v"} if validation else SMALL_SET
    log = Log(folder, data=data)
    for epoch, top1 in ((1, 70.0), (2, 86.0)):
        log.epoch(epoch, top1, clips=16 if validation else 40)
    return Run.read(folder)


def test_the_lead_is_over_the_last_epoch_of_the_standalone_run(tmp_path: Path) -> None:
    lead = Lead.of(standalone(tmp_path / "alone"), TEACHER)
    assert lead == Lead(str(tmp_path / "alone"), "test", teacher=90.0, standalone=86.0)
    assert lead is not None and not lead.warnings()
    assert "(+4.0)" in str(lead)


def test_with_a_validation_part_both_are_measured_on_it(tmp_path: Path) -> None:
    teacher = {**TEACHER, "validation": {"top1": 88.0, "clips": 16}}
    lead = Lead.of(standalone(tmp_path / "alone", validation=True), teacher)
    assert lead is not None
    assert (lead.part, lead.points) == ("validation", pytest.approx(2.0))


@pytest.mark.parametrize(
    "teacher", [{}, {**TEACHER, "split": "xview"}, {**TEACHER, "clips": 3}, {"split": "xsub"}]
)
def test_accuracies_of_other_clips_are_not_compared(
    tmp_path: Path, teacher: dict[str, object]
) -> None:
    assert Lead.of(standalone(tmp_path / "alone"), teacher) is None


def test_a_teacher_that_is_hardly_ahead_is_a_warning() -> None:
    barely = Lead("runs/nano", "test", teacher=92.5, standalone=92.5 - LEAST_LEAD + 0.1)
    assert "is 3.9 points ahead of the student alone" in str(barely.warnings())
    behind = Lead("runs/nano", "test", teacher=80.0, standalone=84.0)
    assert "is 4.0 points behind the student alone" in str(behind.warnings())
