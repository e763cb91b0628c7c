"""lastkd evaluate: a checkpoint on a split."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lastkd.command_line import PATH


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("--data", type=PATH, required=True, help="Prepared store.")
@click.option("--split", default="xsub", show_default=True, help="Split whose test part is used.")
@click.option("--confused", default=5, show_default=True, help="How many confused pairs to show.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def evaluate(checkpoint: Path, data: Path, split: str, confused: int, as_json: bool) -> None:
    """Measures a CHECKPOINT on the test part of a split, one centre view a clip."""
    from lastkd import evaluate as evaluation

    accuracy, store = evaluation.evaluate_checkpoint(checkpoint, data, split)
    result = evaluation.as_json(accuracy, store, split, confused)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(f"{checkpoint} on {data}, {split}: {accuracy.clips:,} test clips, one view each")
    click.echo(f"  top-1       {accuracy.top1:6.2f} %")
    click.echo(f"  top-5       {accuracy.top5:6.2f} %")
    click.echo(f"  mean class  {accuracy.mean_class:6.2f} %")
    for pair in result["most_confused"]:
        click.echo(
            f"  {pair['class']!r} taken for {pair['taken_for']!r}: {pair['clips']} clips, "
            f"{pair['percent']:.1f} %"
        )
