"""lastkd predict: the likeliest actions of single clips."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lastkd.entry_point import PATH


@click.command()
@click.argument("checkpoint", type=PATH)
@click.argument("clips", nargs=-1, required=True, metavar="FILE...")
@click.option("--data", type=PATH, help="A store: FILE... are then names of its clips.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many.")
@click.option("--model", help="package.module:factory of a model that isn't lastkd's own.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON, a list with every clip.")
def predict(
    checkpoint: Path,
    clips: tuple[str, ...],
    data: Path | None,
    top: int,
    model: str | None,
    as_json: bool,
) -> None:
    """Names the likeliest actions of single clips.

    \b
      lastkd predict runs/nano/best.safetensors S001C001P001R001A050.skeleton
      lastkd predict runs/nano/best.safetensors --data data/ntu60 S001C001P001R001A050

    FILE is a raw NTU .skeleton file, or a .npy array of joints (frames, bodies, joints, 3) or
    (frames, joints, 3) in the order of the checkpoint's layout.
    """
    from lastkd.evaluation.predict import predict_clips

    said = predict_clips(checkpoint, clips, data=data, factory=model)
    if as_json:
        click.echo(json.dumps([prediction.to_dict(top) for prediction in said], indent=2))
        return
    for prediction in said:
        bodies = "1 body" if prediction.bodies == 1 else f"{prediction.bodies} bodies"
        click.echo(f"{prediction.name}: {prediction.frames} frames, {bodies}")
        for name, probability in prediction.top(top):
            click.echo(f"  {100 * probability:6.2f} %  {name}")
