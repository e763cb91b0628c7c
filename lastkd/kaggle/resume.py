"""Starts the next version of a kernel where the last one stopped, until the job is done.

What to do follows from what the service has: the latest version's script says which attempt it is,
its output how far it came, and the files of the state dataset which attempt they are from. So this
can be stopped at any point and started again, even on another machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from lastkd.errors import UserError
from lastkd.kaggle import datasets, history
from lastkd.kaggle.api_types import Kernel
from lastkd.kaggle.fetch import fetch, fetch_job
from lastkd.kaggle.follow import follow
from lastkd.kaggle.job import Job, read_job, seconds, state_file, with_job
from lastkd.kaggle.packing import metadata
from lastkd.kaggle.references import Reference, reference
from lastkd.kaggle.service import Kaggle
from lastkd.kaggle.start import start, within_quota
from lastkd.kaggle.state import pack
from lastkd.terminal import Echo

_POLLS = 40
"""How often to ask again while the service still gives an outdated answer."""


class Resumption:
    """One `lastkd kaggle resume`."""

    def __init__(
        self, service: Kaggle, kernel: Reference, folder: Path, *, poll_s: float, echo: Echo
    ) -> None:
        """
        Args:
            folder: where run folders and event logs go.
            poll_s: seconds between polls.
        """
        self.service = service
        self.kernel = kernel
        self.folder = folder
        self.poll_s = poll_s
        self.echo = echo

    def run(self, *, until_done: bool, retry: bool, time_budget: str | None) -> None:
        """Starts the next version if one is needed.

        Args:
            until_done: wait for it and go on until the job is done.
            retry: start a version that failed or was cancelled again, from the same state.
            time_budget: of the next versions; None keeps the job's.

        Raises:
            UserError: a version failed, or the quota is used up.
        """
        if time_budget is not None:
            seconds(time_budget)
        with history.exclusive(self.kernel):
            while True:
                now = self.current()
                if now.running:
                    if not until_done:
                        self.echo(
                            f"{self.kernel}: version {now.version} is {now.status.lower()}; follow "
                            f"it with lastkd kaggle logs -f {self.kernel}, or wait with "
                            "--until-done"
                        )
                        return
                    now = follow(
                        self.service, self.kernel, self.folder, poll_s=self.poll_s, echo=self.echo
                    )
                job = self.next_job(now, retry)
                if job is None:
                    return
                retry = False
                if time_budget is not None:
                    job = job.model_copy(update={"time_budget": time_budget})
                self.push(now, job)
                if not until_done:
                    return

    # --- what there is ----------------------------------------------------------------------------

    def current(self) -> Kernel:
        """The latest version, once the service shows the one that was pushed from here.

        Raises:
            UserError: it never does.
        """
        expected = history.recall(self.kernel).pushed_version
        for _ in range(_POLLS):
            now = self.service.kernel(self.kernel)
            if now.version >= expected:
                return now
            time.sleep(self.poll_s)
        raise UserError(
            f"{self.kernel}: version {expected} was pushed, but Kaggle shows {now.version}; look "
            "at its page and run the same command later"
        )

    def next_job(self, now: Kernel, retry: bool) -> Job | None:
        """The job of the next version, after one that has ended; None if all is done.

        Raises:
            UserError: it failed.
        """
        job = read_job(now.text, f"{self.kernel} version {now.version}")
        if now.status != "COMPLETE":
            if retry:
                return job
            reason = f" ({now.failure})" if now.failure else ""
            raise UserError(
                f"{self.kernel}: version {now.version} has ended as {now.status}{reason}; see "
                f"lastkd kaggle logs {self.kernel}, and start it again with --retry"
            )
        outcome = self.outcome(now, job)
        if outcome["state"] == "more":
            self.carry(job)
            return job.model_copy(update={"attempt": job.attempt + 1})
        self.bring()
        if outcome["state"] == "failed" and retry:
            self.carry(job)
            return job.model_copy(update={"attempt": job.attempt + 1})
        if outcome["state"] == "failed":
            raise UserError(
                f"{self.kernel}: version {now.version} failed ({outcome['reason']}); see lastkd "
                f"kaggle logs {self.kernel}, and go on from its checkpoints with --retry"
            )
        self.echo(f"{self.kernel}: done; {self.folder}")
        return None

    def outcome(self, now: Kernel, job: Job) -> Mapping[str, Any]:
        """The job file in the latest version's output.

        Raises:
            UserError: there is none.
        """
        for _ in range(_POLLS):
            files, _ = self.service.outputs(self.kernel)
            content = fetch_job(files, self.folder)
            if content is None or content.get("id") != job.id:
                break
            if content.get("attempt") == job.attempt:
                return content
            time.sleep(self.poll_s)  # still the output of the previous version
        raise UserError(
            f"{self.kernel}: version {now.version} has ended without saying how far it came; see "
            f"lastkd kaggle logs {self.kernel}"
        )

    # --- the next version ------------------------------------------------------------------------

    def bring(self) -> dict[str, Path]:
        """Fetches the latest version's output without stores."""
        files, _ = self.service.outputs(self.kernel)
        return fetch(files, self.folder, include=not_a_store, echo=self.echo)

    def carry(self, job: Job) -> None:
        """Uploads the output of `job` as a version of the state dataset, unless it is there."""
        dataset, name = state_dataset(self.kernel), state_file(job.id, job.attempt)
        current = self.service.dataset(dataset)
        if current is not None and not current.failed:
            current = datasets.wait_ready(
                self.service,
                dataset,
                after=current.version - 1,
                poll_s=self.poll_s,
                echo=self.echo,
            )
            if name in self.service.dataset_files(dataset):
                self.echo(f"{dataset}: version {current.version} has attempt {job.attempt} already")
                return
        packed = user_cache_path("lastkd") / "kaggle" / name
        pack(self.bring(), packed)
        datasets.fixed_time(packed)
        datasets.send(
            self.service,
            dataset,
            {name: packed},
            notes=f"{self.kernel} attempt {job.attempt}",
            poll_s=self.poll_s,
            echo=self.echo,
        )
        packed.unlink()

    def push(self, before: Kernel, job: Job) -> None:
        """Pushes the version that does `job`.

        Raises:
            UserError: the quota is used up, Kaggle refuses, or there is another new version.
        """
        job, quota = within_quota(self.service, job)
        self.echo(f"quota: {quota}")
        now = self.service.kernel(self.kernel)
        if now.version != before.version:
            raise UserError(
                f"{self.kernel}: version {now.version} was started meanwhile, by someone else; run "
                "the same command again"
            )
        state = state_dataset(self.kernel) if job.attempt > 1 else None
        pushed = start(
            self.service,
            job,
            with_job(before.text, job),
            metadata(job, state),
            after=now.version,
        )
        self.echo(
            f"{self.kernel}: version {pushed.version} started (attempt {job.attempt}, time budget "
            f"{job.quota_left or job.time_budget}) {pushed.url}"
        )


def state_dataset(kernel: Reference) -> Reference:
    """The dataset that carries a kernel's run folders from one version to the next."""
    return reference(f"{kernel}-state", kind="dataset", new=True)


def not_a_store(name: str) -> bool:
    """Whether a file of the output isn't part of a store, which is large and used at Kaggle."""
    return not name.startswith("store/")
