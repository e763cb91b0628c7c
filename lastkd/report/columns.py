"""The columns of the report's tables, the same in Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Sequence

from lastkd.report.reference import GFLOP
from lastkd.report.summary import HARM, Line
from lastkd.report.table import Mean, Row, Section

MISSING = "missing"

HEADER = (
    "student",
    "parameters",
    "GFLOP at 64 frames, 25 joints",
    "method",
    "seeds",
    "standalone, last epoch",
    "distilled, last epoch",
    "gain (95 %)",
    "p",
    "top-5 standalone",
    "top-5 distilled",
    "best chosen on",
    "best standalone",
    "best distilled",
)


def cells(row: Row) -> list[str]:
    """One student's row of a set's table, a text for each column of `HEADER`."""
    if row.gain is not None:
        gain = str(row.gain)
    else:
        gain = MISSING if row.mean_gain is None else f"{row.mean_gain:+.2f} (no interval)"
    tests = [f"{compared.p_value:.2g}" for compared in row.by_seed.values()]
    return [
        row.model,
        MISSING if row.parameters is None else f"{row.parameters:,}",
        f"{GFLOP[row.model]:.3f}" if row.model in GFLOP else "not counted",
        row.method,
        f"{len(row.standalone)} / {len(row.distilled)}",
        *(str(row.figure(which, "last", "top1")) for which in ("standalone", "distilled")),
        gain,
        ", ".join(tests) or MISSING,
        *(str(row.figure(which, "last", "top5")) for which in ("standalone", "distilled")),
        row.chooser or MISSING,
        *(str(row.figure(which, "best", "top1")) for which in ("standalone", "distilled")),
    ]


def summary_table(
    sections: Sequence[Section], lines: Sequence[Line]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table over all sets: a row for each set, and below them the means."""
    header = ["set", *(f"{line.model}, {line.method}" for line in lines)]
    rows = [
        [section.name, *(set_cell(line.rows.get(section.name)) for line in lines)]
        for section in sections
    ]
    rows.append(["mean gain (95 %)", *(str(line.gain or MISSING) for line in lines)])
    gains = [line.set_gains.values() for line in lines]
    rows.append(
        ["sets that gained", *(f"{sum(g > 0 for g in one)} of {len(one)}" for one in gains)]
    )
    rows.append([f"sets below {HARM:+g}", *(", ".join(line.harmed) or "none" for line in lines)])
    closed = [line.gap_closed for line in lines]
    shares = [MISSING if share is None else f"{100 * share:.0f} %" for share in closed]
    return header, [*rows, ["gap to the teacher closed", *shares]]


def set_cell(row: Row | None) -> str:
    """Accuracies and gain of one student on one set, over the seeds that have both runs."""
    if row is None or not row.gains:
        return MISSING
    gains = Mean(tuple(row.gains.values()))
    alone, distilled = (paired(row, which) for which in ("standalone", "distilled"))
    spread = "" if gains.deviation is None else f" ± {gains.deviation:.2f}"
    return f"{alone.mean:.2f} to {distilled.mean:.2f}: {gains.mean:+.2f}{spread}"


def paired(row: Row, which: str) -> Mean:
    """Top-1 at the last epoch of the seeds that have both a standalone and a distilled run."""
    runs = {run.seed: run.last for run in getattr(row, which)}
    events = [runs[seed] for seed in row.gains]
    return Mean(tuple(float(event["top1"]) for event in events if event is not None))


SOFTNESS = (
    ("tau", "tau", "{:g}", 1),
    ("logit scale", "scale", "{:.1f}", 1),
    ("top probability", "top", "{:.2f}", 1),
    ("entropy, % of uniform", "entropy", "{:.0f}", 100),
    ("labels right, %", "agreement", "{:.0f}", 1),
    ("soft share of the first gradient, %", "share", "{:.0f}", 100),
)
"""Columns of the softness of labels: title, key in the start event, format, unit."""


def softness_table(section: Section) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of soft labels: a row for each distilled run that has them."""
    header = ["student", "method", "seed", *(title for title, *_ in SOFTNESS), "options to try"]
    rows = []
    for row in section.rows:
        for run in row.distilled:
            if measured := run.start.get("softness"):
                values = [
                    MISSING if measured.get(key) is None else form.format(measured[key] * unit)
                    for _, key, form, unit in SOFTNESS
                ]
                rows.append([row.model, row.method, str(run.seed), *values, measured["advice"]])
    return header, rows
