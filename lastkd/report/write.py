"""The report's files: Markdown for people, CSV and LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from lastkd.report.reference import (
    EFFICIENT_GCN,
    EFFICIENT_GCN_SOURCE,
    GFLOP,
    NTU60_XSUB,
)
from lastkd.report.table import Row, make_rows, teachers
from lastkd.runs.log import PREDICTIONS, Run

MISSING = "missing"


def sections(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that may be compared with each other: those of the same data and split."""
    places = sorted({run.place for run in runs}, key=lambda place: (place[1], place[0]))
    return [[run for run in runs if run.place == place] for place in places]


def markdown(runs: Sequence[Run], figures: dict[str, list[Path]]) -> str:
    """The whole report.

    Args:
        figures: by the split and data they are of (`title`), the files to show.
    """
    text = ["# Experiments", ""]
    for own in sections(runs):
        text += _section(own, figures.get(title(own), []))
    text += _reference()
    text += _remake(runs)
    return "\n".join(text) + "\n"


def title(runs: Sequence[Run]) -> str:
    """What a section is of."""
    data = runs[0].start["data"]
    return f"{data.get('name') or data['source']}, {runs[0].place[1]} ({runs[0].place[0][:8]})"


def _section(runs: Sequence[Run], figures: Sequence[Path]) -> list[str]:
    data, split = runs[0].start["data"], runs[0].place[1]
    text = [f"## {title(runs)}", ""]
    text += [
        f"{data['train']:,} training and {data['test']:,} test clips of {data['classes']} classes, "
        "one centre view a test clip. Accuracies are top-1 in percent at the **last** epoch, which "
        "nobody chose, as mean ± standard deviation over seeds. "
        f"{_choice(runs, split)} Gains are in points, with a 95 % interval "
        "over the test clips; p is McNemar's exact test, seed by seed.",
        "",
    ]
    table = make_rows(runs)
    text += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    text += ["| " + " | ".join(cells(row)) + " |" for row in table]
    text.append("")
    for row in table:
        text += _lacks(row)
    found = teachers(runs)
    if found:
        text += ["", "| teacher, standalone | parameters | seed | last | top-5 | best (epoch) |"]
        text += ["|---|---|---|---|---|---|"]
        for run in found:
            last, best = run.last, run.best
            if last is not None and best is not None:
                text.append(
                    f"| {run.model} | {run.start['parameters']:,} | {run.seed} | "
                    f"{last['top1']:.2f} | {last['top5']:.2f} | {best['top1']:.2f} "
                    f"({best['epoch']}) |"
                )
    text += ["", *(f"![{path.stem}]({path.name})" for path in figures), ""]
    return text


def _choice(runs: Sequence[Run], split: str) -> str:
    """Which part chose the best epochs, in a sentence."""
    choosers = {run.chooser for run in runs}
    if choosers == {"validation"}:
        return (
            "The best epoch was chosen on a validation part kept out of training; the test part "
            "was used once, at the end."
        )
    of_all = "The best epoch was chosen" if len(choosers) == 1 else "Best epochs were also chosen"
    return f"{of_all} on the test part of {split} itself, so its accuracy is optimistic."


HEADER = (
    "student",
    "parameters",
    "GFLOP at 64 frames, 25 joints",
    "method",
    "seeds",
    "standalone",
    "distilled",
    "gain (95 %)",
    "p",
    "top-5 standalone",
    "top-5 distilled",
    "best standalone",
    "best distilled",
)


def cells(row: Row) -> list[str]:
    """One row of the table, as text."""
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
        *(str(row.figure(which, "best", "top1")) for which in ("standalone", "distilled")),
    ]


def _lacks(row: Row) -> list[str]:
    """What would fill a row's gaps."""
    if not row.standalone or not row.distilled:
        lacking = [k for k in ("standalone", "distilled") if not getattr(row, k)]
        return [f"- {row.model}: no finished {' and no '.join(lacking)} run."]
    if row.gain is None:
        runs = [run for run in row.standalone + row.distilled if run.predictions is None]
        if not runs:
            return [f"- {row.model}: no seed is shared by standalone and distilled runs."]
        folder = runs[0].folder
        return [
            f"- {row.model}, {row.method}: no interval, as predictions are missing; make them with "
            f"`lastkd evaluate {folder}/last.safetensors --data DIR --split {runs[0].place[1]} "
            f"--predictions {folder}/{PREDICTIONS}` for each of its runs."
        ]
    return []


def _reference() -> list[str]:
    text = ["## Beside it: NTU RGB+D 60, xsub", ""]
    text += ["What the design expects (estimates, none measured):", ""]
    text += ["| student | standalone | distilled | gain |", "|---|---|---|---|"]
    for student, ((low, high), (low_taught, high_taught), (least, most)) in NTU60_XSUB.items():
        ranges = f"{low}-{high} | {low_taught}-{high_taught} | +{least} to {most}"
        text.append(f"| {student} | {ranges} |")
    text += ["", f"What others published ({EFFICIENT_GCN_SOURCE}):", ""]
    text += ["| model | parameters | GFLOP | top-1 |", "|---|---|---|---|"]
    for model in EFFICIENT_GCN:
        flop = MISSING if model.gflop is None else f"{model.gflop:.2f}"
        text.append(f"| {model.name} | {model.million_parameters:.2f} M | {flop} | {model.top1} |")
    text += [
        "",
        "LAST-E's GFLOP are of one forward pass at 64 frames and 25 joints, a multiply-add counted "
        "as two.",
        "",
    ]
    return text


def _remake(runs: Sequence[Run]) -> list[str]:
    text = ["## To make a row again", ""]
    text += [
        "`accelerate launch -m lastkd.train --config FOLDER/settings.yaml --run NEW` (with a "
        "teacher: `lastkd.distill`).",
        "",
        "| folder | model | method | seed | epochs | state | data | teacher | lastkd | torch |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        start = run.start
        taught = run.teacher
        teacher = "" if taught is None else f"{taught['model']} {taught['hash'][:12]}"
        versions = start["versions"]
        done = max(run.epochs, default=0)
        text.append(
            f"| {run.folder} | {run.model} | {run.method} | {run.seed} | "
            f"{done} of {start['settings']['epochs']} | {run.state} | "
            f"{start['data']['hash'][:12]} | {teacher} | {versions['lastkd']} | "
            f"{versions['torch']} |"
        )
    return [*text, ""]


def as_csv(runs: Sequence[Run]) -> str:
    """The tables of all sections, the section in the first column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "split", *HEADER])
    for own in sections(runs):
        for row in make_rows(own):
            writer.writerow([own[0].place[0], own[0].place[1], *cells(row)])
    return out.getvalue()


def as_latex(runs: Sequence[Run]) -> str:
    """A `tabular` for each section (package booktabs)."""
    columns = (0, 1, 2, 3, 5, 6, 7)
    text = []
    for own in sections(runs):
        text += [f"% {title(own)}", r"\begin{tabular}{lrrlrrr}", r"\toprule"]
        text += [" & ".join(_tex(HEADER[c]) for c in columns) + r" \\", r"\midrule"]
        for row in make_rows(own):
            shown = cells(row)
            text.append(" & ".join(_tex(shown[c]) for c in columns) + r" \\")
        text += [r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join(text)


def _tex(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, "\\" + character)
    return text.replace("±", r"$\pm$")
