"""lastkd convert: public checkpoints into ours."""

from __future__ import annotations

from pathlib import Path

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError


@click.command()
@click.argument("source", type=PATH)
@click.argument("out", type=PATH)
@click.option("--layout", help="Where the number of joints doesn't tell it: a name or a .yaml.")
def convert(source: Path, out: Path, layout: str | None) -> None:
    """Turns a public LAST checkpoint (SOURCE, .pth) into lastkd's OUT (.safetensors).

    The model is recognised from the shapes, every key is accounted for, the logits stay the same.
    """
    from lastkd.models.convert import convert as write_checkpoint

    if out.suffix != ".safetensors":
        raise UserError(f"{out}: name it with .safetensors")
    if out.exists():
        raise UserError(f"{out}: exists already; remove it or choose another name")
    done = write_checkpoint(source, out, layout=layout)
    click.echo(
        f"{out}: {done.architecture.name}, {done.num_classes} classes, layout {done.layout.name}"
    )
