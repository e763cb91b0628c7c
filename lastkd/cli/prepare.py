"""lastkd prepare: any source into a packed store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lastkd.data.class_names import read_class_names
from lastkd.entry_point import PATH, UP
from lastkd.errors import UserError

if TYPE_CHECKING:
    from lastkd.data.formats.base import Source
    from lastkd.data.store.prepare import Prepared

FAULTS_SHOWN = 10
CLASSES_SHOWN = 3


class PrepareCommand(click.Command):
    """`lastkd prepare`, whose help lists the formats: their readers are imported for it alone."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from lastkd.data.open_source import help_lines

        super().format_help_text(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("SOURCE is one of")
            with formatter.indentation():
                for line in help_lines():
                    formatter.write_text(line)


@click.command(cls=PrepareCommand)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", type=PATH, required=True, help="Folder of the store; must not exist yet.")
@click.option(
    "--format",
    metavar="NAME",
    help="Format of SOURCE, where it isn't recognised: a name, or package.module:Reader of a "
    "reader of your own.",
)
@click.option(
    "--dataset",
    type=click.Choice(["ntu60", "ntu120"]),
    help="Benchmark whose classes and splits to use, where the names leave it open.",
)
@click.option(
    "--layout",
    help="Layout of the skeletons, where the format leaves it open: kinect20, ... or a .yaml file "
    "of your own  [default: ntu25; none for joints of your own].",
)
@click.option(
    "--up",
    type=UP,
    help="Which way is up in the source's coordinates, where it isn't y (in an image -y).",
)
@click.option(
    "--class-names",
    type=PATH,
    help="Text file with a class name per line, that of label 0 first, for a source that only "
    "numbers its classes.",
)
@click.option(
    "--labels",
    type=PATH,
    help="CSV table of the clips, which goes before what the files say: columns file and label (a "
    "number or a name), and any of performer, camera, split (train, val, test), split:NAME, width, "
    "height, fps.",
)
@click.option(
    "--image-size",
    metavar="WIDTHxHEIGHT",
    help="Of the videos, where coordinates are shares of it and nobody says it.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, 1000, min_open=True),
    help="Frames per second, where neither --labels nor the files say it [default: a Kinect's 30 "
    "for its formats, else unknown].",
)
@click.option("--name", help="What the set is called [default: the benchmark's or file's name].")
@click.option(
    "--split-by",
    multiple=True,
    metavar="RULE",
    help="Make a split by a rule: performer, camera or setup (every second one trains, or those of "
    "'performer 1,2,5'), 'share 0.8' (of each class) or 'list train.txt test.txt'; with a name of "
    "its own as in 'mine=share 0.8'. May be given several times.",
)
@click.option(
    "--drop-duplicates",
    is_flag=True,
    help="Leave out clips that equal an earlier one in every number.",
)
@click.option(
    "--keep-bodies",
    is_flag=True,
    help="Bodies stay in the source's slots, such as left and right hand, absent or not.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Reading processes [default: cores].")
@click.option("--strict", is_flag=True, help="Stop at a bad file instead of leaving it out.")
@click.option("--subjects", type=click.IntRange(2, 999), help="Subjects of the synthetic set.")
@click.option(
    "--repetitions",
    type=click.IntRange(1, 999),
    help="Clips per subject and action of the synthetic set.",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of the synthetic set.")
@click.option(
    "--as-skeleton-files",
    is_flag=True,
    help="Write the synthetic set as raw .skeleton files into --out, in place of a store.",
)
def prepare(
    sources: tuple[str, ...],
    out: Path,
    format: str | None,
    dataset: str | None,
    layout: str | None,
    up: str | None,
    class_names: Path | None,
    labels: Path | None,
    image_size: str | None,
    fps: float | None,
    name: str | None,
    split_by: tuple[str, ...],
    drop_duplicates: bool,
    keep_bodies: bool,
    workers: int | None,
    strict: bool,
    subjects: int | None,
    repetitions: int | None,
    seed: int | None,
    as_skeleton_files: bool,
) -> None:
    """Turns SOURCE into a packed store that training reads.

    \b
      lastkd prepare nturgbd_skeletons_s001_to_s017.zip --out data/ntu60
      lastkd prepare nturgbd_skeletons_s0*.zip --out data/ntu120
      lastkd prepare poses --labels labels.csv --split-by performer --out data/mine

    Zips and folders of .skeleton files may be given together. A command that is stopped leaves its
    work in OUT.part, and the same command continues from there.
    """
    from lastkd.data.open_source import SYNTHETIC, open_source, parse_size
    from lastkd.data.split_rules import SplitRule
    from lastkd.data.store.clip_store import holds_store
    from lastkd.data.store.prepare import prepare as write_store
    from lastkd.data.store.prepare import usual_workers
    from lastkd.data.store.writer import part_folder
    from lastkd.data.synthetic.settings import SyntheticSettings, builtin_set
    from lastkd.terminal import Progress

    sizes = {
        "subjects": subjects,
        "clips_per_subject_and_action": repetitions,
        "seed": seed,
    }
    asked = {name: value for name, value in sizes.items() if value is not None}
    if SYNTHETIC not in sources and (asked or as_skeleton_files):
        raise UserError(
            f"--subjects, --repetitions, --seed and --as-skeleton-files go with the source "
            f"{SYNTHETIC}, not with {sources[0]}"
        )
    if out.exists():
        raise UserError(f"{out}: exists already; remove it or choose another --out")
    synthetic = SyntheticSettings.model_validate(builtin_set().model_dump() | asked)
    for source in sources:
        if holds_store(Path(source)):
            raise UserError(f"{source}: is a prepared store already; train with --data {source}")
    rules = [SplitRule.parse(text) for text in split_by]
    reader = open_source(
        sources,
        layout=layout,
        up=up,
        dataset=dataset,
        format=format,
        keep_bodies=keep_bodies,
        replaces_splits=bool(rules),
        labels=labels,
        image_size=parse_size(image_size) if image_size is not None else None,
        fps=fps,
        synthetic=synthetic,
    )
    if class_names:
        reader.class_names = read_class_names(class_names, reader.class_names, reader.kind)
    click.echo(f"{', '.join(sources)}: {describe(reader)}")
    for remark in reader.remarks:
        click.echo(f"  warning: {remark}", err=True)
    if as_skeleton_files:
        from lastkd.data.synthetic.skeleton_files import write_skeleton_files

        with Progress(str(out), len(reader), unit="clips", stderr=True) as progress:
            written = write_skeleton_files(progress.each(reader), out)
        click.echo(f"{out}: {written:,} files")
        return
    try:
        with Progress(str(out), len(reader), unit=reader.unit, stderr=True) as progress:

            def resumed(count: int) -> None:
                progress.resume_at(count)
                if count:
                    progress.echo(f"  going on after {count:,} {reader.unit}")

            done = write_store(
                reader,
                out,
                on_progress=progress.update,
                begun=resumed,
                workers=workers or usual_workers(),
                strict=strict,
                resumable=True,
                name=name,
                split_rules=rules,
                drop_duplicates=drop_duplicates,
            )
    except KeyboardInterrupt:
        kept = part_folder(out)
        after = f" {kept} keeps them, and the same command goes on." if kept.exists() else ""
        click.echo(
            f"Stopped after {progress.done:,} of {len(reader):,} {reader.unit}.{after}", err=True
        )
        raise click.exceptions.Exit(130) from None
    _report(done, out)


def describe(reader: Source) -> str:
    """Format, layout, clips and classes of a source, in a line."""
    text = f"{reader.kind}, layout {reader.layout.name}, {len(reader):,} {reader.unit}"
    names = [name for name in reader.class_names if name]
    if not names:
        return text
    shown = ", ".join([*names[:CLASSES_SHOWN], *(["..."] if len(names) > CLASSES_SHOWN else [])])
    return f"{text}, {len(names)} classes ({shown})"


def _report(done: Prepared, out: Path) -> None:
    for what, count in done.store.body_choice.items():
        click.echo(f"  bodies kept as {what}: {count:,}")
    for what, count in done.store.counts.items():
        click.echo(f"  {what}: {count:,}")
    for fault in done.faults[:FAULTS_SHOWN]:
        click.echo(f"  bad: {fault}", err=True)
    if len(done.faults) > FAULTS_SHOWN:
        rest = len(done.faults) - FAULTS_SHOWN
        click.echo(f"  bad: {rest:,} more; lastkd info {out} --details lists them", err=True)
    benchmark = done.store.benchmark
    if benchmark is not None and not done.differences:
        click.echo(f"  every split has the numbers of {benchmark.title}")
    for difference in done.differences:
        click.echo(f"  {difference}")
    for warning in done.warnings:
        click.echo(f"  warning: {warning}", err=True)
    click.echo(f"{out}: {len(done.store):,} clips; look at it with lastkd info {out}")
