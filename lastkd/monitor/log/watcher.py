"""Finds the runs below some folders and keeps them up to date, new ones included."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lastkd.errors import UserError
from lastkd.monitor.log.alerts import Alert, AlertLog, alerts
from lastkd.monitor.log.groups import Compared, Group, compare, grouped
from lastkd.monitor.log.records import LOG_NAME, Start
from lastkd.monitor.log.run import Run

DEPTH = 5
"""How many levels below a root runs are looked for."""
SCAN_EVERY_S = 2.0


def _logs(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """The event logs in and below a folder; folders inside a run's folder are skipped."""
    if (folder / LOG_NAME).is_file():
        yield folder / LOG_NAME
        return
    if depth == 0:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # unreadable, or removed at this moment
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _logs(Path(entry.path), depth - 1)


def tell_apart(runs: Sequence[Run]) -> None:
    """Names each run by its folder, with as many parent folders as it takes to be unique."""
    paths = {run: run.folder.absolute().parts for run in runs}
    depths = dict.fromkeys(runs, 1)
    for _ in range(max(map(len, paths.values()), default=0)):
        named: dict[str, list[Run]] = defaultdict(list)
        for run, parts in paths.items():
            named["/".join(parts[-depths[run] :])].append(run)
        for name, alike in named.items():
            for run in alike:
                run.name = name
                depths[run] += len(alike) > 1


class Watcher:
    """The runs below some folders.

    Args:
        roots: run folders, folders that contain some, or event logs.
        must_exist: whether a missing root is an error.

    Raises:
        UserError: a root doesn't exist.
    """

    def __init__(self, roots: Sequence[Path], *, must_exist: bool = True) -> None:
        for root in roots:
            if must_exist and not root.exists():
                raise UserError(
                    f"{root}: no such run or folder of runs; name one that contains an {LOG_NAME}, "
                    "at any depth"
                )
        self.roots = list(roots)
        self.alert_log = AlertLog()
        self.groups: list[Group] = []
        self._runs: dict[Path, Run] = {}
        self._compared: dict[int, Compared] = {}
        self._grouped: tuple[list[Run], list[tuple[Start | None, str]]] = ([], [])
        self._scanned = -SCAN_EVERY_S
        self.scan()

    @property
    def runs(self) -> list[Run]:
        """All runs, in the order of their groups."""
        return [run for group in self.groups for run in group.runs]

    def scan(self) -> bool:
        """Looks for runs that appeared or disappeared; whether there are any."""
        self._scanned = time.monotonic()
        logs = [log for root in self.roots for log in ([root] if root.is_file() else _logs(root))]
        known = {log: self._runs.get(log) or Run(log.parent, log) for log in logs}
        changed = known.keys() != self._runs.keys()
        self._runs = known
        if changed:
            tell_apart(list(known.values()))
            self._regroup()
        return changed

    def poll(self, budget_s: float = 0.04) -> bool:
        """Reads what was appended, for about `budget_s` seconds; whether anything changed."""
        began = time.monotonic()
        changed = self.scan() if began - self._scanned >= SCAN_EVERY_S else False
        for run in list(self._runs.values()):
            changed |= run.poll()
            while run.pending and time.monotonic() - began < budget_s:
                run.poll()
        if any(run.tail.gone for run in self._runs.values()):
            self._runs = {log: run for log, run in self._runs.items() if not run.tail.gone}
        if changed:
            self._regroup()
        return changed

    @property
    def pending(self) -> bool:
        """Some log can be read further without waiting."""
        return any(run.pending for run in self._runs.values())

    @property
    def read_share(self) -> float:
        """The share of all logs that was read, from 0 to 1."""
        size = sum(run.tail.size for run in self._runs.values())
        return sum(run.tail.offset for run in self._runs.values()) / size if size else 1.0

    def load(self) -> None:
        """Reads all logs to their ends."""
        self.poll(1.0)
        while self.pending:
            self.poll(1.0)

    def _regroup(self) -> None:
        runs = list(self._runs.values())
        # the groups depend on these, not on losses and accuracies
        known = [(run.start, run.state() if run.end else "") for run in runs]
        if self._grouped == (runs, known):
            return
        self._grouped = (runs, known)
        self.groups = grouped(runs)
        self._compared = {id(run): compare(run, runs) for run in runs}

    def compared(self, run: Run) -> Compared:
        """What a run is measured against."""
        return self._compared.get(id(run)) or Compared()

    def check(self, now: float | None = None) -> list[Alert]:
        """New alerts.

        Args:
            now: in seconds since 1970; the present by default.
        """
        return [
            alert
            for run in self.runs
            if not run.pending
            for alert in self.alert_log.add(
                str(run.tail.path), alerts(run, self.compared(run), now)
            )
        ]
