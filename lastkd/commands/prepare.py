"""lastkd prepare: any source into a packed store."""

from __future__ import annotations

from pathlib import Path

import click

from lastkd.command_line import PATH
from lastkd.errors import UserError


@click.command()
@click.argument("source")
@click.option("--out", type=PATH, required=True, help="Folder of the store; must not exist yet.")
@click.option("--layout", help="Of a pickle's skeletons where they aren't NTU's: uiprmd22, ...")
@click.option("--subjects", type=click.IntRange(2, 999), help="Subjects of the synthetic set.")
@click.option(
    "--repetitions", type=click.IntRange(1, 999), help="Clips a subject and action, synthetic set."
)
@click.option("--seed", type=click.IntRange(0), help="Of the synthetic set.")
@click.option(
    "--as-skeleton-files",
    is_flag=True,
    help="Write the synthetic set as raw .skeleton files into --out, in place of a store.",
)
def prepare(
    source: str,
    out: Path,
    layout: str | None,
    subjects: int | None,
    repetitions: int | None,
    seed: int | None,
    as_skeleton_files: bool,
) -> None:
    """Turns SOURCE into a packed store that training reads.

    SOURCE is a folder of raw NTU .skeleton files (at any depth), a pyskl pickle (.pkl), or the word
    synthetic for a procedural set that needs no download.
    """
    from lastkd.config import embedded_set
    from lastkd.data.prepare import SYNTHETIC, open_source
    from lastkd.data.prepare import prepare as write_store
    from lastkd.data.synthetic import SyntheticSettings
    from lastkd.prepare_progress import counted

    sizes = {
        "subjects": subjects,
        "clips_per_subject_and_action": repetitions,
        "seed": seed,
    }
    asked = {name: value for name, value in sizes.items() if value is not None}
    if source != SYNTHETIC and (asked or as_skeleton_files):
        raise UserError(
            f"--subjects, --repetitions, --seed and --as-skeleton-files go with the source "
            f"{SYNTHETIC}, not with {source}"
        )
    synthetic = SyntheticSettings.model_validate(embedded_set().model_dump() | asked)
    reader = open_source(source, layout=layout, synthetic=synthetic)
    click.echo(f"{source}: {reader.kind}, layout {reader.layout.name}, {len(reader):,} samples")
    if as_skeleton_files:
        from lastkd.data.skeleton_writer import write_skeleton_files

        if out.exists():
            raise UserError(f"{out}: exists already; remove it or choose another --out")
        with counted(len(reader)) as visited:
            written = write_skeleton_files(visited.each(reader), out)
        click.echo(f"{out}: {written:,} files")
        return
    with counted(len(reader)) as visited:
        write_store(reader, out, visited=visited.to)
    for what, count in reader.counts.items():
        click.echo(f"  {what}: {count:,}")
    click.echo(f"{out}: written; look at it with lastkd info {out}")
