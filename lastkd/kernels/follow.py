"""A kernel's log, live: its words to the terminal, its events into event logs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from lastkd.kernels.answers import Kernel
from lastkd.kernels.event_lines import MARK, EventFollower, LineAssembler
from lastkd.kernels.references import Reference
from lastkd.kernels.service import Kaggle, UnreachableError

RECONNECT_S = 2.0
FAILURES_IN_A_ROW = 20

Say = Callable[[str], None]


def follow(
    service: Kaggle, reference: Reference, folder: Path, *, poll_s: float, say: Say
) -> Kernel:
    """Follows the latest version until it ends; what it is then.

    The service sends the log from its beginning each time, so after a broken connection what was
    seen is passed over.

    Args:
        folder: where the runs' event logs go.
        poll_s: seconds between looks while there is nothing to follow.

    Raises:
        UserError: Kaggle couldn't be reached for long.
    """
    events = EventFollower(folder)
    seen = failures = 0
    said = ""
    while True:
        kernel = service.kernel(reference)
        if kernel.status == "QUEUED":
            if said != kernel.status:
                say(f"{reference}: version {kernel.version} is queued")
                said = kernel.status
            time.sleep(poll_s)
            continue
        assembler = LineAssembler()
        count = 0
        try:
            for event in service.log_stream(reference):
                count += 1
                lines = assembler.lines(str(event.get("data") or ""))
                if count <= seen:
                    continue  # the event logs have these already, and so has the terminal
                for line in lines:
                    if not events.take(line):
                        say(line)
                seen, failures = count, 0
        except UnreachableError:
            failures += 1
            if failures >= FAILURES_IN_A_ROW:
                raise
            time.sleep(RECONNECT_S)
            continue
        kernel = service.kernel(reference)
        if not kernel.running:
            return kernel
        time.sleep(poll_s)  # the stream ends a little before the status changes


def log_lines(log: str) -> list[str]:
    """The lines of a stored log without the events: JSON of pieces, or plain text."""
    try:
        pieces = json.loads(log)
    except ValueError:
        pieces = [{"data": log}]
    assembler = LineAssembler()
    lines: list[str] = []
    for piece in pieces if isinstance(pieces, list) else [pieces]:
        lines += assembler.lines(str(piece.get("data") or "") if isinstance(piece, dict) else "")
    return [line for line in lines if not line.startswith(MARK)]
