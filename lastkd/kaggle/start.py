"""Starts a version of a kernel: checks the quota, and makes sure that it starts only once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.kaggle import history
from lastkd.kaggle.api_types import Kernel, Pushed, Quota
from lastkd.kaggle.job import Job, read_job
from lastkd.kaggle.packing import write_folder
from lastkd.kaggle.references import Reference, reference
from lastkd.kaggle.runner import GRACE_S
from lastkd.kaggle.service import Kaggle, NotThereError, UnreachableError

LEAST_H = 0.5
"""GPU hours below which no version is started."""
MARGIN_H = 0.25
_POLLS_AFTER_S = (2.0, 5.0, 10.0)


def existing(service: Kaggle, kernel: Reference) -> Kernel | None:
    """The kernel's latest version; None if there is none."""
    try:
        return service.kernel(kernel)
    except NotThereError:
        return None


def describe_quota(quota: Quota) -> str:
    """The quota as text."""
    refreshed = f", refreshed {quota.refreshes:%Y-%m-%d %H:%M} UTC" if quota.refreshes else ""
    return f"{quota.used_h:.1f} of {quota.total_h:.1f} GPU hours used{refreshed}"


def within_quota(service: Kaggle, job: Job) -> tuple[Job, str]:
    """The job, with less time if this week's quota has less, and the quota as text.

    Raises:
        UserError: less than half an hour is left.
    """
    job = job.model_copy(update={"quota_left": ""})
    if job.machine == "cpu":
        return job, "a CPU kernel uses no GPU quota"
    quota = service.quota()
    if quota is None:
        return job, "unknown"
    if quota.left_h < LEAST_H:
        raise UserError(
            f"the GPU quota is used up ({describe_quota(quota)}); run the same command next week"
        )
    most_s = (quota.left_h - MARGIN_H) * 3600
    if job.budget_s <= most_s:
        return job, describe_quota(quota)
    shorter = f"{most_s / 60:.0f}m"
    return (
        job.model_copy(update={"quota_left": shorter}),
        f"{describe_quota(quota)}; this version has {shorter}",
    )


def start(
    service: Kaggle, job: Job, script: str, metadata: Mapping[str, Any], *, after: int
) -> Pushed:
    """Pushes one version. If the connection breaks, checks whether the push arrived.

    Args:
        metadata: content of `kernel-metadata.json`.
        after: the latest version before; 0 if the kernel is new.

    Raises:
        UserError: Kaggle doesn't start it, or it is unknown whether the push arrived.
    """
    kernel = reference(job.kernel)
    with tempfile.TemporaryDirectory(prefix="lastkd-") as temporary:
        folder = Path(temporary)
        write_folder(folder, script, metadata)
        try:
            pushed = service.push(folder, int(job.budget_s + GRACE_S + 300))
        except UnreachableError as error:
            arrived = _arrived(service, kernel, job, after)
            if arrived is None:
                raise UserError(
                    f"{kernel}: it isn't known whether the push has arrived ({error})"
                ) from None
            pushed = arrived
    history.remember(
        kernel, job=job.id, attempt=job.attempt, version=pushed.version, url=pushed.url
    )
    return pushed


def _arrived(service: Kaggle, kernel: Reference, job: Job, after: int) -> Pushed | None:
    for wait in _POLLS_AFTER_S:
        time.sleep(wait)
        try:
            now = existing(service, kernel)
        except UnreachableError:
            continue
        if now is None or now.version <= after:
            continue
        latest = read_job(now.text, str(kernel))
        if (latest.id, latest.attempt) == (job.id, job.attempt):
            return Pushed(now.version, f"https://www.kaggle.com/code/{kernel}")
    return None
