"""Detects lost ranks: every rank sends heartbeats and watches those of the others."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import torch.distributed as dist
from accelerate import Accelerator
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.stop_requests import Stopped
from lastkd.errors import LostRankError

BEAT_S = 1.0
PATIENCE_S = 30.0
"""Silence after which a rank counts as lost."""
SHORT_PATIENCE_S = 5.0
"""Used once an exchange with the other ranks has failed."""


class RankWatch:
    """Watches the other ranks, using two threads per rank and a key-value store on rank 0.

    NCCL waits ten minutes for a rank that is gone, and its error doesn't name the rank. This watch
    names it after `PATIENCE_S` seconds of silence, even if it merely hangs. One thread sends this
    rank's heartbeats and reads the others'; it may block itself if rank 0 hangs, so a second thread
    judges. If the main thread can't notice the loss because it is blocked in a collective, the
    second thread ends the process.
    """

    def __init__(self, accelerator: Accelerator, on_lost: Callable[[str], None]) -> None:
        """
        Args:
            on_lost: called with a description before the thread ends the process.
        """
        self.accelerator = accelerator
        self.on_lost = on_lost
        self.lost: int | None = None
        self._rank, self._world = accelerator.process_index, accelerator.num_processes
        self._store: TCPStore | None = None
        self._silent_since: dict[int, float] = {}
        self._answered = 0.0  # when the store last answered
        self._unreachable = False  # the store, and with it rank 0
        self._leaving = threading.Event()
        self._noticed = threading.Event()  # the main thread knows of the loss

    def __enter__(self) -> RankWatch:
        if self._world == 1:
            return self
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")

        def open_store() -> int:
            self._store = TCPStore(host, 0, is_master=True, wait_for_workers=False)
            return self._store.port

        port = decide_on_main_process(self.accelerator, open_store)
        if self._store is None:
            self._store = TCPStore(host, port, is_master=False)
        self._store.add(f"beat/{self._rank}", 1)
        self.accelerator.wait_for_everyone()
        self._answered = time.monotonic()
        others = [rank for rank in range(self._world) if rank != self._rank]
        self._silent_since = dict.fromkeys(others, self._answered)
        self._threads = [
            threading.Thread(target=work, name=f"ranks: {work.__name__}", daemon=True)
            for work in (self._beat, self._judge)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._world == 1:
            return
        self._noticed.set()
        self._leaving.set()
        for thread in self._threads:
            thread.join(timeout=2 * BEAT_S)
        if error is None or isinstance(error, Stopped):
            self._say_goodbye()  # after any other error, the others may still be waiting

    def _say_goodbye(self) -> None:
        """Announces the end, so that no rank counts as lost; rank 0 owns the store and waits."""
        assert self._store is not None
        try:
            self._store.add("left", 1)
            until = time.monotonic() + SHORT_PATIENCE_S
            while self._rank == 0 and time.monotonic() < until:
                if self._store.add("left", 0) == self._world:
                    return
                time.sleep(0.05)
        except RuntimeError:
            pass  # rank 0 has left already

    def _beat(self) -> None:
        assert self._store is not None
        beats: dict[int, int] = {}
        while not self._leaving.wait(BEAT_S):
            try:
                self._store.add(f"beat/{self._rank}", 1)
                for rank in self._silent_since:
                    beat = self._store.add(f"beat/{rank}", 0)
                    if beats.get(rank) != beat:
                        beats[rank], self._silent_since[rank] = beat, time.monotonic()
                if self._store.add("left", 0):
                    self._leaving.set()  # the run has ended on one rank, so it ends here too
                self._answered = time.monotonic()
            except RuntimeError:
                self._unreachable = True
                return

    def _silent(self, patience: float) -> int | None:
        """A rank that has been silent for more than `patience` seconds, if any."""
        now = time.monotonic()
        if self._rank and (self._unreachable or now - self._answered > patience):
            return 0
        late = (rank for rank, since in self._silent_since.items() if now - since > patience)
        return next(late, None)

    def _judge(self) -> None:
        while not self._leaving.wait(BEAT_S):
            self.lost = self._silent(PATIENCE_S)
            if self.lost is not None:
                self._end_if_unnoticed()
                return

    def _end_if_unnoticed(self) -> None:
        if self._noticed.wait(SHORT_PATIENCE_S) or self._leaving.is_set():
            return
        text = str(self._error())
        self.on_lost(text)
        print(f"Error: {text}", file=sys.stderr, flush=True)
        os._exit(LostRankError.exit_code)

    def _error(self) -> LostRankError:
        return LostRankError(
            f"rank {self.lost} of {self._world} is lost (its process ended or hangs, or its "
            "machine can't be reached); run the same command again to resume from the last "
            "checkpoint"
        )

    def blame(self, error: BaseException) -> LostRankError | None:
        """The error about a lost rank that explains `error`; None if no rank is lost."""
        if self._world == 1 or not _from_collective(error):
            return None
        self._noticed.set()
        until = time.monotonic() + 2 * SHORT_PATIENCE_S
        while self.lost is None and time.monotonic() < until:
            self.lost = self._silent(SHORT_PATIENCE_S)
            time.sleep(0.1)
        return self._error() if self.lost is not None else None


def _from_collective(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(word in text for word in ("gloo", "nccl", "connection", "timed out"))
    )
