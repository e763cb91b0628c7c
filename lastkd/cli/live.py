"""lastkd live: a student at work on a stream."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.live.line_writer import LineWriter

if TYPE_CHECKING:
    from lastkd.live.classifier import ModelFacts
    from lastkd.live.session import LiveSession
    from lastkd.live.sources import FrameSource


class Speed(click.ParamType):  # type: ignore[type-arg]
    """A factor above 0; `max` for as fast as it goes, which is None."""

    name = "factor"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if value == "max":
            return None
        return click.FloatRange(0.01, 1000).convert(value, param, ctx)


@click.command()
@click.argument("model_file", metavar="MODEL", type=PATH)
@click.argument("source", required=False)
@click.argument("clip", required=False)
@click.option("--video", type=PATH, help="A film, whose poses are estimated (lastkd[video]).")
@click.option("--camera", type=click.IntRange(0), help="A camera's number (lastkd[video]).")
@click.option("--pose-model", type=PATH, help="MediaPipe's pose landmarker, a .task file.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON a prediction.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Actions a line.")
@click.option(
    "--speed", type=Speed(), default="1", show_default=True, help="Of what is played, or max."
)
@click.option("--loop", is_flag=True, help="Play it again and again.")
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    help="Frames per second of frames without a time [default: the store's, else the training "
    "clips'].",
)
@click.option("--wait", type=click.FloatRange(0), help="A folder ends after so many idle seconds.")
@click.option("--window", type=float, help="Seconds classified at once [default: the model's].")
@click.option("--step", type=float, help="Seconds between predictions [default: the model's].")
@click.option("--smoothing", type=float, help="Seconds averaged over [default: window / 8].")
@click.option("--threshold", type=float, help="Probability to show [default: the model's].")
@click.option("--stillness", type=float, help="Speed of nobody moving [default: the model's].")
@click.option("--model", help="package.module:factory of a model that isn't lastkd's own.")
@click.option("--theme", type=click.Choice(["dark", "light"]), help="[default: the terminal's]")
@click.option("--ascii/--utf8", "only_ascii", default=None, help="[default: as the locale says]")
def live(
    model_file: Path,
    source: str | None,
    clip: str | None,
    video: Path | None,
    camera: int | None,
    pose_model: Path | None,
    as_json: bool,
    top: int,
    speed: float | None,
    loop: bool,
    fps: float | None,
    wait: float | None,
    window: float | None,
    step: float | None,
    smoothing: float | None,
    threshold: float | None,
    stillness: float | None,
    model: str | None,
    theme: str | None,
    only_ascii: bool | None,
) -> None:
    """Names the action in a stream of skeletons, as it happens.

    \b
      lastkd live nano.onnx data/ntu60 S001C001P001R001A050
      lastkd live nano.onnx clip.skeleton --loop
      lastkd live nano.onnx openpose_output/
      pose_estimator | lastkd live nano.onnx - --json

    MODEL is an exported .onnx file, which starts at once, or a checkpoint. SOURCE is a clip: of a
    store, a .skeleton file, a .npy array, a clip of any set that lastkd prepare reads, or a .jsonl
    file; a folder into which a pose estimator writes one .json file a frame; or -, one JSON value a
    line on stdin: {"joints": [[[x, y, z], ...], ...], "time": seconds}, or what OpenPose,
    AlphaPose, MMPose, Ultralytics and MediaPipe write. docs/live.md shows each.

    In a terminal the stream is drawn; ? shows the keys. lastkd calibrate makes its probabilities
    honest, and finds when to show "nothing".
    """
    from lastkd.live.open_model import open_classifier
    from lastkd.live.predictor import StreamPredictor
    from lastkd.live.session import LiveSession

    if len([name for name in (source, video, camera) if name is not None]) != 1:
        raise UserError("name one source: SOURCE, --video FILE or --camera N")
    if not as_json and not (sys.stdout.isatty() and sys.stderr.isatty()):
        raise UserError("the picture needs a terminal; --json prints one line a prediction")
    classifier = open_classifier(model_file, factory=model)
    facts = classifier.facts
    if source is None:
        frames = _video(video, camera, pose_model, facts)
    elif source == "-":
        frames = _stdin(facts, as_json)
    else:
        frames = _played(source, clip, facts, fps, wait)
    predictor = StreamPredictor(
        classifier,
        window=window,
        step=step,
        smoothing=smoothing,
        threshold=threshold,
        stillness=stillness,
        bodies=frames.bodies,
    )
    session = LiveSession(predictor, frames, speed=speed, loop=loop)
    if as_json:
        _print_lines(session, top, real_time=speed is not None)
    else:
        _draw(session, model_file, theme, only_ascii)
    _report_skipped(session)


def _stdin(facts: ModelFacts, as_json: bool) -> FrameSource:
    from lastkd.live.sources import JsonLines

    stream: BinaryIO = sys.stdin.buffer
    if not as_json:  # the keys come from the terminal
        stream = os.fdopen(os.dup(0), "rb")
        try:
            os.dup2(os.open("/dev/tty", os.O_RDONLY), 0)
        except OSError:
            raise UserError("the keys need a terminal; --json prints predictions") from None
    return JsonLines("stdin", stream, facts.dimensions)


def _played(
    source: str, clip: str | None, facts: ModelFacts, rate: float | None, wait: float | None
) -> FrameSource:
    from lastkd.live.open_source import open_frames

    return open_frames(source, clip, facts, rate=rate, wait_s=wait)


def _video(
    video: Path | None, camera: int | None, pose_model: Path | None, facts: ModelFacts
) -> FrameSource:
    from lastkd.terminal import mute_native_libraries

    try:
        from lastkd.live.video import open_video
    except ModuleNotFoundError as error:
        raise UserError(
            f"--video and --camera need the package {error.name}; pip install 'lastkd[video]'"
        ) from None
    mute_native_libraries()
    return open_video(video, camera, pose_model, facts)


def _print_lines(session: LiveSession, top: int, *, real_time: bool) -> None:
    """A line a prediction until the source is over or the reader has gone.

    Raises:
        UserError: the lines can't be written.
    """
    # a reader that has gone is told by the write, in the main thread's own time
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    writer = LineWriter(sys.stdout.buffer, drop=real_time, on_closed=session.stop.set)
    session.on_prediction = lambda prediction, late: writer.write(
        {**prediction.to_dict(top), "late_ms": round(1000 * late, 1)}
    )
    try:
        session.run()
        writer.close()
    except KeyboardInterrupt:
        session.stop.set()
    if writer.closed:
        # the interpreter flushes stdout once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if writer.failure is not None:
        raise UserError(f"stdout: cannot be written ({writer.failure.strerror}); free some space")


def _draw(
    session: LiveSession, model_file: Path, theme: str | None, only_ascii: bool | None
) -> None:
    from lastkd.live.screen.app import LiveApp
    from lastkd.live.screen.state import LiveState
    from lastkd.monitor.screen.app import theme_for
    from lastkd.monitor.screen.glyphs import ASCII, UNICODE, speaks_utf8
    from lastkd.monitor.screen.style import DARK

    if only_ascii is None:
        only_ascii = not speaks_utf8()
    state = LiveState(session, model_file, DARK, ASCII if only_ascii else UNICODE)
    app = LiveApp(state, theme=f"lastkd-{theme}" if theme else theme_for())
    app.run()
    if app.failure is not None:
        raise app.failure


def _report_skipped(session: LiveSession) -> None:
    """What of the source wasn't used, on stderr.

    Raises:
        UserError: nothing of it could be used.
    """
    for reason, count in sorted(session.skipped.items()):
        click.echo(f"{session.source.name}: {count:,} {reason}", err=True)
    if session.misfit and not session.frames:
        raise UserError(f"{session.source.name}: {session.misfit}")
