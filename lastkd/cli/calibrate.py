"""lastkd calibrate: probabilities that mean what they say, and what "nothing" is."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lastkd.entry_point import PATH
from lastkd.terminal import Progress


@click.command()
@click.argument("model_file", metavar="MODEL", type=PATH)
@click.option("--data", type=PATH, required=True, help="Prepared store.")
@click.option(
    "--split",
    default="auto",
    show_default="the model's own, or the store's only one",
    help="Split whose test part is used.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    help="Frames per second of the store's clips [default: as the store says, else 30].",
)
@click.option("--model", help="package.module:factory of a model that isn't part of lastkd.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def calibrate(
    model_file: Path, data: Path, split: str, fps: float | None, model: str | None, as_json: bool
) -> None:
    """Fits MODEL's probabilities to what it gets right, and stores that in its file.

    \b
      lastkd calibrate runs/nano/best.safetensors --data data/ntu60
      lastkd calibrate nano.onnx --data data/ntu60 --split xsub

    MODEL is a checkpoint, whose exported files then have it too, or an exported .onnx file. A
    temperature makes its probabilities honest; a threshold on them, and one on how fast people
    move, say when a stream shows "nothing"; the training clips' lengths give the window and the
    step of lastkd live. Weights stay as they are, and so does every clip's likeliest action.
    """
    from lastkd.live.calibrate import calibrate_model

    with Progress(str(model_file), 100, unit="%", shown=not as_json, stderr=True) as progress:
        fitted = calibrate_model(
            model_file,
            data,
            split,
            rate=fps,
            factory=model,
            on_progress=lambda what, done, total: progress.update(
                100 * done // total, f"{done:,} of {total:,} {what}"
            ),
        )
    if as_json:
        click.echo(json.dumps(fitted.to_dict(), indent=2))
        return
    click.echo(f"{model_file}: calibrated on {fitted.clips:,} test clips of {data}, {fitted.split}")
    click.echo(f"  temperature  {fitted.temperature:.3g}")
    click.echo(f"  error        {fitted.ece:.1f} % between confidence and accuracy")
    click.echo(f"               ({fitted.ece_before:.1f} % before)")
    click.echo(f"  nothing      below {100 * fitted.threshold:.0f} %")
    click.echo(f"               below {fitted.stillness:.2f} body heights a second")
    click.echo(f"  window       {fitted.window_s:.2f} s, a prediction every {fitted.step_s:.2f} s")
