"""lastkd kaggle: runs on Kaggle's two T4, and brings them back."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lastkd.cli.kaggle_push import push
from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.kaggle import datasets, history
from lastkd.kaggle.fetch import fetch as fetch_output
from lastkd.kaggle.follow import follow, log_lines
from lastkd.kaggle.references import Reference, reference, slugified
from lastkd.kaggle.resume import Resumption, not_a_store
from lastkd.kaggle.service import RETRIES_AFTER_S, Kaggle, UnreachableError
from lastkd.kaggle.start import describe_quota
from lastkd.kaggle.status import describe_kernel

_KERNEL = click.argument("kernel", required=False)
_OUT = click.option(
    "--out", type=PATH, help="Folder for run folders and events. [default: runs/SLUG]"
)
_POLL = click.option(
    "--poll",
    type=click.FloatRange(0.01),
    default=30.0,
    show_default=True,
    help="Seconds between polls.",
)


@click.group()
def kaggle() -> None:
    """Trains on Kaggle's two free T4s, from a machine without a GPU.

    \b
      lastkd kaggle upload data/ntu60 --name ntu60-store
      lastkd kaggle push distill --variant all --data OWNER/ntu60-store --teacher OWNER/teacher
      lastkd kaggle resume --until-done
      lastkd kaggle fetch

    KERNEL is OWNER/SLUG, or SLUG of yours; by default the one that was last pushed from here. The
    official client must be installed (pip install 'lastkd[kaggle]'). See docs/kaggle.md.
    """


kaggle.add_command(push)


def _kernel(kernel: str | None, user: str) -> Reference:
    return reference(kernel, owner=user) if kernel else history.latest()


def _folder(out: Path | None, slug: str) -> Path:
    return out or Path("runs") / slug


@kaggle.command()
@click.argument("folder", type=PATH)
@click.option("--name", help="Slug of the dataset. [default: lastkd-FOLDER]")
@_POLL
def upload(folder: Path, name: str | None, poll: float) -> None:
    """Uploads FOLDER as a private dataset, or a new version of it, and waits until it is ready.

    FOLDER is a store, or contains checkpoints at any depth: a run folder, or all of runs/.
    """
    description, files = datasets.collect(folder)
    slug = name or f"lastkd-{slugified(folder.resolve().name)}"
    reference(slug, owner="owner", kind="dataset", new=True)
    service = Kaggle()
    dataset = reference(slug, owner=service.user, kind="dataset", new=True)
    click.echo(f"{folder}: {description}")
    click.echo(datasets.LICENCE_NOTE)
    datasets.send(
        service, dataset, files, notes=f"from {folder.name}", poll_s=poll, echo=click.echo
    )
    click.echo(f"Use it as --data {dataset}" if "store" in description else f"Use it as {dataset}")


@kaggle.command()
@_KERNEL
@_OUT
def status(kernel: str | None, out: Path | None) -> None:
    """Shows the status of KERNEL's latest version."""
    service = Kaggle()
    named = _kernel(kernel, service.user)
    for line in describe_kernel(service.kernel(named), _folder(out, named.slug)):
        click.echo(line)


@kaggle.command()
@_KERNEL
@click.option("-f", "--follow", "live", is_flag=True, help="Until it ends; event logs go to --out.")
@_OUT
@_POLL
def logs(kernel: str | None, live: bool, out: Path | None, poll: float) -> None:
    """Prints the log of KERNEL's latest version.

    With -f it is followed live, and the event logs of its runs are restored in --out, for lastkd
    monitor. It may be followed again, also after a break.
    """
    service = Kaggle()
    named = _kernel(kernel, service.user)
    if not live:
        for line in log_lines(service.outputs(named)[1]):
            click.echo(line)
        return
    ended = follow(service, named, _folder(out, named.slug), poll_s=poll, echo=click.echo)
    click.echo(f"{named}: version {ended.version} has ended as {ended.status}")


@kaggle.command()
@_KERNEL
@_OUT
@click.option("--all", "everything", is_flag=True, help="Also stores, which are large.")
def fetch(kernel: str | None, out: Path | None, everything: bool) -> None:
    """Downloads the output of KERNEL's latest version to --out: run folders and evaluations."""
    service = Kaggle()
    named = _kernel(kernel, service.user)
    now = service.kernel(named)
    files, _ = service.outputs(named)
    if not files:
        raise UserError(f"{named}: version {now.version} ({now.status.lower()}) has no output yet")
    include = (lambda name: True) if everything else not_a_store
    fetch_output(files, _folder(out, named.slug), include=include, echo=click.echo)


@kaggle.command()
def quota() -> None:
    """Shows this week's GPU hours."""
    now = Kaggle().quota()
    if now is None:
        raise UserError(
            "Kaggle doesn't say what your quota is; see https://www.kaggle.com/settings"
        )
    click.echo(f"{describe_quota(now)}; {now.left_h:.1f} left")


@kaggle.command()
@_KERNEL
@click.option(
    "--until-done", is_flag=True, help="Start version after version, as long as the quota lasts."
)
@click.option("--retry", is_flag=True, help="Go on even if the latest version failed.")
@click.option("--time-budget", help="Of the next versions. [default: that of the job]")
@_OUT
@_POLL
def resume(
    kernel: str | None,
    until_done: bool,
    retry: bool,
    time_budget: str | None,
    out: Path | None,
    poll: float,
) -> None:
    """Starts the next version of KERNEL where the latest one stopped on its time budget.

    Its output becomes a version of a private dataset, from which the next version starts. This can
    be stopped at any time and started again, here or on another machine: it looks first at what
    Kaggle has, and starts nothing twice.
    """
    service = Kaggle()
    named = _kernel(kernel, service.user)
    resumption = Resumption(service, named, _folder(out, named.slug), poll_s=poll, echo=click.echo)
    while True:
        try:
            resumption.run(until_done=until_done, retry=retry, time_budget=time_budget)
            return
        except UnreachableError as error:
            if not until_done:
                raise
            # it takes hours: a network that is away for a while mustn't end it
            click.echo(f"{error}; trying again", err=True)
            time.sleep(max(poll, RETRIES_AFTER_S[-1]))
