"""The Kaggle service's answers as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lastkd.kaggle.references import Reference

_RUNNING = ("QUEUED", "RUNNING", "CANCEL_REQUESTED")


@dataclass(frozen=True)
class Quota:
    """This week's GPU hours."""

    used_h: float
    total_h: float
    refreshes: datetime | None

    @property
    def left_h(self) -> float:
        return max(0.0, self.total_h - self.used_h)


@dataclass(frozen=True)
class Kernel:
    """A kernel's latest version."""

    reference: Reference
    version: int
    status: str
    failure: str
    text: str
    """The script as it was pushed."""

    @property
    def running(self) -> bool:
        return self.status in _RUNNING


@dataclass(frozen=True)
class Pushed:
    version: int
    url: str


@dataclass(frozen=True)
class OutputFile:
    name: str
    url: str


@dataclass(frozen=True)
class Dataset:
    version: int
    status: str

    @property
    def ready(self) -> bool:
        return self.status == "ready"

    @property
    def failed(self) -> bool:
        return self.status in ("failed", "deleted")
