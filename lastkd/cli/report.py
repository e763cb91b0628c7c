"""lastkd report: tables, figures and a page from runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.runs.events import LAST

if TYPE_CHECKING:
    from lastkd.runs.log import Run


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, help="Folder for tables and figures.")
@click.option("--html", "page", type=PATH, help="Write one self-contained page into this file.")
@click.option(
    "--data",
    type=PATH,
    multiple=True,
    help="Store of the runs; repeat for several. Makes missing predictions, kept in run folders.",
)
@click.option(
    "--with-clips",
    is_flag=True,
    help="Show on the page moving skeletons of clips that distilling mended or broke.",
)
@click.option("--figures/--no-figures", default=True, help="Figures in --out need lastkd[plots].")
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    page: Path | None,
    data: tuple[Path, ...],
    with_clips: bool,
    figures: bool,
) -> None:
    """Compares distilled with standalone students, from the run folders below RUNS.

    \b
      lastkd report runs --data data/ntu60 --out report
      lastkd report runs/utd runs/florence --html report.html
      lastkd report runs --data data/utd --html report.html --with-clips

    --out gets 07_Experiments.md with tables, figures and settings, and the tables as CSV and LaTeX.
    Runs on several sets also get a table over all sets, with a 95 % interval over sets and seeds.
    --html gets the same tables with curves, confusions and classes to explore, in one file that
    needs no network. Intervals over test clips need each run's predictions (predictions.npz in its
    folder); --data makes missing ones from last.safetensors.
    """
    from lastkd.report.folder import write_folder
    from lastkd.report.page import write_page
    from lastkd.report.summary import summarise
    from lastkd.report.table import make_sections
    from lastkd.runs.log import read_runs

    if out is None and page is None:
        raise UserError("name what to write: --out FOLDER for tables and figures, or --html FILE")
    if with_clips and (page is None or not data):
        raise UserError(
            "--with-clips needs --html FILE to show the clips and --data STORE for them"
        )

    def read() -> list[Run]:
        by_folder = {run.folder.resolve(): run for folder in runs for run in read_runs(folder)}
        return list(by_folder.values())

    loaded = read()
    if data and make_predictions(loaded, data):
        loaded = read()
    sections = make_sections(loaded)
    lines = summarise(sections)
    finished = f"{sum(run.finished for run in loaded)} of {len(loaded)} runs finished"
    if out is not None:
        drawn = write_folder(out, sections, lines, figures=figures)
        click.echo(f"{out / '07_Experiments.md'}: {finished}, {drawn} figures")
    if page is not None:
        clips = write_page(page, sections, lines, data if with_clips else ())
        shown = f", {clips} clips" if with_clips else ""
        click.echo(f"{page}: {finished}{shown}")


def make_predictions(runs: Sequence[Run], stores: Sequence[Path]) -> bool:
    """Makes the missing predictions of finished runs on these stores; whether there were any.

    Raises:
        UserError: a store can't be read, or none of them belongs to any run.
    """
    from lastkd.data.store.clip_store import ClipStore

    by_hash = {ClipStore.open(store).content_hash: store for store in stores}
    if not by_hash.keys() & {run.place[0] for run in runs}:
        raise UserError(f"{stores[0]}: no run below RUNS was made with this store; name theirs")
    lacking = [
        run for run in runs if run.finished and run.predictions is None and run.place[0] in by_hash
    ]
    for run in lacking:
        keep_predictions(run.folder, by_hash[run.place[0]], run.place[1])
    return bool(lacking)


def keep_predictions(folder: Path, data: Path, split: str) -> None:
    """Evaluates a run's last epoch and keeps its predictions in the run's folder."""
    from lastkd.evaluation.checkpoint import evaluate_checkpoint, is_external
    from lastkd.runs.log import PREDICTIONS

    checkpoint = folder / LAST
    if is_external(checkpoint):
        click.echo(f"  {folder}: its model isn't lastkd's; make its predictions yourself", err=True)
        return
    click.echo(f"  {folder}: predictions of the last epoch", err=True)
    evaluate_checkpoint(checkpoint, data, split).predictions.save(folder / PREDICTIONS)
