"""Requests to stop: signals, a time budget, a launcher that is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from types import FrameType, TracebackType

from lastkd import process_start

REASONS = ("", "time budget", "launcher gone", "SIGHUP", "SIGTERM", "SIGINT")
"""By code; where ranks differ, the largest code counts."""
_SIGNALS = {"SIGHUP": 3, "SIGTERM": 4, "SIGINT": 5}
_SAME_PRESS_S = 2.0
"""A launcher repeats to its processes what a terminal has told them already."""


_looked_after = threading.Event()


def launched() -> bool:
    """Whether a launcher started this process."""
    return any(name in os.environ for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"))


def orphaned() -> bool:
    """Whether a launcher started this process and is gone.

    A launcher that is killed while it has one process leaves that process behind and unaware (with
    several processes, so does one that is killed hard). The system gives an orphan another parent,
    which is what is looked for; only under a launcher, since a run started by hand may outlive its
    shell.
    """
    return launched() and os.getppid() != process_start.PARENT


def end_if_orphaned() -> None:
    """From now until a run looks after it, ends this process when its launcher is gone.

    It would wait for minutes for a group that never comes about.
    """

    def watch() -> None:
        while not _looked_after.wait(1.0):
            if orphaned():
                os._exit(128 + signal.SIGTERM)

    if launched():
        threading.Thread(target=watch, name="launcher", daemon=True).start()


class Stopped(Exception):  # noqa: N818 - it is no error
    """A run stopped on request, with a checkpoint."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def exit_code(self) -> int:
        """0 if it ended as it was told at its start, else 128 + the signal as shells have it."""
        if self.reason == "time budget":
            return 0
        number = getattr(signal, self.reason, signal.SIGTERM)
        return 128 + int(number)


class StopRequests:
    """Whether this process was asked to stop; to be looked at between steps.

    SIGTERM, SIGHUP and the first SIGINT only leave a note. A second SIGINT raises
    `KeyboardInterrupt` where the program stands. A launcher that is gone counts as a request.
    """

    def __init__(self, budget_s: float | None = None) -> None:
        """
        Args:
            budget_s: seconds from the process's start to the end of its last checkpoint.
        """
        self.budget_s = budget_s
        self.checkpoint_s = 0.0  # the longest that writing a checkpoint has taken
        self._code = 0
        self._interrupted: float | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequests:
        _looked_after.set()
        if threading.current_thread() is not threading.main_thread():
            return self  # only a main thread can be told
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # what was told to ignore a signal, as by nohup, goes on ignoring it
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(TypeError):  # one that wasn't set from Python
                signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._code = max(self._code, _SIGNALS[signal.Signals(number).name])
        if number == signal.SIGINT:
            now = time.monotonic()
            if self._interrupted is not None and now - self._interrupted > _SAME_PRESS_S:
                raise KeyboardInterrupt
            self._interrupted = self._interrupted or now

    def code(self) -> int:
        """The index in `REASONS` of what was asked for; 0 if nothing was."""
        if self._code:
            return self._code
        if orphaned():
            return REASONS.index("launcher gone")
        if self.budget_s is not None and self.time_left() <= 0:
            return REASONS.index("time budget")
        return 0

    def time_left(self) -> float:
        """Seconds until the budget leaves just enough time to write a checkpoint and end."""
        assert self.budget_s is not None
        reserve = min(30.0, 0.05 * self.budget_s) + 3 * self.checkpoint_s
        return process_start.STARTED + self.budget_s - reserve - time.monotonic()
