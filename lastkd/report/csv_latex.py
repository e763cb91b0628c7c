"""The report's tables as CSV and as LaTeX (package booktabs)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from lastkd.report.columns import HEADER, cells, paired, summary_table
from lastkd.report.summary import Line
from lastkd.report.table import Section


def tables_csv(sections: Sequence[Section]) -> str:
    """The tables of all sets, with data and split in the first columns."""
    rows = [
        [section.data["hash"], section.split, *cells(row)]
        for section in sections
        for row in section.rows
    ]
    return _csv(["data", "split", *HEADER], rows)


def gains_csv(sections: Sequence[Section], lines: Sequence[Line]) -> str:
    """Accuracies and gains of each set, student and seed: the numbers behind the summary."""
    header = ["set", "data", "split", "student", "method", "seed"]
    header += ["standalone", "distilled", "gain", "teacher"]
    rows = []
    for line in lines:
        for section in sections:
            row = line.rows.get(section.name)
            if row is None:
                continue
            alone, distilled = paired(row, "standalone"), paired(row, "distilled")
            for number, (seed, gain) in enumerate(row.gains.items()):
                teacher = "" if row.teacher_top1 is None else f"{row.teacher_top1:.2f}"
                values = (alone.values[number], distilled.values[number], gain)
                known = [section.name, section.data["hash"], section.split, row.model, row.method]
                rows.append([*known, str(seed), *(f"{value:.2f}" for value in values), teacher])
    return _csv(header, rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def tables_latex(sections: Sequence[Section]) -> str:
    """A `tabular` for each set."""
    columns = (0, 1, 2, 3, 5, 6, 7)
    text = []
    for section in sections:
        rows = [[cells(row)[c] for c in columns] for row in section.rows]
        text += [
            f"% {section.name}: {section.description}",
            *_tabular("lrrlrrr", [HEADER[c] for c in columns], rows),
        ]
    return "\n".join(text)


def summary_latex(sections: Sequence[Section], lines: Sequence[Line]) -> str:
    """A `tabular` with a row for each set and a column for each student, and the means below."""
    header, rows = summary_table(sections, lines)
    return "\n".join(_tabular("l" + "r" * len(lines), header, rows))


def _tabular(columns: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    text = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(header), r"\midrule"]
    text += [_tex_row(row) for row in rows]
    return [*text, r"\bottomrule", r"\end{tabular}", ""]


def _tex_row(row: Sequence[str]) -> str:
    return " & ".join(map(_tex, row)) + r" \\"


def _tex(text: str) -> str:
    for character in "_%&#":
        text = text.replace(character, "\\" + character)
    return text.replace("±", r"$\pm$")
