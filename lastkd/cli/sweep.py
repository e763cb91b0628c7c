"""lastkd sweep: a grid of alpha and tau, or of another loss's settings, on one teacher pass."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lastkd.cli.options import LOSS_NUMBERS, Numbers, Variants, settings_command
from lastkd.errors import UserError
from lastkd.pipeline.request import find_inputs, on_split, resolve_all
from lastkd.pipeline.runner import train_in_groups
from lastkd.pipeline.sweep import (
    Grid,
    Point,
    Result,
    grid_of,
    point_folder,
    refuse_double,
)
from lastkd.settings.architecture import short_name
from lastkd.settings.resolve import default_paths
from lastkd.settings.runs import DistillSettings


def run(given: dict[str, Any], file: Path | None) -> None:
    """Distils with every combination of some settings, all on one pass of the teacher.

    \b
      lastkd sweep --variant nano --alpha 0.3,0.5,0.7,0.9 --tau 2,4,6 \\
        --data data/ntu60 --teacher runs/last_v2_base/best.safetensors
      accelerate launch --config_file launch_configs/gpu.yaml -m lastkd sweep ...

    Every number among the settings of the chosen loss takes several values. Each point of the grid
    is an ordinary run in a folder under --run (runs/sweep-VARIANT) that starts from the same
    weights and sees the same views as the others. If the sweep was stopped, the same command
    resumes it; a larger grid keeps the points that are finished (with --teacher-cache the teacher
    doesn't have to run again).

    The table shows top-1 in percent at the last epoch; sweep.json and sweep.csv beside the run
    folders hold it too. The best point is chosen on the
    validation part if --validation keeps one out, else on the test part, so that its accuracy is
    optimistic.
    """
    swept = {
        name: value
        for name, value in given.items()
        if name != "variant" and isinstance(value, tuple)
    }
    given = {name: value for name, value in given.items() if name not in swept}
    if not swept:
        raise UserError("which grid? give --alpha or --tau several values, as in --alpha 0.3,0.7")
    grid = grid_of(swept)
    by_point = [resolve_all(given | values, file) for values in grid]
    variants = [student.variant for student in by_point[0]]
    names = "-".join(map(short_name, variants))
    folder = by_point[0][0].run or Path("runs") / f"sweep-{names}"
    points = [
        Point(values, of_variant, point_folder(folder, of_variant.variant, values))
        for number in range(len(variants))
        for values, of_variant in zip(
            grid, (students[number] for students in by_point), strict=True
        )
    ]
    refuse_double(points)
    inputs = find_inputs(points[0].settings)
    if inputs is None:
        defaults = default_paths()
        raise UserError(
            f"neither a store ({defaults.store}) nor a teacher ({defaults.teacher}) is here; "
            "name yours with --data and --teacher"
        )
    data, teacher = inputs
    points = [replace(point, settings=on_split(point.settings, data)) for point in points]

    from lastkd.distributed.accelerator import make_accelerator, run_and_leave

    run_and_leave(
        lambda: train_in_groups(
            [point.settings for point in points],
            [point.folder for point in points],
            data=data,
            teacher=teacher,
            accelerator=make_accelerator(points[0].settings.accumulation),
        )
    )
    if int(os.environ.get("RANK", "0")):
        return
    results = Grid(tuple(map(Result.of, points)))
    common = points[0].settings
    about = {
        "data": str(data),
        "split": common.split,
        "epochs": common.epochs,
        "seed": common.seed,
        "teacher": teacher and str(teacher),
        "loss": common.loss.name,
    }
    results.save(folder, about)
    show(results, list(swept), folder)


def show(grid: Grid, swept: list[str], folder: Path) -> None:
    """The grid on the terminal."""
    console = Console()
    unfinished = sum(result.last is None for result in grid.results)
    for variant in grid.variants:
        best = grid.best(variant)
        if best is None or best.last is None:
            continue
        console.print(matrix(grid, variant, swept))
        at = ", ".join(f"{name} {value:g}" for name, value in best.values.items())
        console.print(
            f"{variant}: best at {at}, chosen on the {grid.chooser} part: test top-1 "
            f"{best.last['top1']:.2f} %, top-5 {best.last['top5']:.2f} %, mean class "
            f"{best.last['mean_class']:.2f} %",
            highlight=False,
            soft_wrap=True,
        )
    if unfinished:
        console.print(
            f"{unfinished} of {len(grid.results)} points aren't finished; the same command goes on",
            highlight=False,
        )
    console.print(f"{folder / 'sweep.json'}, {folder / 'sweep.csv'}", highlight=False)


def matrix(grid: Grid, variant: str, swept: list[str]) -> Table:
    """One variant's top-1: a row for each combination of the first settings, a column a value of
    the last."""
    *leading, across = swept
    results = [result for result in grid.results if result.variant == variant]
    best = grid.best(variant)
    columns = list(dict.fromkeys(result.values[across] for result in results))
    rows: dict[tuple[float, ...], dict[float, str]] = {}
    for result in results:
        shown = "-" if result.chosen_by is None else f"{result.chosen_by:.2f}"
        if result is best:
            shown = f"[bold]{shown}*[/bold]"
        key = tuple(result.values[name] for name in leading)
        rows.setdefault(key, {})[result.values[across]] = shown
    table = Table(
        title=f"{variant}: {grid.chooser} top-1 in percent at the last epoch (* the best)"
    )
    for name in leading:
        table.add_column(name, justify="right")
    for value in columns:
        table.add_column(f"{across} {value:g}", justify="right")
    for key, cells in rows.items():
        table.add_row(*(f"{value:g}" for value in key), *(cells[value] for value in columns))
    return table


sweep = settings_command(DistillSettings, run, {"variant": Variants(), LOSS_NUMBERS: Numbers()})
sweep.name = "sweep"
