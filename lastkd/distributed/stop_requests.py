"""Requests to stop a run: signals, a time budget, a launcher that has died."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType

from lastkd import process_start

REASONS = ("", "time budget", "launcher gone", "SIGHUP", "SIGTERM", "SIGINT")
"""By code; where ranks differ, the largest code wins."""
_SIGNALS = {"SIGHUP": 3, "SIGTERM": 4, "SIGINT": 5}
_SAME_KEY_PRESS_S = 2.0
"""A launcher forwards the signal that a terminal has already sent to its processes."""


_watched = threading.Event()


def launched() -> bool:
    """Whether a launcher started this process."""
    return any(name in os.environ for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"))


def orphaned() -> bool:
    """Whether a launcher started this process and has died since.

    A launcher of a single process that is killed leaves the process running, and so does one of
    several processes if it is killed by SIGKILL. The system then gives the process another parent,
    which is what this checks. Without a launcher it is always false: a run started by hand may
    outlive its shell.
    """
    return launched() and os.getppid() != process_start.PARENT


def end_if_orphaned() -> None:
    """Ends this process if its launcher dies before a `StopRequests` takes over.

    Otherwise it would wait for minutes for a process group that never forms.
    """

    def watch() -> None:
        while not _watched.wait(1.0):
            if orphaned():
                os._exit(128 + signal.SIGTERM)

    if launched():
        threading.Thread(target=watch, name="launcher", daemon=True).start()


class Stopped(Exception):  # noqa: N818 - stopping on request is no error
    """A run stopped on request, after writing a checkpoint."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def exit_code(self) -> int:
        """0 if the time budget ended the run, else 128 + the signal's number, as in shells."""
        if self.reason == "time budget":
            return 0
        number = getattr(signal, self.reason, signal.SIGTERM)
        return 128 + int(number)


class StopRequests:
    """Collects requests to stop this process, to be checked between steps.

    SIGTERM, SIGHUP and the first SIGINT are only noted. A second SIGINT raises `KeyboardInterrupt`
    at once. A launcher that has died counts as a request.
    """

    def __init__(self, budget_s: float | None = None) -> None:
        """
        Args:
            budget_s: seconds from the start of the process to the end of its last checkpoint.
        """
        self.budget_s = budget_s
        self.checkpoint_s = 0.0  # the longest time that writing a checkpoint has taken
        self._code = 0
        self._interrupted: float | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequests:
        _watched.set()
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread can handle signals
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # a signal that is ignored, as under nohup, stays ignored
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(TypeError):  # a handler not set from Python
                signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._code = max(self._code, _SIGNALS[signal.Signals(number).name])
        if number == signal.SIGINT:
            now = time.monotonic()
            if self._interrupted is not None and now - self._interrupted > _SAME_KEY_PRESS_S:
                raise KeyboardInterrupt
            self._interrupted = self._interrupted or now

    def code(self) -> int:
        """The index in `REASONS` of the request; 0 if there is none."""
        if self._code:
            return self._code
        if orphaned():
            return REASONS.index("launcher gone")
        if self.budget_s is not None and self.time_left() <= 0:
            return REASONS.index("time budget")
        return 0

    def time_left(self) -> float:
        """Seconds until only enough of the budget is left to write a checkpoint and end."""
        assert self.budget_s is not None
        reserve = min(30.0, 0.05 * self.budget_s) + 3 * self.checkpoint_s
        return process_start.STARTED + self.budget_s - reserve - time.monotonic()
