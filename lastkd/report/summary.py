"""Gains over several sets and seeds: one line for each student and way of distilling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lastkd.evaluation.statistics import SetGain, gain_over_sets
from lastkd.report.table import Row, Section

HARM = -1.0
"""A mean gain in points below which distilling counts as harmful on a set."""


@dataclass(frozen=True)
class Line:
    """One student on all sets.

    Attributes:
        model: the student's name.
        method: the loss; with its settings where a set has several methods with this loss.
        rows: by the set's name, the student's row there.
    """

    model: str
    method: str
    rows: dict[str, Row]

    @cached_property
    def gain(self) -> SetGain | None:
        """Over the sets where some seed has both runs; None where no set has."""
        gains = [list(row.gains.values()) for row in self.rows.values() if row.gains]
        return gain_over_sets(gains) if gains else None

    @property
    def set_gains(self) -> dict[str, float]:
        """By set, the mean gain over its seeds, in points."""
        return {
            name: sum(row.gains.values()) / len(row.gains)
            for name, row in self.rows.items()
            if row.gains
        }

    @property
    def harmed(self) -> list[str]:
        """The sets whose mean gain is below `HARM`."""
        return [name for name, gain in self.set_gains.items() if gain < HARM]

    @property
    def gap_closed(self) -> float | None:
        """The gain as a share of the distance from the standalone students to their teachers.

        Both are summed over the sets, so that a set without a distance doesn't decide. None if the
        teachers aren't better than the standalone students overall.
        """
        gained = distance = 0.0
        for name, gain in self.set_gains.items():
            row = self.rows[name]
            teacher, alone = row.teacher_top1, row.figure("standalone", "last", "top1").mean
            if teacher is not None and alone is not None:
                gained += gain
                distance += teacher - alone
        return gained / distance if distance > 0 else None


def summarise(sections: Sequence[Section]) -> list[Line]:
    """The lines of all students that are distilled somewhere.

    Runs with the same loss share a line, because alpha and tau may be chosen for each set. Where
    one set has several methods with a loss, choosing among them would be a choice on the test part:
    every method then has its own line.
    """
    rows = [(section.name, row) for section in sections for row in section.rows if row.distilled]
    crowded = {
        (row.model, _loss(row))
        for number, (name, row) in enumerate(rows)
        for other_name, other in rows[:number]
        if (name, row.model, _loss(row)) == (other_name, other.model, _loss(other))
    }
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for name, row in rows:
        method = row.method if (row.model, _loss(row)) in crowded else _loss(row)
        lines.setdefault((row.model, method), {})[name] = row
    models = list(dict.fromkeys(row.model for section in sections for row in section.rows))
    ordered = sorted(lines.items(), key=lambda line: (models.index(line[0][0]), line[0][1]))
    return [Line(model, method, by_set) for (model, method), by_set in ordered]


def _loss(row: Row) -> str:
    return row.method.partition(",")[0]


def choosers(sections: Sequence[Section]) -> str:
    """The part that the best epochs were chosen on, as text."""
    parts = sorted({section.chooser for section in sections})
    return " or ".join(f"the {part} part" for part in parts)
