"""The report's folder: Markdown, CSV, LaTeX and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.report.csv_latex import gains_csv, summary_latex, tables_csv, tables_latex
from lastkd.report.markdown import markdown
from lastkd.report.summary import Line
from lastkd.report.table import Section


def write_folder(
    out: Path, sections: Sequence[Section], lines: Sequence[Line], *, figures: bool
) -> int:
    """Writes the report into a folder, which is made; returns the number of figures.

    Raises:
        UserError: the folder can't be made, or figures need matplotlib.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); choose another") from None
    drawn: dict[str, list[Path]] = {}
    if figures:
        from lastkd.report.figures import draw_section, draw_summary

        drawn = {section.name: draw_section(section, out) for section in sections}
        drawn[""] = draw_summary(sections, lines, out) if len(sections) > 1 else []
    texts = {
        "07_Experiments.md": markdown(sections, lines, drawn),
        "table.csv": tables_csv(sections),
        "table.tex": tables_latex(sections),
        "gains.csv": gains_csv(sections, lines),
    }
    if len(sections) > 1 and lines:
        texts["gains_over_sets.tex"] = summary_latex(sections, lines)
    for name, text in texts.items():
        write_text(out / name, text)
    return sum(map(len, drawn.values()))
