"""lastkd show: a clip to look at."""

from __future__ import annotations

from pathlib import Path

import click

from lastkd.data.clip import USUAL_FPS
from lastkd.entry_point import PATH, UP
from lastkd.errors import UserError


@click.command()
@click.argument("source")
@click.argument("clip", required=False)
@click.option(
    "--out", type=PATH, help="Picture to write: .png for a strip of poses, .gif for an animation."
)
@click.option(
    "--stream",
    type=click.Choice(["joint", "velocity", "bone", "all"]),
    default="joint",
    show_default=True,
    help="What to draw.",
)
@click.option(
    "--view",
    type=click.Choice(["train", "test"]),
    help="Draw the view that a model gets: resampled, and for training augmented.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Of the run that draws the training view."
)
@click.option(
    "--epoch", default=1, show_default=True, help="Of the run that draws the training view."
)
@click.option(
    "--poses",
    default=8,
    type=click.IntRange(1, 100),
    show_default=True,
    help="Poses in a strip or in a pipe.",
)
@click.option(
    "--turn", default=25.0, show_default=True, help="Degrees about the vertical axis to look from."
)
@click.option(
    "--speed",
    default=1.0,
    type=click.FloatRange(0.05, 10),
    show_default=True,
    help="1 is as recorded; 30 frames per second where the set doesn't say.",
)
@click.option("--rounds", type=click.IntRange(1), help="Times to play [default: until Ctrl-C].")
@click.option("--layout", help="Layout of skeletons other than NTU's: a name or a .yaml file.")
@click.option(
    "--up",
    type=UP,
    help="Which way is up in a source that isn't prepared yet, where it isn't y (in an image -y).",
)
def show(
    source: str,
    clip: str | None,
    out: Path | None,
    stream: str,
    view: str | None,
    seed: int,
    epoch: int,
    poses: int,
    turn: float,
    speed: float,
    rounds: int | None,
    layout: str | None,
    up: str | None,
) -> None:
    """Draws CLIP (a name or a number, the first by default) of SOURCE.

    SOURCE is a prepared store, or anything that lastkd prepare reads, such as a single .skeleton
    file. Without --out the clip plays in the terminal; into a pipe, a few poses are printed.

    \b
      lastkd show data/ntu60 S001C001P001R001A001
      lastkd show S001C001P001R001A001.skeleton --out clip.gif
      lastkd show data/ntu60 42 --stream all --view train --out seen.png

    Limbs on the person's left have warm colours, those on the right cool ones. A velocity is an
    arrow as long as the distance covered in four frames. Bones are drawn from the centre joint
    outwards, because they don't say where the body is.
    """
    from rich.console import Console

    from lastkd.show.poses import STREAMS, find_clip, stream_poses, view_poses

    if out is not None and out.suffix.lower() not in (".png", ".gif"):
        raise UserError(f"{out}: name it with .png for a strip of poses or .gif for an animation")
    if out is not None and out.exists():
        raise UserError(f"{out}: exists already; remove it or choose another name")
    shown = find_clip(source, clip, layout, up)
    streams = STREAMS if stream == "all" else (stream,)
    if view is None:
        drawn = stream_poses(shown, streams)
    else:
        drawn = view_poses(shown, streams, view, seed=seed, epoch=epoch)
    title = f"{shown.class_name} · {shown.clip.name}"
    recorded = {
        "subject": shown.clip.performer,
        "camera": shown.clip.camera,
        "setup": shown.clip.setup,
    }
    parts = [shown.dataset] if shown.dataset else []
    parts += [f"{field} {number}" for field, number in recorded.items() if number >= 0]
    frames = f"{len(shown.clip.joints)} frames"
    if shown.clip.fps:
        frames += f" at {shown.clip.fps:g} a second"
    parts += [frames, f"layout {shown.layout.name}"]
    if view == "train":
        parts.append(f"training view of epoch {epoch}, seed {seed}")
    elif view == "test":
        parts.append("test view")
    subtitle = " · ".join(parts)
    fps = USUAL_FPS if view is not None else shown.clip.fps or USUAL_FPS
    if out is not None:
        from lastkd.show.picture import write_animation, write_strip

        texts = {"title": title, "subtitle": subtitle}
        if out.suffix.lower() == ".png":
            timed = fps if view is None else None  # a view's frames aren't the recording's
            write_strip(out, drawn, shown.layout, **texts, poses=poses, turn=turn, fps=timed)
        else:
            write_animation(out, drawn, shown.layout, **texts, speed=speed, turn=turn, fps=fps)
        click.echo(f"{out}: {title}")
        return
    from lastkd.show.terminal import play, print_strip

    console = Console(highlight=False)
    if not console.is_terminal:
        print_strip(
            console,
            drawn,
            shown.layout,
            title=title,
            subtitle=subtitle,
            poses=min(poses, 4),
            turn=turn,
        )
        return
    try:
        play(
            console, drawn, shown.layout, title=title, subtitle=subtitle, speed=speed, turn=turn,
            fps=fps, rounds=rounds,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None
