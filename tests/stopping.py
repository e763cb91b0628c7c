"""Stops a run in this process as a scheduler's SIGTERM does, at a chosen step."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lastkd.distributed.stop_requests import Stopped
from lastkd.runs.folder import Position
from lastkd.training.run_control import RunControl


@contextmanager
def stopped_after(step: int) -> Iterator[None]:
    """The run within gets the signal after `step` steps, and must stop with a checkpoint."""
    check = RunControl.check

    def signalled(control: RunControl, position: Position) -> None:
        if position.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        check(control, position)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(RunControl, "check", signalled)
        yield
