"""Runs one command's process: passes stop requests on to it and never leaves it behind."""

from __future__ import annotations

import contextlib
import math
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from lastkd.distributed.launch import environment_alone
from lastkd.distributed.stop_requests import REASONS, Stopped, StopRequests

SECONDS_BETWEEN_POLLS = 0.1
INTERRUPT_PATIENCE_S = 10.0


def run_child(
    argv: Sequence[str],
    requests: StopRequests,
    *,
    launched: bool = True,
    deadline: float | None = None,
    on_line: Callable[[str], None] | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    patience_s: float = math.inf,
) -> int:
    """Runs a command to its end and returns its exit code.

    The process gets a session of its own, so that ctrl-C reaches it once, from here, and reaches
    the run itself rather than its launcher, which would die of it and leave the run behind.

    Args:
        requests: requests to stop this process, entered by the caller; they are passed on.
        launched: whether the command is a launcher, whose child processes are the run.
        deadline: `time.monotonic()` at which the command is asked to stop.
        on_line: called with each line that the command prints; by default it shares this process's
            output.
        environment: by default this process's, without what a launcher has set.
        patience_s: seconds between asking the command to stop and killing it.

    Raises:
        Stopped: this process was asked to stop, or the deadline has passed; the command has ended.
    """
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment_alone() if environment is None else environment,
        stdout=subprocess.PIPE if on_line else None,
        stderr=subprocess.STDOUT if on_line else None,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    reader: threading.Thread | None = None
    if on_line and process.stdout is not None:
        reader = threading.Thread(target=_pass_lines, args=(process.stdout, on_line), daemon=True)
        reader.start()
    command = psutil.Process(process.pid)
    reason, kill_at = "", math.inf
    while (code := process.poll()) is None:
        try:
            now = time.monotonic()
            if not reason:
                if number := requests.code():
                    reason = REASONS[number]
                elif deadline is not None and now > deadline:
                    reason = "time budget"
                if reason:
                    _send(command, _signal_for(reason), launched)
                    kill_at = now + patience_s
            elif now > kill_at:
                _kill(command)
            time.sleep(SECONDS_BETWEEN_POLLS)
        except KeyboardInterrupt:  # the second ctrl-C: at once
            _interrupt(process, command, launched)
            raise
    if reader is not None:
        reader.join()
    if reason:
        raise Stopped(reason)
    return code


def _pass_lines(stream: IO[str], on_line: Callable[[str], None]) -> None:
    for line in stream:
        on_line(line.rstrip("\n"))


def _signal_for(reason: str) -> int:
    return int(getattr(signal, reason, signal.SIGTERM))


def _send(command: psutil.Process, number: int, launched: bool) -> None:
    """Sends a signal to the command, or to the run that a launcher has started."""
    try:
        receivers = (command.children() if launched else []) or [command]
    except psutil.NoSuchProcess:
        return
    for process in receivers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _kill(command: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in [*command.children(recursive=True), command]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _interrupt(process: subprocess.Popen[str], command: psutil.Process, launched: bool) -> None:
    """Passes an interrupt on, and kills the command if it doesn't end soon."""
    _send(command, signal.SIGINT, launched)
    try:
        process.wait(timeout=INTERRUPT_PATIENCE_S)
    except subprocess.TimeoutExpired:
        _kill(command)
        process.wait()
