"""lastkd predict: the likeliest actions of single clips."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lastkd.data.open_source import parse_size
from lastkd.entry_point import PATH


@click.command()
@click.argument("checkpoint", type=PATH)
@click.argument("clips", nargs=-1, required=True, metavar="FILE...")
@click.option("--data", type=PATH, help="A store: FILE... are then names of its clips.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many.")
@click.option(
    "--image-size",
    metavar="WIDTHxHEIGHT",
    help="Of the videos, where the coordinates in FILE are shares of it.",
)
@click.option("--model", help="package.module:factory of a model that isn't lastkd's own.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON, a list with every clip.")
def predict(
    checkpoint: Path,
    clips: tuple[str, ...],
    data: Path | None,
    top: int,
    image_size: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Names the likeliest actions of single clips.

    \b
      lastkd predict runs/nano/best.safetensors S001C001P001R001A050.skeleton
      lastkd predict runs/nano/best.safetensors --data data/ntu60 S001C001P001R001A050

    FILE is anything that lastkd prepare reads: a raw .skeleton file, an estimator's file or folder,
    a pickle, a .npy array or a table of joints, ... Labels aren't needed, and each clip in it is
    named. Arrays are (frames, bodies, joints, channels), without bodies or in another order of axes
    that can't be mistaken, in the order of joints of the checkpoint's layout.
    """
    size = parse_size(image_size) if image_size is not None else None

    from lastkd.evaluation.predict import predict_clips

    predictions = predict_clips(checkpoint, clips, data=data, factory=model, image_size=size)
    if as_json:
        click.echo(json.dumps([prediction.to_dict(top) for prediction in predictions], indent=2))
        return
    for prediction in predictions:
        bodies = "1 body" if prediction.bodies == 1 else f"{prediction.bodies} bodies"
        frames = "1 frame" if prediction.frames == 1 else f"{prediction.frames} frames"
        click.echo(f"{prediction.name}: {frames}, {bodies}")
        for name, probability in prediction.top(top):
            click.echo(f"  {100 * probability:6.2f} %  {name}")
