"""One step's process: watched, told to stop when the sequence is, and never left behind."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Sequence

import psutil

from lastkd.distributed.launch import environment_alone
from lastkd.distributed.stop_requests import REASONS, Stopped, StopRequests

LOOK_EVERY_S = 0.1
AT_ONCE_S = 10.0


def run_child(command: Sequence[str], requests: StopRequests, *, until: float | None = None) -> int:
    """Runs a command to its end and returns its exit code.

    It gets a session of its own: what a terminal tells this process reaches it once, from here, and
    reaches the run itself and not its launcher, which would die of it and leave the run behind.

    Args:
        requests: entered by the caller.
        until: `time.monotonic()` at which it is stopped; for commands that know no time budget.

    Raises:
        Stopped: the sequence was asked to stop, or the time is over; the command has ended.
    """
    process = subprocess.Popen(command, env=environment_alone(), start_new_session=True)
    launcher = psutil.Process(process.pid)
    reason = ""
    while (code := process.poll()) is None:
        try:
            if not reason:
                if number := requests.code():
                    reason = REASONS[number]
                elif until is not None and time.monotonic() > until:
                    reason = "time budget"
                if reason:
                    _stop(launcher, _number(reason))
            time.sleep(LOOK_EVERY_S)
        except KeyboardInterrupt:  # the second one: at once
            _end_at_once(process, launcher)
            raise
    if reason:
        raise Stopped(reason)
    return code


def _number(reason: str) -> int:
    return int(getattr(signal, reason, signal.SIGTERM))


def _stop(launcher: psutil.Process, number: int) -> None:
    """Sends a signal to what the launcher started, or to itself while it has started nothing."""
    try:
        told = launcher.children() or [launcher]
    except psutil.NoSuchProcess:
        return
    for process in told:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _end_at_once(process: subprocess.Popen[bytes], launcher: psutil.Process) -> None:
    """Passes an interrupt on, and doesn't wait long for its effect."""
    _stop(launcher, signal.SIGINT)
    try:
        process.wait(timeout=AT_ONCE_S)
    except subprocess.TimeoutExpired:
        for own in [*launcher.children(recursive=True), launcher]:
            with contextlib.suppress(psutil.NoSuchProcess):
                own.kill()
        process.wait()
