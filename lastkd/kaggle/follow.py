"""Follows a kernel's log: prints it, and restores the event logs from its event lines."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lastkd.files.json_text import parse_json
from lastkd.kaggle.api_types import Kernel
from lastkd.kaggle.event_lines import MARK, EventFollower, LineAssembler
from lastkd.kaggle.references import Reference
from lastkd.kaggle.service import Kaggle, NotThereError, UnreachableError
from lastkd.terminal import Echo

RECONNECT_S = 2.0
FAILURES_IN_A_ROW = 20


class _Log:
    """How much of a log has been seen: the service sends it from its beginning each time."""

    def __init__(self, events: EventFollower, echo: Echo) -> None:
        self.events = events
        self.echo = echo
        self.seen = 0

    def take(self, pieces: Iterable[Mapping[str, Any]]) -> None:
        assembler = LineAssembler()
        for count, piece in enumerate(pieces, start=1):
            lines = assembler.lines(str(piece.get("data") or ""))
            if count <= self.seen:
                continue
            for line in lines:
                if not self.events.take(line):
                    self.echo(line)
            self.seen = count


def follow(
    service: Kaggle, reference: Reference, folder: Path, *, poll_s: float, echo: Echo
) -> Kernel:
    """Follows the latest version until it ends, through broken connections.

    Args:
        folder: where the runs' event logs go.
        poll_s: seconds between polls while there is nothing to follow.

    Returns:
        The kernel as it is then.

    Raises:
        UserError: Kaggle couldn't be reached for a long time.
    """
    log = _Log(EventFollower(folder), echo)
    failures = 0
    queued = False
    while True:
        before = log.seen
        try:
            kernel = service.kernel(reference)
            if kernel.status == "QUEUED":
                if not queued:
                    echo(f"{reference}: version {kernel.version} is queued")
                queued = True
            else:
                # a version that has only just started has no log yet
                with contextlib.suppress(NotThereError):
                    log.take(service.log_stream(reference))
                kernel = service.kernel(reference)
        except UnreachableError:
            failures = 1 if log.seen > before else failures + 1
            if failures >= FAILURES_IN_A_ROW:
                raise
            time.sleep(RECONNECT_S)
            continue
        if not kernel.running:
            return kernel
        time.sleep(poll_s)  # the stream ends a little before the status changes


def log_lines(log: str) -> list[str]:
    """The lines of a stored log, which is JSON or plain text, without the event lines."""
    try:
        pieces = parse_json(log)
    except ValueError:
        pieces = [{"data": log}]
    assembler = LineAssembler()
    lines: list[str] = []
    for piece in pieces if isinstance(pieces, list) else [pieces]:
        lines += assembler.lines(str(piece.get("data") or "") if isinstance(piece, dict) else "")
    return [line for line in lines if not line.startswith(MARK)]
