"""lastkd info: what a store holds."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lastkd.command_line import PATH


@click.command()
@click.argument("store", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def info(store: Path, as_json: bool) -> None:
    """Shows what a prepared STORE holds."""
    from lastkd.data.store import ClipStore

    about = ClipStore.open(store).about()
    if as_json:
        click.echo(json.dumps(about, indent=2))
        return
    frames = about["frames"]
    click.echo(f"{store}: {about['source']}")
    click.echo(f"  {about['clips']:,} clips, {about['classes']} classes, layout {about['layout']}")
    click.echo(f"  frames: {frames['min']} to {frames['max']}, median {frames['median']:g}")
    click.echo(f"  two bodies: {100 * about['two_body_share']:.1f} % of the clips")
    for name, parts in about["splits"].items():
        click.echo(f"  split {name}: {parts['train']:,} training and {parts['test']:,} test clips")
    for what, count in about["left_out"].items():
        click.echo(f"  {what}: {count:,}")
    click.echo(f"  content hash: {about['content_hash']}")
