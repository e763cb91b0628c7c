"""Predictions as JSON lines, for a reader that may be slow or go away."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

WAITING = 8
"""Lines that wait for a slow reader; of more, the oldest are dropped."""


class LineWriter:
    """Writes lines in a thread of its own, so that a slow reader never holds up the stream.

    Args:
        stream: opened for bytes.
        drop: lines that a slow reader can't take are dropped; otherwise `write` waits.
        on_closed: called once, when nothing more can be written.

    Attributes:
        closed: whether nothing more can be written: the reader has gone, or writing failed.
        failure: why writing failed; None where the reader went away.
    """

    def __init__(
        self, stream: BinaryIO, *, drop: bool = True, on_closed: Callable[[], None]
    ) -> None:
        self._stream, self._drop, self._on_closed = stream, drop, on_closed
        self._lines: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition()
        self._dropped = 0
        self._ended = self.closed = False
        self.failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, values: dict[str, Any]) -> None:
        """Takes one line; `dropped` is added where lines before it were."""
        with self._changed:
            while not self._drop and len(self._lines) >= WAITING and not self.closed:
                self._changed.wait()
            if len(self._lines) >= WAITING:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(values)
            self._changed.notify_all()

    def close(self) -> None:
        """Waits until the reader has taken all lines, or has gone."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(0.1)  # in turns, so that Ctrl-C is heard

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._ended:
                    self._changed.wait()
                if not self._lines:
                    return
                values = self._lines.popleft()
                if self._dropped:
                    values = {**values, "dropped": self._dropped}
                    self._dropped = 0
                self._changed.notify_all()
            try:
                self._stream.write(json.dumps(values).encode() + b"\n")
                self._stream.flush()
            except (OSError, ValueError) as error:  # gone, a full disk, or closed by this side
                with self._changed:
                    if isinstance(error, OSError) and not isinstance(error, ConnectionError):
                        self.failure = error
                    self.closed = True
                    self._lines.clear()
                    self._changed.notify_all()
                self._on_closed()
                return
