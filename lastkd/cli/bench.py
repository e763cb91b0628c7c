"""lastkd bench: what distillation costs on this machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lastkd.cli.options import Variants

if TYPE_CHECKING:
    from lastkd.pipeline.bench import BenchResult


@click.command()
@click.option("--teacher", default="last_v2_base", show_default=True, help="Model of the teacher.")
@click.option(
    "--variant",
    default="all",
    show_default=True,
    type=Variants(),
    help="Students: nano, small, base, large, several (nano,large) or all.",
)
@click.option(
    "--batch-size", default=16, show_default=True, type=click.IntRange(2), help="Clips a step."
)
@click.option(
    "--frames", default=64, show_default=True, type=click.IntRange(2), help="Frames of a view."
)
@click.option(
    "--rounds",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="How often everything is timed; medians are shown.",
)
@click.option("--compile/--no-compile", default=False, help="Compile the students' steps.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def bench(
    teacher: str,
    variant: tuple[str, ...],
    batch_size: int,
    frames: int,
    rounds: int,
    compile: bool,
    as_json: bool,
) -> None:
    """Times what distillation costs on this machine, on generated clips (one in five two-bodied).

    It times in turn and round by round the plain and the lean teacher, each student without a
    teacher, by replay from a cache and with the live teacher, all students on one pass of the
    teacher, and the views alone. With the base teacher that takes minutes on a CPU.
    """
    from lastkd.distributed.accelerator import leave, make_accelerator
    from lastkd.pipeline.bench import Bench, BenchSettings
    from lastkd.terminal import Progress

    settings = BenchSettings(teacher, variant, batch_size, frames, rounds, compile=compile)
    accelerator = make_accelerator()
    with tempfile.TemporaryDirectory() as folder:
        measurement = Bench(settings, Path(folder), accelerator)
        with Progress("bench", measurement.measurements, shown=True, stderr=True) as progress:
            result = measurement.run(progress.update)
        del measurement
        leave(accelerator)
    if as_json:
        click.echo(json.dumps(result.to_dict(settings.variants), indent=1))
    else:
        print_result(result, settings.variants)


def print_result(result: BenchResult, variants: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    values = result.to_dict(variants)
    ratios = values["ratios"]
    table = Table(title=f"{result.device}: milliseconds a step, medians")
    for column in ("part", "ms", "ratio", "of"):
        table.add_column(column, justify="right" if column in ("ms", "ratio") else "left")
    compared = {
        "lean teacher": (ratios["lean_teacher"], "plain teacher"),
        "together": (ratios["together"], "the live runs one after the other"),
    }
    for variant in variants:
        for kind in ("replay", "live"):
            compared[f"{variant} {kind}"] = (ratios[variant][kind], f"{variant} alone")
    for part, ms in values["ms"].items():
        ratio, of = compared.get(part, (None, ""))
        table.add_row(part, f"{ms:,.1f}", "" if ratio is None else f"{ratio:.3f}", of)
    console = Console()
    console.print(table)
    console.print(
        f"views: {values['views_clips_per_s']:,} clips/s (three streams, two bodies) | largest "
        f"difference of the lean teacher's logits: {result.largest_difference:.1e} of the largest "
        f"logit | soft labels of NTU 60 for 70 epochs: {result.cache_mb:.1f} MB",
        soft_wrap=True,
    )
