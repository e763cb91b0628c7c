"""Logs as the monitor reads them."""

from __future__ import annotations

from pathlib import Path

from run_logs import Log

from lastkd.monitor.log.run import Run
from lastkd.monitor.log.watcher import Watcher


def read(log: Log | Path) -> Run:
    path = log if isinstance(log, Path) else log.path
    run = Run(path.parent, path)
    poll(run)
    return run


def poll(run: Run) -> Run:
    run.poll()
    while run.pending:
        run.poll()
    return run


def watch(*roots: Path) -> Watcher:
    watcher = Watcher(roots)
    watcher.load()
    return watcher
