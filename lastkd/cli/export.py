"""lastkd export: a checkpoint as a file that runs without lastkd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lastkd.entry_point import PATH
from lastkd.export.formats import FORMATS

if TYPE_CHECKING:
    from lastkd.export.checkpoint import ExportReport

_FORMATS_HELP = "; ".join(f"{form.name}: {form.help}" for form in FORMATS.values())


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option(
    "--format",
    "form",
    metavar="|".join(FORMATS),
    default="onnx",
    show_default=True,
    help=f"{_FORMATS_HELP}; package.module:Class for a format of your own.",
)
@click.option("--int8", is_flag=True, help="8-bit weights and activations (onnx); needs --data.")
@click.option("--data", type=PATH, help="Store to check the file on and to calibrate --int8 with.")
@click.option(
    "--split",
    default="auto",
    show_default="the checkpoint's own, or the store's only one",
    help="Split of the store.",
)
@click.option("--out", type=PATH, help="File to write [default: beside the checkpoint].")
@click.option("--model", help="package.module:factory of a model that isn't part of lastkd.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def export(
    checkpoint: Path,
    form: str,
    int8: bool,
    data: Path | None,
    split: str,
    out: Path | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Export a CHECKPOINT to a file that runs without lastkd, and check it.

    \b
      lastkd export runs/nano/best.safetensors --format onnx --data data/ntu60
      lastkd export runs/nano/best.safetensors --format onnx --int8 --data data/ntu60

    The file takes the raw joints of one clip of 2 or more frames; it contains centring, resampling
    and the three streams. It is compared with the checkpoint and removed if it differs. Size and
    single-clip latency on one CPU thread are printed.
    """
    from lastkd.export.checkpoint import export_checkpoint
    from lastkd.terminal import Progress

    with Progress(str(checkpoint), 100, unit="%", shown=not as_json, stderr=True) as progress:
        report = export_checkpoint(
            checkpoint,
            out,
            form=form,
            int8=int8,
            data=data,
            split=split,
            factory=model,
            on_progress=lambda what, done, total: progress.update(
                100 * done // total, f"{done:,} of {total:,} {what}"
            ),
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2))
    else:
        print_report(report)


def print_report(report: ExportReport) -> None:
    """Prints the report for a person to read."""
    kind = f"{report.format}, int8" if report.int8 else report.format
    click.echo(f"{report.path}: {report.model} as {kind}, {report.classes} classes")
    click.echo(
        f"  input      joints float32 (frames, {report.bodies}, {report.joints}, 3), raw; 2 frames "
        "or more"
    )
    click.echo(f"  size       {report.size_mb:.2f} MB (checkpoint {report.checkpoint_mb:.2f} MB)")
    click.echo(
        f"  latency    {report.latency_ms:.2f} ms for a clip of {report.timed_frames} frames on "
        f"one CPU thread (checkpoint in PyTorch {report.checkpoint_latency_ms:.2f} ms)"
    )
    where = "test clips" if report.real else "made-up clips (--data DIR checks on real ones)"
    click.echo(
        f"  agreement  same top-1 for {report.same_top1:,} of {report.clips:,} {where}; largest "
        f"difference of a logit {report.largest_difference:.1e} (largest logit "
        f"{report.largest_logit:.1f})"
    )
    if report.top1 is not None and report.checkpoint_top1 is not None:
        loss = report.checkpoint_top1 - report.top1
        click.echo(
            f"  top-1      {report.top1:.2f} % of the test clips, checkpoint "
            f"{report.checkpoint_top1:.2f} %: {loss:.2f} points lost"
        )
