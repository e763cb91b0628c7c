"""lastkd evaluate: checkpoints on the test part of a split."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.files.atomic import write_text
from lastkd.terminal import Progress

if TYPE_CHECKING:
    from lastkd.evaluation.checkpoint import Evaluation
    from lastkd.evaluation.stream import StreamScore


@click.command()
@click.argument("checkpoints", type=PATH, nargs=-1, required=True, metavar="CHECKPOINT...")
@click.option("--data", type=PATH, required=True, help="Prepared store.")
@click.option(
    "--split",
    default="auto",
    show_default="the checkpoint's own, or the store's only one",
    help="Split whose test part is used.",
)
@click.option(
    "--clips",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Views of each clip whose probabilities are averaged; 1 is the centre view, as in "
    "training. Figures of several don't compare with figures of one.",
)
@click.option("--by-class", is_flag=True, help="Show the accuracy of every class.")
@click.option("--against", type=PATH, help="Another checkpoint, to compare with clip by clip.")
@click.option(
    "--predictions",
    type=PATH,
    help="File for every clip's name, label and logits: .npz or .csv; must not exist yet.",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Keep each checkpoint's predictions beside it, where lastkd report reads them "
    "(predictions.npz); must not exist yet.",
)
@click.option("--out", type=PATH, help="Folder for a JSON file for each checkpoint.")
@click.option("--stream", is_flag=True, help="Join the test clips into streams with pauses.")
@click.option("--seed", default=0, show_default=True, help="Of the streams.")
@click.option("--confused", default=5, show_default=True, help="How many confused pairs to show.")
@click.option("--model", help="package.module:factory of a model that isn't part of lastkd.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def evaluate(
    checkpoints: tuple[Path, ...],
    data: Path,
    split: str,
    clips: int,
    by_class: bool,
    against: Path | None,
    predictions: Path | None,
    keep: bool,
    out: Path | None,
    stream: bool,
    seed: int,
    confused: int,
    model: str | None,
    as_json: bool,
) -> None:
    """Evaluates each CHECKPOINT on the test part of a split.

    \b
      lastkd evaluate runs/nano/best.safetensors --data data/ntu60 --split xsub
      lastkd evaluate runs/nano/best.safetensors --data data/ntu60 \\
          --against runs/last_e_nano/best.safetensors
      lastkd evaluate runs/*/last.safetensors --data data/ntu60 --out evaluation

    --against says by how many points CHECKPOINT is better than the other, with a 95 % interval over
    the test clips and McNemar's exact test.

    --stream joins the test clips of each performer into long streams with pauses and changes of
    pace, runs the model on them as lastkd live does, and says how well the actions are found. It
    takes exported .onnx files too; lastkd calibrate finds first when to show "nothing".
    """
    if stream:
        if clips > 1 or by_class or against or predictions or keep:
            raise UserError(
                "--stream goes without --clips, --by-class, --against, --predictions, --keep"
            )
        _evaluate_streams(checkpoints, data, split, seed, model, out, as_json)
        return
    from lastkd.data.store.clip_store import ClipStore
    from lastkd.distributed.accelerator import leave, make_accelerator
    from lastkd.evaluation.checkpoint import evaluate_checkpoint, is_external, split_of
    from lastkd.models.checkpoint import read_info

    files = _prediction_files(checkpoints, predictions, keep)
    accelerator = make_accelerator()
    is_main = accelerator.is_main_process
    store = ClipStore.open(data)
    split = split_of(store, split, read_info(checkpoints[0]))
    _, test_clips = store.split(split)
    views = clips * len(test_clips[accelerator.process_index :: accelerator.num_processes])
    only_factory = model if len(checkpoints) == 1 and against is None else None

    def measure(path: Path) -> Evaluation:
        with Progress(str(path), views, unit="views", shown=is_main, stderr=True) as progress:
            return evaluate_checkpoint(
                path,
                data,
                split,
                views_per_clip=clips,
                factory=only_factory or (model if is_external(path) else None),
                accelerator=accelerator,
                on_progress=progress.update,
            )

    plain: list[dict[str, Any]] = []
    reference = measure(against) if against else None
    for number, (path, name) in enumerate(zip(checkpoints, file_names(checkpoints), strict=True)):
        result = measure(path)
        if not is_main:
            continue
        plain.append(_plain(result, reference, against, confused))
        if files:
            result.predictions.save(files[number])
        if out is not None:
            write_text(out / f"{name}.json", json.dumps(plain[-1], indent=2) + "\n")
        if not as_json:
            title = f"{path} on {data}, {split}"
            _print(result, title, reference, against, confused, by_class)
    if is_main and as_json:
        click.echo(json.dumps(plain if len(plain) > 1 else plain[0], indent=2))
    leave(accelerator)


def _prediction_files(
    checkpoints: Sequence[Path], predictions: Path | None, keep: bool
) -> list[Path]:
    """The file for each checkpoint's predictions; none if they aren't kept."""
    from lastkd.runs.log import PREDICTIONS
    from lastkd.runs.predictions import check_suffix

    if keep and predictions is not None:
        raise UserError("--keep names the file itself; leave out --predictions")
    files: list[Path] = [path.parent / PREDICTIONS for path in checkpoints] if keep else []
    if predictions is not None:
        check_suffix(predictions)
        if len(checkpoints) > 1:
            raise UserError(
                f"--predictions {predictions}: is the file of a single checkpoint; --keep makes "
                "one beside each"
            )
        files = [predictions]
    for number, file in enumerate(files):
        if file in files[:number]:
            raise UserError(f"{file}: two of the checkpoints have it beside them; evaluate one")
        if file.exists():
            raise UserError(f"{file}: exists already; remove it or choose another name")
    return files


def _evaluate_streams(
    models: tuple[Path, ...],
    data: Path,
    split: str,
    seed: int,
    factory: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from lastkd.live.stream_evaluation import evaluate_stream

    plain: list[dict[str, Any]] = []
    for path, name in zip(models, file_names(models), strict=True):
        with Progress(str(path), 100, unit="%", shown=True, stderr=True) as progress:
            score = evaluate_stream(
                path,
                data,
                split,
                seed=seed,
                factory=factory,
                on_progress=lambda done, total, progress=progress: progress.update(  # type: ignore[misc]
                    100 * done // total, f"{done:,} of {total:,} clips"
                ),
            )
        plain.append({"checkpoint": str(path), "seed": seed, **score.to_dict()})
        if out is not None:
            write_text(out / f"{name}-stream.json", json.dumps(plain[-1], indent=2) + "\n")
        if not as_json:
            _print_stream(score, f"{path} on streams of {data}")
    if as_json:
        click.echo(json.dumps(plain if len(plain) > 1 else plain[0], indent=2))


def _print_stream(score: StreamScore, title: str) -> None:
    click.echo(f"{title}: {score.actions:,} actions in {score.minutes:.1f} minutes")
    click.echo(f"  frames        {score.frame_accuracy:6.2f} % right")
    click.echo(f"    of actions  {score.action_accuracy:6.2f} %")
    click.echo(f"    of pauses   {score.pause_accuracy:6.2f} %")
    click.echo(f"  found         {score.found:6.2f} % of the actions within their own time")
    click.echo(f"  false alarms  {score.false_alarms_per_minute:6.2f} a minute")
    click.echo(f"  F1            {score.f1:6.2f} % of actions found, against false alarms")
    median, late = score.delay(), score.delay(90)
    if median is not None:
        click.echo(f"  delay         {median:6.2f} s (median; nine in ten within {late:.2f} s)")


def file_names(checkpoints: Sequence[Path]) -> list[str]:
    """A name for each checkpoint: its run folder's, with as many parents as tell them apart."""
    folders = [path.resolve().parent for path in checkpoints]
    shared = len(Path(os.path.commonpath(folders)).parts)
    names = ["-".join(folder.parts[min(shared, len(folder.parts) - 1) :]) for folder in folders]
    times = Counter(names)
    return [
        f"{name}-{path.stem}" if times[name] > 1 else name
        for name, path in zip(names, checkpoints, strict=True)
    ]


def _plain(
    result: Evaluation, reference: Evaluation | None, against: Path | None, confused: int
) -> dict[str, Any]:
    values = result.to_dict(confused)
    if reference is not None:
        compared = result.against(reference).to_dict()
        values["against"] = {"checkpoint": str(against), **compared}
    return values


def _print(
    result: Evaluation,
    title: str,
    reference: Evaluation | None,
    against: Path | None,
    confused: int,
    by_class: bool,
) -> None:
    accuracy, values = result.accuracy, result.to_dict(confused)
    click.echo(f"{title}: {accuracy.clips:,} test clips, {result.describe_views}")
    click.echo(f"  top-1       {accuracy.top1:6.2f} %")
    click.echo(f"  top-5       {accuracy.top5:6.2f} %")
    click.echo(f"  mean class  {accuracy.mean_class:6.2f} %")
    if by_class:
        width = max(map(len, values["by_class"]))
        for (name, share), count in zip(
            values["by_class"].items(), accuracy.confusion.sum(axis=1), strict=True
        ):
            shown = "no clips" if share is None else f"{share:6.2f} %"
            click.echo(f"    {name:{width}}  {shown} of {count:,}")
    for pair in values["most_confused"]:
        click.echo(
            f"  {pair['class']!r} taken for {pair['taken_for']!r}: {pair['clips']} clips, "
            f"{pair['percent']:.1f} %"
        )
    if reference is not None:
        compared = result.against(reference)
        click.echo(
            f"  against {against} (top-1 {compared.reference_top1:.2f} %, {result.describe_views}):"
        )
        click.echo(f"    {compared.describe()}")
