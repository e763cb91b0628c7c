"""lastkd report: a table and figures from runs."""

from __future__ import annotations

import re
from pathlib import Path

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.files.atomic import replacing


@click.command()
@click.argument("runs", type=PATH)
@click.option("--out", type=PATH, required=True, help="Folder of the report.")
@click.option(
    "--data",
    type=PATH,
    help="Store of the runs: predictions that they lack are made and kept in their folders.",
)
@click.option("--figures/--no-figures", default=True, help="Figures need lastkd[plots].")
def report(runs: Path, out: Path, data: Path | None, figures: bool) -> None:
    """Writes standalone against distilled, from the folders under RUNS, into --out.

    \b
      lastkd report runs --data data/ntu60 --out report

    07_Experiments.md holds the table, figures and settings; table.csv and table.tex the table.
    Means and deviations are over seeds. Intervals and tests need each run's predictions
    (predictions.npz in its folder); --data makes the missing ones from last.safetensors. What is
    missing is said to be.
    """
    from lastkd.report.write import as_csv, as_latex, markdown, sections, title
    from lastkd.runs.log import read_runs

    found = read_runs(runs)
    if data is not None:
        from lastkd.data.store.clip_store import ClipStore

        known = ClipStore.open(data).content_hash
        lacking = [run for run in found if run.state == "finished" and run.predictions is None]
        for run in (run for run in lacking if run.place[0] == known):
            keep_predictions(run.folder, data, run.place[1])
        found = read_runs(runs)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made ({error.strerror}); choose another") from None
    drawn: dict[str, list[Path]] = {}
    if figures:
        from lastkd.report.figures import draw

        for own in sections(found):
            prefix = re.sub(r"\W+", "_", f"{own[0].place[1]}_{own[0].place[0][:8]}")
            drawn[title(own)] = draw(own, out, prefix)
    texts = {
        "07_Experiments.md": markdown(found, drawn),
        "table.csv": as_csv(found),
        "table.tex": as_latex(found),
    }
    for name, text in texts.items():
        with replacing(out / name) as part:
            part.write_text(text, encoding="utf-8")
    finished = sum(run.state == "finished" for run in found)
    pictures = sum(map(len, drawn.values()))
    click.echo(
        f"{out / '07_Experiments.md'}: {finished} of {len(found)} runs finished, {pictures} figures"
    )


def keep_predictions(folder: Path, data: Path, split: str) -> None:
    """Evaluates a run's last epoch into its folder."""
    from lastkd.evaluation.checkpoint import evaluate_checkpoint, is_own
    from lastkd.runs.log import PREDICTIONS

    checkpoint = folder / "last.safetensors"
    if is_own(checkpoint):
        click.echo(f"  {folder}: its model isn't lastkd's; make its predictions yourself", err=True)
        return
    click.echo(f"  {folder}: predictions of the last epoch", err=True)
    evaluate_checkpoint(checkpoint, data, split).predictions.save(folder / PREDICTIONS)
