"""The report as one self-contained page: tables, and charts that are drawn from embedded data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lastkd.files.atomic import write_text
from lastkd.report.clips import ClipShelf, open_shelves
from lastkd.report.columns import HEADER, cells, softness_table, summary_table
from lastkd.report.markdown import INTERVAL, chosen, notes
from lastkd.report.summary import Line
from lastkd.report.table import Row, Section
from lastkd.runs.log import Run
from lastkd.version import __version__

TEMPLATE = Path(__file__).parent / "template"
MAX_POINTS = 160
"""Points of a loss curve; more steps are averaged."""


def write_page(
    path: Path, sections: Sequence[Section], lines: Sequence[Line], stores: Sequence[Path]
) -> int:
    """Writes the page; returns the number of clips on it.

    Args:
        path: the file.
        sections: the sets.
        lines: the summary over them.
        stores: of the sets whose clips are shown.

    Raises:
        UserError: a store can't be read or belongs to no section, or the file can't be written.
    """
    shelves = open_shelves(sections, stores) if stores else {}
    blocks = [section_to_dict(section, shelves.get(section.name)) for section in sections]
    html = render(sections, lines, blocks)
    write_text(path, html)
    return sum(len(shelf.skeletons) for shelf in shelves.values())


def render(
    sections: Sequence[Section], lines: Sequence[Line], blocks: Sequence[dict[str, Any]]
) -> str:
    """The page as HTML.

    Args:
        blocks: `section_to_dict` of each section.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["source"] = lambda name: (TEMPLATE / name).read_text(encoding="utf-8")
    summary = summary_table(sections, lines) if len(sections) > 1 and lines else None
    data = {"sections": blocks, "lines": [line_to_dict(line, sections) for line in lines]}
    return environment.get_template("page.html").render(
        version=__version__,
        summary=summary,
        interval=INTERVAL,
        header=HEADER,
        sections=[(section, block) for section, block in zip(sections, blocks, strict=True)],
        cells=cells,
        chosen=chosen,
        notes=lambda section: [note for row in section.rows for note in notes(row, section.split)],
        softness=softness_table,
        # browsers end a script at the first "</", even inside a string
        data=json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )


def line_to_dict(line: Line, sections: Sequence[Section]) -> dict[str, Any]:
    """One student's gains over the sets, for the chart of the summary."""
    return {
        "title": f"{line.model}, {line.method}",
        "mean": line.gain and line.gain.gain,
        "low": line.gain and line.gain.low,
        "high": line.gain and line.gain.high,
        "sets": [
            {
                "name": section.name,
                "gain": line.set_gains.get(section.name),
                "seeds": row.gains if (row := line.rows.get(section.name)) else {},
            }
            for section in sections
        ],
    }


def section_to_dict(section: Section, shelf: ClipShelf | None) -> dict[str, Any]:
    """The charts of one set."""
    teacher = next((run for run in section.teachers if run.predictions is not None), None)
    return {
        "chooser": section.chooser,
        "students": [
            student_to_dict(row, shelf, teacher)
            for row in section.rows
            if row.standalone or row.distilled
        ],
        "clips": shelf and shelf.to_dict(),
    }


def student_to_dict(row: Row, shelf: ClipShelf | None, teacher: Run | None) -> dict[str, Any]:
    """The charts of one student."""
    cards = shelf.cards(row) if shelf else []
    return {
        "title": f"{row.model}, {row.method if row.distilled else 'standalone'}",
        "accuracy": {
            "teacher": row.teacher_top1,
            "curves": [
                {
                    "kind": which,
                    "seed": run.seed,
                    "points": [[e["epoch"], round(e["top1"], 3)] for e in run.epochs.values()],
                }
                for which in ("standalone", "distilled")
                for run in getattr(row, which)
            ],
        },
        "loss": loss_to_list(row.distilled[0]) if row.distilled else [],
        "classes": classes_to_list(row),
        "confusion": confusions_to_dict(row, teacher),
        "cards": cards,
    }


def loss_to_list(run: Run) -> list[dict[str, Any]]:
    """The unweighted parts of a run's loss over its steps, at most `MAX_POINTS` each."""
    curves = []
    for key, name in (("ce", "CE"), ("soft", run.soft_title), ("total", "total")):
        points = [(step, e[key]) for step, e in run.steps.items() if e.get(key) is not None]
        if points:
            parts = np.array_split(np.array(points, float), min(MAX_POINTS, len(points)))
            means = [part.mean(axis=0) for part in parts]
            curves.append(
                {"name": name, "points": [[round(x), float(f"{y:.5g}")] for x, y in means]}
            )
    return curves


def classes_to_list(row: Row) -> list[dict[str, Any]]:
    """Accuracy on each class in percent, alone and distilled, the largest gain first."""
    alone, distilled = row.by_class("standalone"), row.by_class("distilled")
    if alone is None or distilled is None:
        return []
    names = row.class_names
    classes = [
        {
            "name": names[k] if k < len(names) else f"class {k}",
            "standalone": round(float(before), 2),
            "distilled": round(float(after), 2),
            "gain": round(float(after - before), 2),
        }
        for k, (before, after) in enumerate(zip(alone, distilled, strict=True))
        if np.isfinite(before) and np.isfinite(after)
    ]
    return sorted(classes, key=lambda one: -one["gain"])


def confusions_to_dict(row: Row, teacher: Run | None) -> dict[str, Any] | None:
    """Clips by true and predicted class, summed over seeds; None without predictions."""
    matrices = {}
    runs = {"standalone": row.standalone, "distilled": row.distilled}
    for which, group in {**runs, "teacher": (teacher,) if teacher else ()}.items():
        predictions = [run.predictions for run in group if run.predictions is not None]
        if predictions:
            matrices[which] = (
                np.sum([prediction.confusion for prediction in predictions], axis=0)
                .ravel()
                .tolist()
            )
    if "standalone" not in matrices or "distilled" not in matrices:
        return None
    return {"classes": list(row.class_names), "matrices": matrices}
