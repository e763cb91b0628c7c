"""lastkd info: what a store holds."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lastkd.data.clip import USUAL_FPS
from lastkd.entry_point import PATH

if TYPE_CHECKING:
    from rich.console import Console

    from lastkd.data.store.clip_store import ClipStore

_BAR = 28
_WIDEST_NAME = 34


@click.command()
@click.argument("store", type=PATH)
@click.option("--details", is_flag=True, help="List how bodies were chosen and what is left out.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def info(store: Path, details: bool, as_json: bool) -> None:
    """Shows what a prepared STORE holds.

    --details lists each clip in which there were bodies to choose from, each sample that was left
    out, and each that couldn't be read.
    """
    from rich.console import Console

    from lastkd.data.store.checks import warnings_of
    from lastkd.data.store.clip_store import ClipStore

    opened = ClipStore.open(store)
    about = opened.about() | {"warnings": warnings_of(opened)}
    if as_json:
        if details:
            about["details"] = list(opened.details())
        click.echo(json.dumps(about, indent=2))
        return
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    _print_facts(console, store, about)
    for warning in about["warnings"]:
        console.print(f"  warning: {warning}")
    if details:
        _list(opened)
        return
    _draw_lengths(console, about["frames_histogram"])
    _draw_classes(console, about["clips_of_class"])


def _print_facts(console: Console, store: Path, about: dict[str, Any]) -> None:
    frames = about["frames"]
    origin = f" ({about['source']})" if about["source"] != about["name"] else ""
    console.print(f"{store}: {about['name']}{origin}")
    console.print(
        f"  {about['clips']:,} clips, {about['classes']} classes, layout {about['layout']}"
    )
    who = [f"{about[of]} {of}" for of in ("subjects", "cameras", "setups") if about[of]]
    if who:
        console.print(f"  {', '.join(who)}")
    console.print(f"  frames: {frames['min']} to {frames['max']}, median {frames['median']:g}")
    console.print(f"  frames per second: {_frame_rate(about['frames_per_second'])}")
    console.print(f"  two bodies: {100 * about['two_body_share']:.1f} % of the clips")
    for name, parts in about["splits"].items():
        console.print(
            f"  split {name}: {parts['train']:,} training and {parts['test']:,} test clips"
        )
    for difference in about["benchmark_differences"]:
        console.print(f"    {difference}")
    if about["benchmark"] and not about["benchmark_differences"]:
        console.print(f"    the numbers of {about['benchmark']}")
    for what, count in about["bodies"].items():
        console.print(f"  bodies kept as {what}: {count:,}")
    for what, count in about["left_out"].items():
        console.print(f"  {what}: {count:,}")
    for split, same in about["duplicates"].items():
        console.print(f"  test clips of {split} that equal a training clip: {same['clips']:,}")
        for name, count in same["of_class"].items():
            console.print(f"    {name}: {count:,}")
    if about["equal_clips"]:
        console.print(f"  clips that equal an earlier one: {about['equal_clips']:,}")
    console.print(f"  content hash: {about['content_hash']}")


def _frame_rate(fps: dict[str, float | None]) -> str:
    if fps["min"] is None:
        return f"not known, taken for {USUAL_FPS:g}; lastkd prepare --fps says it"
    spread = "" if fps["min"] == fps["max"] else f" to {fps['max']:g}"
    rest = f"; not known of {fps['unknown']:,} clips" if fps["unknown"] else ""
    return f"{fps['min']:g}{spread}{rest}"


def _list(store: ClipStore) -> None:
    for entry in store.details():
        if "bodies" in entry:
            click.echo(entry["clip"])
            for body, frames, fate in entry["bodies"]:
                click.echo(f"  {body}, {frames} frames: {fate}")
        elif "bad" in entry:
            click.echo(f"{entry['clip']}: bad: {entry['bad']}")
        else:
            click.echo(f"{entry['clip']}: {', '.join(entry.get('left_out', []))}")


def _bar(console: Console, share: float, width: int = _BAR) -> str:
    if console.encoding.lower() != "utf-8":
        return "#" * round(share * width)
    eighths = round(share * width * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[rest]


def _draw_lengths(console: Console, histogram: dict[str, list[int]]) -> None:
    edges, clips = histogram["edges"], histogram["clips"]
    console.print("\nframes", style="bold")
    labels = [
        str(low) if high - low == 1 else f"{low}-{high - 1}"
        for low, high in itertools.pairwise(edges)
    ]
    width = max(map(len, labels))
    digits = len(f"{max(clips):,}")
    for label, count in zip(labels, clips, strict=True):
        bar = _bar(console, count / max(clips))
        console.print(f"  {label:>{width}}  {count:>{digits},} {bar}")


def _draw_classes(console: Console, classes: dict[str, int]) -> None:
    console.print("\nclips of each class", style="bold")
    most = max(classes.values())
    name_width = min(max(map(len, classes)), _WIDEST_NAME)
    bar_width = 10 if len(classes) > 20 else _BAR
    digits = len(f"{most:,}")
    cells = []
    for name, count in classes.items():
        short = name if len(name) <= name_width else name[: name_width - 1] + "…"
        bar = _bar(console, count / most, bar_width)
        cells.append(f"{short:<{name_width}}  {count:>{digits},} {bar}")
    width = name_width + bar_width + digits + 5
    columns = max(console.width // width, 1) if len(cells) > 20 else 1
    rows = -(-len(cells) // columns)
    for row in range(rows):
        console.print("  " + "".join(cell.ljust(width) for cell in cells[row::rows]).rstrip())
