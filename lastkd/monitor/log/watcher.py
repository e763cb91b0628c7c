"""Finds runs below some folders, new ones as they appear, and keeps all of them up to date."""

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
"""Folders below a named one that are looked into."""
LOOK_EVERY_S = 2.0
CHECK_EVERY_S = 1.0


def _logs(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Event logs at or below a folder; a run's own folders are not looked into."""
    if (folder / LOG_NAME).is_file():
        yield folder / LOG_NAME
        return
    if depth == 0:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # not ours to read, or gone in this moment
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _logs(Path(entry.path), depth - 1)


def tell_apart(runs: Sequence[Run]) -> None:
    """Names each run by its folder, and by as many folders above it as other runs make it need."""
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
        roots: run folders, folders of run folders, or event logs.

    Raises:
        UserError: a root that was named isn't there.
    """

    def __init__(self, roots: Sequence[Path], *, must_exist: bool = True) -> None:
        for root in roots:
            if must_exist and not root.exists():
                raise UserError(
                    f"{root}: no such run or folder of runs; name one that holds an {LOG_NAME}, "
                    "at any depth"
                )
        self.roots = list(roots)
        self.alert_log = AlertLog()
        self.groups: list[Group] = []
        self._runs: dict[Path, Run] = {}
        self._compared: dict[int, Compared] = {}
        self._grouped: tuple[list[Run], list[tuple[Start | None, str]]] = ([], [])
        self._looked = self._checked = -LOOK_EVERY_S
        self.look()

    @property
    def runs(self) -> list[Run]:
        """In the order of the groups."""
        return [run for group in self.groups for run in group.runs]

    def look(self) -> bool:
        """Looks for runs that came or went; whether there are any."""
        self._looked = time.monotonic()
        found = [log for root in self.roots for log in ([root] if root.is_file() else _logs(root))]
        known = {log: self._runs.get(log) or Run(log.parent, log) for log in found}
        changed = known.keys() != self._runs.keys()
        self._runs = known
        if changed:
            tell_apart(list(known.values()))
            self._regroup()
        return changed

    def poll(self, budget_s: float = 0.04) -> bool:
        """Takes in what was appended, for about so long; whether anything changed."""
        began = time.monotonic()
        changed = self.look() if began - self._looked >= LOOK_EVERY_S else False
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
        """Some log has more to read at once."""
        return any(run.pending for run in self._runs.values())

    @property
    def read_share(self) -> float:
        """From 0 to 1: how much of all logs was read."""
        size = sum(run.tail.size for run in self._runs.values())
        return sum(run.tail.offset for run in self._runs.values()) / size if size else 1.0

    def load(self) -> None:
        """Reads all that is there."""
        self.poll(1.0)
        while self.pending:
            self.poll(1.0)

    def _regroup(self) -> None:
        runs = list(self._runs.values())
        # what decides which runs belong together; their figures don't
        known = [(run.start, run.state() if run.end else "") for run in runs]
        if self._grouped == (runs, known):
            return
        self._grouped = (runs, known)
        self.groups = grouped(runs)
        self._compared = {id(run): compare(run, runs) for run in runs}

    def compared(self, run: Run) -> Compared:
        return self._compared.get(id(run)) or Compared()

    def check(self, now: float | None = None) -> list[Alert]:
        """Alerts that weren't told yet."""
        return [
            alert
            for run in self.runs
            if not run.pending
            for alert in self.alert_log.tell(
                str(run.tail.path), alerts(run, self.compared(run), now)
            )
        ]
