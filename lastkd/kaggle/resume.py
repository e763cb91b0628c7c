"""Going on where a version stopped on its time budget, until the work is done.

What is to be done follows from what the service has: the latest version's script says which attempt
it is, its output says how far it came, and the state dataset's files say which attempt they hold.
So this can be stopped anywhere and started again, also on another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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

_LOOKS = 40
"""How often an answer of the service that is behind its time is asked for again."""

Say = Callable[[str], None]


class Resumption:
    """One `lastkd kaggle resume`."""

    def __init__(
        self, service: Kaggle, kernel: Reference, folder: Path, *, poll_s: float, say: Say
    ) -> None:
        """
        Args:
            folder: where run folders and followed events go.
            poll_s: seconds between looks.
        """
        self.service = service
        self.kernel = kernel
        self.folder = folder
        self.poll_s = poll_s
        self.say = say

    def run(self, *, until_done: bool, retry: bool, time_budget: str | None) -> None:
        """Starts the next version where one is needed; again and again with `until_done`.

        Args:
            retry: start a version that failed or was cancelled again, from what it started from.
            time_budget: of the versions to come, in place of the job's.

        Raises:
            UserError: a version failed, or the quota is used up; run it again when that is mended.
        """
        if time_budget is not None:
            seconds(time_budget)
        with history.alone(self.kernel):
            while True:
                now = self.current()
                if now.running:
                    if not until_done:
                        self.say(
                            f"{self.kernel}: version {now.version} is {now.status.lower()}; follow "
                            f"it with lastkd kaggle logs -f {self.kernel}, or wait with "
                            "--until-done"
                        )
                        return
                    now = follow(
                        self.service, self.kernel, self.folder, poll_s=self.poll_s, say=self.say
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

    # --- looking ----------------------------------------------------------------------------

    def current(self) -> Kernel:
        """The latest version, once the service shows the one that was pushed from here.

        Raises:
            UserError: it never does.
        """
        expected = history.recall(self.kernel).pushed_version
        for _ in range(_LOOKS):
            now = self.service.kernel(self.kernel)
            if now.version >= expected:
                return now
            time.sleep(self.poll_s)
        raise UserError(
            f"{self.kernel}: version {expected} was pushed, but Kaggle shows {now.version}; look "
            "at its page and run the same command later"
        )

    def next_job(self, now: Kernel, retry: bool) -> Job | None:
        """What has to be started after a version that has ended; None where all is done.

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
        said = self.outcome(now, job)
        if said["state"] == "more":
            self.carry(job)
            return job.model_copy(update={"attempt": job.attempt + 1})
        self.bring()
        if said["state"] == "failed" and retry:
            self.carry(job)
            return job.model_copy(update={"attempt": job.attempt + 1})
        if said["state"] == "failed":
            raise UserError(
                f"{self.kernel}: version {now.version} failed ({said['reason']}); see lastkd "
                f"kaggle logs {self.kernel}, and go on from its checkpoints with --retry"
            )
        self.say(f"{self.kernel}: done; {self.folder}")
        return None

    def outcome(self, now: Kernel, job: Job) -> Mapping[str, Any]:
        """What the latest version's output says of itself.

        Raises:
            UserError: it says nothing.
        """
        for _ in range(_LOOKS):
            files, _ = self.service.outputs(self.kernel)
            said = fetch_job(files, self.folder)
            if said is None or said.get("id") != job.id:
                break
            if said.get("attempt") == job.attempt:
                return said
            time.sleep(self.poll_s)  # still the output of the version before
        raise UserError(
            f"{self.kernel}: version {now.version} has ended without saying how far it came; see "
            f"lastkd kaggle logs {self.kernel}"
        )

    # --- carrying on ------------------------------------------------------------------------

    def bring(self) -> dict[str, Path]:
        """Fetches the latest version's output but for stores."""
        files, _ = self.service.outputs(self.kernel)
        return fetch(files, self.folder, wanted=not_a_store, say=self.say)

    def carry(self, job: Job) -> None:
        """Makes the output of `job` a version of the state dataset, unless it is one already."""
        dataset, name = state_dataset(self.kernel), state_file(job.id, job.attempt)
        there = self.service.dataset(dataset)
        if there is not None and not there.failed:
            there = datasets.wait_ready(
                self.service, dataset, after=there.version - 1, poll_s=self.poll_s, say=self.say
            )
            if name in self.service.dataset_files(dataset):
                self.say(f"{dataset}: version {there.version} holds attempt {job.attempt} already")
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
            say=self.say,
        )
        packed.unlink()

    def push(self, before: Kernel, job: Job) -> None:
        """Starts the version that does `job`.

        Raises:
            UserError: the quota is used up, Kaggle refuses, or something else was pushed meanwhile.
        """
        job, quota = within_quota(self.service, job)
        self.say(f"quota: {quota}")
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
        self.say(
            f"{self.kernel}: version {pushed.version} started (attempt {job.attempt}, time budget "
            f"{job.quota_left or job.time_budget}) {pushed.url}"
        )


def state_dataset(kernel: Reference) -> Reference:
    """The dataset that carries a kernel's run folders from one version to the next."""
    return reference(f"{kernel}-state", what="dataset", new=True)


def not_a_store(name: str) -> bool:
    """Everything but stores, which are large and stay where they are of use."""
    return not name.startswith("store/")
