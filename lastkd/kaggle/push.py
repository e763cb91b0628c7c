"""Pushes the first version of a job, after checking and showing it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lastkd.errors import UserError
from lastkd.kaggle import datasets
from lastkd.kaggle.api_types import Kernel
from lastkd.kaggle.credentials import known_user
from lastkd.kaggle.fetch import fetch_job
from lastkd.kaggle.job import Job, read_job
from lastkd.kaggle.packing import code_file_name, fill, fits, metadata, pack_code, write_folder
from lastkd.kaggle.references import KaggleInput, Reference, reference
from lastkd.kaggle.service import Kaggle
from lastkd.kaggle.start import existing, start, within_quota
from lastkd.terminal import Echo

CODE_DATASET = "lastkd-code"


@dataclass(frozen=True)
class Order:
    """A job and how to push it.

    Attributes:
        name: of the kernel, with or without its owner.
        code: how lastkd travels: `auto`, `script` or `dataset`.
        fresh: whether to start over if the kernel could be resumed.
    """

    job: Job
    name: str
    code: str = "auto"
    fresh: bool = False

    def of(self, owner: str) -> Order:
        """The order with its kernel's full name.

        Raises:
            UserError: Kaggle doesn't allow the name.
        """
        kernel = reference(self.name, owner=owner, new=True)
        reference(f"{kernel}-state", kind="dataset", new=True)
        return replace(self, job=self.job.model_copy(update={"kernel": str(kernel)}))


def placed(order: Order, code: bytes) -> Job:
    """The order's job, with the dataset that lastkd travels in if it isn't the script."""
    within = fits(fill(order.job, code))
    if order.code == "script" or (order.code == "auto" and within):
        return order.job
    owner = order.job.kernel.partition("/")[0]
    return order.job.model_copy(update={"code": f"{owner}/{CODE_DATASET}/{code_file_name(code)}"})


def script_of(job: Job, code: bytes) -> str:
    """The kernel script for a job, with lastkd inside unless a dataset carries it."""
    return fill(job, None if job.code else code)


def dry_run(order: Order, *, owner: str | None, out: Path | None, echo: Echo) -> None:
    """Writes the folder that would be pushed, without any connection.

    Raises:
        UserError: the owner isn't known, or the folder exists.
    """
    owner = owner or known_user()
    if owner is None:
        raise UserError("whose kernel is it? give --owner with your name at Kaggle")
    order = order.of(owner)
    folder = out or Path(f"kaggle-{order.name}")
    if folder.exists():
        raise UserError(f"{folder}: exists already; remove it or choose another --out")
    code = pack_code()
    job = placed(order, code)
    write_folder(folder, script_of(job, code), metadata(job, None))
    if job.code:
        (folder / code_file_name(code)).write_bytes(code)
    for line in shown(job):
        echo(line)
    more = f"; {job.code} has to be a dataset's file first" if job.code else ""
    echo(
        f"{folder}: written, nothing was pushed; push it with kaggle kernels push -p {folder}{more}"
    )


def shown(job: Job) -> list[str]:
    """Lines about what will happen."""
    machine = "two T4" if job.machine == "t4x2" else "a CPU"
    lines = [
        f"{job.kernel}: private, internet off, on {machine}, time budget {job.time_budget}",
        *(f"  {name}: {source}" for name, source in job.inputs.items()),
        f"  lastkd {job.command}",
        *(f"  {name}: {value}" for name, value in job.config.items()),
    ]
    if job.code:
        lines.append(f"  lastkd: {job.code}")
    return lines


def push(order: Order, *, owner: str | None, poll_s: float, echo: Echo) -> None:
    """Checks everything, shows what will happen and starts the first version.

    Raises:
        UserError: something is missing or in the way. Nothing has been started then, unless the
            error says so.
    """
    service = Kaggle()
    order = order.of(owner or service.user)
    kernel = reference(order.job.kernel)
    code = pack_code()
    now = existing(service, kernel)
    check_free(service, now, order.fresh)
    job = with_sources(service, placed(order, code), poll_s, echo)
    job, quota = within_quota(service, job)
    for line in shown(job):
        echo(line)
    echo(f"  quota: {quota}")
    if job.code:
        send_code(service, job, code, poll_s, echo)
    about = metadata(job, None)
    script = script_of(job, code)
    pushed = start(service, job, script, about, after=now.version if now else 0)
    echo(f"{kernel}: version {pushed.version} started")
    echo(f"  {pushed.url}")
    echo("  watch it with lastkd kaggle logs -f; go on with lastkd kaggle resume --until-done")


def check_free(service: Kaggle, now: Kernel | None, fresh: bool) -> None:
    """Checks that nothing stands in the way of a first version.

    Raises:
        UserError: a version is running, or one has stopped that can be resumed.
    """
    if now is None:
        return
    if now.running:
        raise UserError(
            f"{now.reference}: version {now.version} is {now.status.lower()}; wait for it, or push "
            "under another --name"
        )
    if now.status != "COMPLETE" or fresh:
        return
    try:
        job = read_job(now.text, str(now.reference))
    except UserError:
        return  # not a kernel of lastkd
    with tempfile.TemporaryDirectory() as folder:
        content = fetch_job(service.outputs(now.reference)[0], Path(folder))
    if content and content.get("id") == job.id and content.get("state") == "more":
        raise UserError(
            f"{now.reference}: version {now.version} has stopped on its time budget; go on with "
            f"lastkd kaggle resume {now.reference}, or start over with --fresh"
        )


def with_sources(service: Kaggle, job: Job, poll_s: float, echo: Echo) -> Job:
    """The job with its inputs resolved to datasets or kernels that are ready.

    Raises:
        UserError: one is neither, or isn't ready.
    """
    inputs = {}
    for name, source in job.sources().items():
        if not source.kernel:
            dataset = service.dataset(source.reference)
            if dataset is not None:
                datasets.wait_ready(
                    service, source.reference, after=dataset.version - 1, poll_s=poll_s, echo=echo
                )
                inputs[name] = str(source)
                continue
        inputs[name] = str(_finished_kernel(service, name, source))
    return job.model_copy(update={"inputs": inputs})


def _finished_kernel(service: Kaggle, name: str, source: KaggleInput) -> KaggleInput:
    now = existing(service, source.reference)
    if now is None:
        kinds = "kernel" if source.kernel else "dataset or kernel"
        raise UserError(
            f"{name}: {source.reference} is no {kinds} that you may use; check the name"
        )
    if now.status != "COMPLETE":
        raise UserError(
            f"{name}: kernel {source.reference} is {now.status.lower()}; its output can be "
            "used when it is complete"
        )
    return KaggleInput(source.reference, kernel=True, path=source.path)


def send_code(service: Kaggle, job: Job, code: bytes, poll_s: float, echo: Echo) -> None:
    """Uploads this code, unless the latest version of the code dataset contains it."""
    name = code_file_name(code)
    dataset: Reference = reference(job.code.rpartition("/")[0], kind="dataset")
    existing = service.dataset(dataset)
    if existing is not None and existing.ready and name in service.dataset_files(dataset):
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(code)
        datasets.send(service, dataset, {name: file}, notes=name, poll_s=poll_s, echo=echo)
