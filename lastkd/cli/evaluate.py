"""lastkd evaluate: a checkpoint on a split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastkd.entry_point import PATH
from lastkd.errors import UserError

if TYPE_CHECKING:
    from lastkd.evaluation.checkpoint import Evaluation


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("--data", type=PATH, required=True, help="Prepared store.")
@click.option("--split", default="xsub", show_default=True, help="Split whose test part is used.")
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
@click.option("--confused", default=5, show_default=True, help="How many confused pairs to show.")
@click.option("--model", help="package.module:factory of a model that isn't lastkd's own.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def evaluate(
    checkpoint: Path,
    data: Path,
    split: str,
    clips: int,
    by_class: bool,
    against: Path | None,
    predictions: Path | None,
    confused: int,
    model: str | None,
    as_json: bool,
) -> None:
    """Measures a CHECKPOINT on the test part of a split.

    \b
      lastkd evaluate runs/nano/best.safetensors --data data/ntu60 --split xsub
      lastkd evaluate runs/nano/best.safetensors --data data/ntu60 \\
          --against runs/last_e_nano/best.safetensors

    --against says by how many points CHECKPOINT is better than the other, with a 95 % interval over
    the test clips and McNemar's exact test.
    """
    from lastkd.data.store.clip_store import ClipStore
    from lastkd.distributed.accelerator import leave, make_accelerator
    from lastkd.evaluation.checkpoint import evaluate_checkpoint, is_own
    from lastkd.runs.predictions import check_suffix
    from lastkd.terminal import Progress

    if predictions is not None:
        check_suffix(predictions)
        if predictions.exists():
            raise UserError(f"{predictions}: exists already; remove it or choose another name")
    both = [checkpoint] if against is None else [checkpoint, against]
    factories = [model if against is None or is_own(path) else None for path in both]
    accelerator = make_accelerator()
    _, test_clips = ClipStore.open(data).split(split)
    views = clips * len(test_clips[accelerator.process_index :: accelerator.num_processes])
    results: list[Evaluation] = []
    for path, factory in zip(both, factories, strict=True):
        with Progress(
            str(path), views, unit="views", shown=accelerator.is_main_process, stderr=True
        ) as progress:
            results.append(
                evaluate_checkpoint(
                    path,
                    data,
                    split,
                    views_per_clip=clips,
                    factory=factory,
                    accelerator=accelerator,
                    on_progress=lambda done, progress=progress: progress.update(done),  # type: ignore[misc]
                )
            )
    if accelerator.is_main_process:
        if predictions is not None:
            results[0].predictions.save(predictions)
        if as_json:
            click.echo(json.dumps(_plain(results, against, confused), indent=2))
        else:
            _print(results, f"{checkpoint} on {data}, {split}", against, confused, by_class)
    leave(accelerator)


def _plain(results: list[Evaluation], against: Path | None, confused: int) -> dict[str, Any]:
    said = results[0].to_dict(confused)
    if against is not None:
        compared = results[0].against(results[1]).to_dict()
        said["against"] = {"checkpoint": str(against), **compared}
    return said


def _print(
    results: list[Evaluation], title: str, against: Path | None, confused: int, by_class: bool
) -> None:
    result, accuracy = results[0], results[0].accuracy
    said = result.to_dict(confused)
    click.echo(f"{title}: {accuracy.clips:,} test clips, {result.describe_views}")
    click.echo(f"  top-1       {accuracy.top1:6.2f} %")
    click.echo(f"  top-5       {accuracy.top5:6.2f} %")
    click.echo(f"  mean class  {accuracy.mean_class:6.2f} %")
    if by_class:
        width = max(map(len, said["by_class"]))
        for (name, share), count in zip(
            said["by_class"].items(), accuracy.confusion.sum(axis=1), strict=True
        ):
            shown = "no clips" if share is None else f"{share:6.2f} %"
            click.echo(f"    {name:{width}}  {shown} of {count:,}")
    for pair in said["most_confused"]:
        click.echo(
            f"  {pair['class']!r} taken for {pair['taken_for']!r}: {pair['clips']} clips, "
            f"{pair['percent']:.1f} %"
        )
    if against is not None:
        compared = result.against(results[1])
        click.echo(
            f"  against {against} (top-1 {compared.reference_top1:.2f} %, {result.describe_views}):"
        )
        click.echo(f"    {compared.describe()}")
