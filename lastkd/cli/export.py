"""lastkd export: a checkpoint as a file that runs without lastkd."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.evaluation.calibration import checkpoint_calibration
from lastkd.export.formats import FORMATS, get_format
from lastkd.terminal import Progress

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
@click.option(
    "--bundle", type=PATH, help="Folder to write: the onnx file and all that a board needs with it."
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
    bundle: Path | None,
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

    --bundle writes a folder for a small computer: the onnx file, which gives calibrated
    probabilities, classes and calibration as JSON, a program of one file that runs on numpy and
    ONNX Runtime alone, a sample and a README. A checkpoint that lastkd calibrate hasn't seen is
    calibrated on --data.
    """
    if bundle is not None:
        if form != "onnx" or out is not None:
            raise UserError(
                "--bundle has a format and a place of its own; leave --format and --out"
            )
        _export_bundle(checkpoint, bundle, int8, data, split, model, as_json)
        return
    from lastkd.export.checkpoint import export_checkpoint

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


def _export_bundle(
    checkpoint: Path,
    bundle: Path,
    int8: bool,
    data: Path | None,
    split: str,
    factory: str | None,
    as_json: bool,
) -> None:
    from lastkd.export.checkpoint import export_checkpoint
    from lastkd.export.clips import example_clip
    from lastkd.live.calibrate import calibrate_model

    if bundle.exists():
        raise UserError(f"{bundle}: exists already; remove it or choose another --bundle")
    get_format("onnx").require()
    from lastkd.export.bundle import write_bundle

    calibrated = checkpoint_calibration(checkpoint).fitted if checkpoint.is_file() else False
    if not calibrated and data is None:
        raise UserError(
            f"{checkpoint}: isn't calibrated; name its store with --data, or run lastkd calibrate"
        )
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(str(checkpoint), 100, unit="%", shown=not as_json, stderr=True) as progress,
    ):

        def on_progress(what: str, done: int, total: int) -> None:
            progress.update(100 * done // total, f"{done:,} of {total:,} {what}")

        exported = Path(folder) / "model.onnx"
        report = export_checkpoint(
            checkpoint,
            exported,
            int8=int8,
            data=data,
            split=split,
            factory=factory,
            on_progress=on_progress,
        )
        if data is not None and (int8 or not calibrated):  # 8 bits have a calibration of their own
            calibrate_model(exported, data, split, on_progress=on_progress)
        labels = write_bundle(exported, bundle, example_clip(checkpoint, data, split))
    if as_json:
        click.echo(json.dumps({**report.to_dict(), "path": str(bundle), **labels}, indent=2))
        return
    sample = labels["sample"]
    click.echo(f"{bundle}: {report.model}, {report.classes} classes, {report.size_mb:.2f} MB")
    click.echo(f"  run      python {bundle / 'predict.py'}")
    click.echo(f"  sample   {sample['class']}, {100 * sample['probability']:.1f} %")
    click.echo(f"  latency  {report.latency_ms:.2f} ms for a clip of {report.timed_frames} frames")


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
