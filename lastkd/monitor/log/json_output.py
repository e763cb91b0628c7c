"""The state of all runs as plain data for scripts."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from lastkd.monitor.log.alerts import alerts
from lastkd.monitor.log.groups import expected
from lastkd.monitor.log.run import Run
from lastkd.monitor.log.watcher import Watcher

SCHEMA = 1


def _accuracy(pair: tuple[int, float] | None) -> dict[str, Any] | None:
    return {"epoch": pair[0], "top1": pair[1]} if pair else None


def run_to_dict(run: Run, watcher: Watcher, group: str, now: float) -> dict[str, Any]:
    """One run with all values of the table and the panels; unknown ones are None."""
    compared, last = watcher.compared(run), run.last
    hard_weight, soft_weight = run.weights()
    soft, soft_share = last.soft if last else None, run.soft_share()
    baseline = compared.baseline
    return {
        "run": run.folder.name,
        "folder": str(run.folder),
        "group": group,
        "run_id": run.start.run_id if run.start else None,
        "model": run.model or None,
        "variant": run.variant or None,
        "distilled": run.distilled,
        "state": run.state(now),
        "reason": run.end.reason if run.end else None,
        "epoch": run.epoch,
        "epochs": run.total_epochs or None,
        "step": run.step,
        "total_steps": run.total_steps or None,
        "clips_per_s": run.clips_per_s,
        "teacher_share": run.teacher_share,
        "seconds_left": run.seconds_left(),
        "quiet_s": round(run.quiet(now), 1),
        "alpha": run.number("alpha"),
        "tau": run.number("tau"),
        "loss": {
            "name": run.loss.name if run.loss else None,
            "ce": last.ce if last else None,
            "soft": soft,
            "total": last.total if last else None,
            "hard_weight": hard_weight,
            "soft_weight": soft_weight,
            "soft_share": soft_share,
            # their names when kd was the only loss
            "kl": soft,
            "ce_weight": hard_weight,
            "kl_weight": soft_weight,
            "kl_share": soft_share,
        },
        "chooser": run.chooser,
        "best": _accuracy(run.best),
        "last": _accuracy(run.final),
        "tests": {
            checkpoint: {"epoch": test.epoch, "top1": test.top1}
            for checkpoint, test in run.tests.items()
        },
        "softness": msgspec.to_builtins(run.start.softness) if run.start else None,
        "standalone": baseline
        and {
            "run": baseline.folder.name,
            "folder": str(baseline.folder),
            "best": _accuracy(baseline.best),
        },
        "teacher": {"model": run.start.teacher.model, "top1": compared.teacher_top1}
        if run.start and run.start.teacher
        else None,
        "gain": compared.gain(run),
        "expected": expected(run),
        "warnings": run.warning_count,
        "alerts": [
            {"kind": alert.kind, "time": alert.time, "reason": alert.reason}
            for alert in alerts(run, compared, now)
        ],
        "device": msgspec.to_builtins(run.devices[-1]) if run.devices else None,
        "unread": run.unread(),
    }


def to_dict(watcher: Watcher) -> dict[str, Any]:
    """All runs, and the time."""
    now = time.time()
    return {
        "schema": SCHEMA,
        "time": round(now, 3),
        "runs": [
            run_to_dict(run, watcher, group.title, now)
            for group in watcher.groups
            for run in group.runs
        ],
    }
