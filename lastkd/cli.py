"""The `lastkd` command. Heavy imports happen inside a subcommand, so that help is quick."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import click

import lastkd
from lastkd.errors import UserError
from lastkd.teacher_cache import teacher_cache_group

_PATH = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(lastkd.__version__, prog_name="lastkd")
def cli() -> None:
    """Knowledge distillation for skeleton action recognition: from LAST-v2 into LAST-E.

    \b
    The way of a run:
      lastkd prepare SOURCE --out data/ntu60
      accelerate launch -m lastkd.train --model last_v2_base --data data/ntu60 --split xsub
      accelerate launch -m lastkd.distill --variant large --data data/ntu60 --split xsub \\
          --teacher runs/last_v2_base/best.safetensors
      lastkd evaluate runs/large/best.safetensors --data data/ntu60 --split xsub

    Without any data: lastkd demo
    """


@cli.command()
@click.argument("source")
@click.option("--out", type=_PATH, required=True, help="Folder of the store; must not exist yet.")
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


@cli.command()
@click.argument("store", type=_PATH)
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


@cli.command()
@click.argument("source", type=_PATH)
@click.argument("out", type=_PATH)
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


@cli.command()
@click.argument("checkpoint", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="Prepared store.")
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


@cli.command()
@click.option("--seed", default=0, show_default=True, help="Of all three runs.")
@click.option("--out", type=_PATH, help="Where store and runs go [default: a new runs/demo-N].")
def demo(seed: int, out: Path | None) -> None:
    """Teacher, standalone and distilled student on synthetic data, in a few minutes.

    Both students have the same seed, epochs and views; the table at the end shows the gain.
    """
    from lastkd.demo import run_demo

    if out is None:
        out = next(
            path for n in itertools.count(1) if not (path := Path("runs") / f"demo-{n}").exists()
        )
    run_demo(out, seed)


cli.add_command(teacher_cache_group())


def main() -> None:
    from lastkd.command_line import run_command

    run_command(cli, "lastkd")


if __name__ == "__main__":
    main()
