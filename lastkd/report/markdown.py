"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lastkd.report.columns import HEADER, MISSING, cells, softness_table, summary_table
from lastkd.report.reference import EFFICIENT_GCN, EFFICIENT_GCN_SOURCE, NTU60_XSUB
from lastkd.report.summary import Line
from lastkd.report.table import Row, Section
from lastkd.runs.log import PREDICTIONS, Run

INTERVAL = (
    "Each cell compares the last epochs of the runs that share a seed: standalone to distilled "
    "top-1 in percent, the mean gain in points and its standard deviation over seeds. The mean "
    "gain is that of the sets' means, so that each set counts the same; its 95 % interval is "
    "Student's t over these means (over the seeds where there is one set). It covers the choice of "
    "sets, seeds and test clips, and says what to expect of another set like these. The gap closed "
    "is the gain as a share of the distance from the standalone students to their teachers, both "
    "summed over the sets."
)


def markdown(
    sections: Sequence[Section],
    lines: Sequence[Line],
    figures: dict[str, list[Path]],
) -> str:
    """The whole report.

    Args:
        sections: the sets.
        lines: the summary over them.
        figures: by the section's name, or "" for the summary, the files to show.
    """
    text = ["# Experiments", ""]
    if len(sections) > 1 and lines:
        text += ["## Over all sets", "", INTERVAL, ""]
        text += table(*summary_table(sections, lines))
        text += ["", *_images(figures.get("", [])), ""]
    for section in sections:
        text += _section(section, figures.get(section.name, []))
    text += _reference()
    text += _settings([run for section in sections for run in section.runs])
    return "\n".join(text) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _images(files: Sequence[Path]) -> list[str]:
    return [f"![{path.stem}]({path.name})" for path in files]


def chosen(section: Section) -> str:
    """Which part chose the best epochs of a section, as a sentence."""
    if section.chooser == "validation":
        return (
            f"The best epoch was chosen on {section.data['validation']:,} validation clips; the "
            "test part was used once, at the end."
        )
    return "The best epoch was chosen on the test part itself, so it is too optimistic."


def _section(section: Section, figures: Sequence[Path]) -> list[str]:
    text = [f"## {section.name}", ""]
    text += [
        f"{section.description}, one centre view per test clip. Accuracies are top-1 in percent on "
        "the test part at the **last** epoch, which nobody chose, as mean ± standard deviation "
        f"over seeds. {chosen(section)} Gains are in points, with a 95 % interval over the test "
        "clips; p is that of McNemar's exact test for each seed.",
        "",
    ]
    text += [*table(HEADER, map(cells, section.rows)), ""]
    for row in section.rows:
        text += notes(row, section.split)
    teachers = list(_teachers(section))
    if teachers:
        best = f"best, chosen on {section.chooser} (epoch)"
        header = ("teacher, standalone", "parameters", "seed", "last epoch", "top-5", best)
        text += ["", *table(header, teachers)]
    softness = softness_table(section)
    if softness[1]:
        text += ["", "How soft the teacher's labels are, measured before distilling:", ""]
        text += table(*softness)
    return [*text, "", *_images(figures), ""]


def _teachers(section: Section) -> Iterable[list[str]]:
    for run in section.teachers:
        last, best = run.last, run.best
        if last is not None and best is not None:
            yield [
                run.model,
                f"{run.start['parameters']:,}",
                str(run.seed),
                f"{last['top1']:.2f}",
                f"{last['top5']:.2f}",
                f"{best['top1']:.2f} ({best['epoch']})",
            ]


def notes(row: Row, split: str) -> list[str]:
    """What a row is missing and how to get it, and what makes its comparison unfair."""
    if not row.standalone or not row.distilled:
        lacking = [which for which in ("standalone", "distilled") if not getattr(row, which)]
        return [f"- {row.model}: no finished {' and no '.join(lacking)} run."]
    text = []
    if row.differing:
        settings = "; ".join(row.differing)
        text.append(f"- {row.model}, {row.method}: not only the teacher differs ({settings}).")
    if row.gain is None:
        runs = [run for run in row.standalone + row.distilled if run.predictions is None]
        if not runs:
            text.append(f"- {row.model}: no seed is shared by standalone and distilled runs.")
        else:
            folder = runs[0].folder
            text.append(
                f"- {row.model}, {row.method}: no interval, as predictions are missing; make them "
                f"with `lastkd evaluate {folder}/last.safetensors --data DIR --split {split} "
                f"--predictions {folder}/{PREDICTIONS}` for each of its runs."
            )
    return text


def _reference() -> list[str]:
    text = ["## For comparison: NTU RGB+D 60, xsub", ""]
    text += ["What the design expects (estimates, not measurements):", ""]
    expected = (
        [
            student,
            "{}-{}".format(*ranges.standalone),
            "{}-{}".format(*ranges.distilled),
            "+{} to {}".format(*ranges.gain),
        ]
        for student, ranges in NTU60_XSUB.items()
    )
    text += table(("student", "standalone", "distilled", "gain"), expected)
    text += ["", f"Published by others ({EFFICIENT_GCN_SOURCE}):", ""]
    published = (
        [
            model.name,
            f"{model.million_parameters:.2f} M",
            MISSING if model.gflop is None else f"{model.gflop:.2f}",
            str(model.top1),
        ]
        for model in EFFICIENT_GCN
    )
    text += table(("model", "parameters", "GFLOP", "top-1"), published)
    text += [
        "",
        "LAST-E's GFLOP are of one forward pass with 64 frames and 25 joints, counting a "
        "multiply-add as two.",
        "",
    ]
    return text


def _settings(runs: Sequence[Run]) -> list[str]:
    text = ["## To repeat a run", ""]
    text += [
        "`accelerate launch -m lastkd.train --config FOLDER/settings.yaml --run NEW` (with a "
        "teacher: `lastkd.distill`).",
        "",
    ]
    header = ("folder", "model", "method", "seed", "epochs", "state", "data", "teacher")
    return [*text, *table((*header, "lastkd", "torch"), map(_run_cells, runs)), ""]


def _run_cells(run: Run) -> list[str]:
    start, teacher = run.start, run.teacher
    versions = start["versions"]
    return [
        str(run.folder),
        run.model,
        run.method,
        str(run.seed),
        f"{max(run.epochs, default=0)} of {start['settings']['epochs']}",
        run.state,
        start["data"]["hash"][:12],
        "" if teacher is None else f"{teacher['model']} {teacher['hash'][:12]}",
        versions["lastkd"],
        versions["torch"],
    ]
