"""lastkd kaggle: kernels on Kaggle's two T4, and what comes back from them."""

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
from lastkd.kaggle.start import described
from lastkd.kaggle.status import standing

_KERNEL = click.argument("kernel", required=False)
_OUT = click.option(
    "--out", type=PATH, help="Folder for run folders and events. [default: runs/SLUG]"
)
_POLL = click.option(
    "--poll", type=click.FloatRange(0.01), default=30.0, show_default=True, help="Seconds a look."
)


@click.group()
def kaggle() -> None:
    """Trains on Kaggle's free two T4, from a machine without a GPU.

    \b
      lastkd kaggle upload data/ntu60 --name ntu60-store
      lastkd kaggle push distill --variant all --data OWNER/ntu60-store --teacher OWNER/teacher
      lastkd kaggle resume --until-done
      lastkd kaggle fetch

    KERNEL is OWNER/SLUG, or SLUG of yours; without it, the one that was pushed last from here. The
    official client does the talking (pip install 'lastkd[kaggle]'). docs/kaggle.md tells the way.
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
    """Makes a private dataset of FOLDER, or a new version of it, and waits until it is ready.

    FOLDER is a store, or holds checkpoints at any depth: run folders, or runs/ as a whole.
    """
    what, files = datasets.collect(folder)
    slug = name or f"lastkd-{slugified(folder.resolve().name)}"
    reference(slug, owner="owner", what="dataset", new=True)
    service = Kaggle()
    dataset = reference(slug, owner=service.user, what="dataset", new=True)
    click.echo(f"{folder}: {what}")
    click.echo(datasets.LICENCE_NOTE)
    datasets.send(service, dataset, files, notes=f"from {folder.name}", poll_s=poll, say=click.echo)
    click.echo(f"Use it as --data {dataset}" if "store" in what else f"Use it as {dataset}")


@kaggle.command()
@_KERNEL
@_OUT
def status(kernel: str | None, out: Path | None) -> None:
    """Shows how the latest version of KERNEL stands."""
    service = Kaggle()
    named = _kernel(kernel, service.user)
    for line in standing(service.kernel(named), _folder(out, named.slug)):
        click.echo(line)


@kaggle.command()
@_KERNEL
@click.option("-f", "--follow", "live", is_flag=True, help="Until it ends; events go to --out.")
@_OUT
@_POLL
def logs(kernel: str | None, live: bool, out: Path | None, poll: float) -> None:
    """Prints the log of KERNEL's latest version.

    With -f it is followed live, and its events become event logs in --out, where lastkd monitor
    finds them. Following twice, or again after a break, does no harm.
    """
    service = Kaggle()
    named = _kernel(kernel, service.user)
    if not live:
        for line in log_lines(service.outputs(named)[1]):
            click.echo(line)
        return
    ended = follow(service, named, _folder(out, named.slug), poll_s=poll, say=click.echo)
    click.echo(f"{named}: version {ended.version} has ended as {ended.status}")


@kaggle.command()
@_KERNEL
@_OUT
@click.option("--all", "everything", is_flag=True, help="Stores too, which are large.")
def fetch(kernel: str | None, out: Path | None, everything: bool) -> None:
    """Brings the output of KERNEL's latest version into --out: run folders and evaluations."""
    service = Kaggle()
    named = _kernel(kernel, service.user)
    now = service.kernel(named)
    files, _ = service.outputs(named)
    if not files:
        raise UserError(f"{named}: version {now.version} ({now.status.lower()}) has no output yet")
    wanted = (lambda name: True) if everything else not_a_store
    fetch_output(files, _folder(out, named.slug), wanted=wanted, say=click.echo)


@kaggle.command()
def quota() -> None:
    """Shows the GPU hours of this week."""
    now = Kaggle().quota()
    if now is None:
        raise UserError("Kaggle doesn't tell your quota; see https://www.kaggle.com/settings")
    click.echo(f"{described(now)}; {now.left_h:.1f} left")


@kaggle.command()
@_KERNEL
@click.option("--until-done", is_flag=True, help="Version after version, as far as the quota goes.")
@click.option("--retry", is_flag=True, help="Also where the latest version failed.")
@click.option("--time-budget", help="Of the versions to come. [default: the job's own]")
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
    """Goes on with KERNEL where its latest version stopped on its time budget.

    Its output becomes a version of a private dataset, and the next version starts from it. Stop
    this at any time and start it again, here or on another machine: it looks first what Kaggle has,
    and starts nothing twice.
    """
    service = Kaggle()
    named = _kernel(kernel, service.user)
    resumption = Resumption(service, named, _folder(out, named.slug), poll_s=poll, say=click.echo)
    while True:
        try:
            resumption.run(until_done=until_done, retry=retry, time_budget=time_budget)
            return
        except UnreachableError as error:
            if not until_done:
                raise
            # hours lie between two looks: a network that is away for a while must not end this
            click.echo(f"{error}; trying again", err=True)
            time.sleep(max(poll, RETRIES_AFTER_S[-1]))
