"""The events of a log as typed records, decoded fast. `docs/events.md` describes them.

What a key holds is checked, what is unknown is passed over; so a log of a newer version is read as
far as it is understood.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

LOG_NAME = "events.jsonl"
"""Of a run's event log, as `lastkd.runs.events` has it, whose own imports take time."""

SCHEMA = 2
"""The newest version of `docs/events.md` that is understood here in full."""

STEP_LINE = b'{"event": "step", '
"""How `EventLog` begins a step event, the one kind of which there may be millions."""


class Record(msgspec.Struct, tag_field="event", tag=str.lower, gc=False):
    """What every event has."""

    time: float


class Data(msgspec.Struct):
    """Of `start`: the store that was trained on."""

    hash: str = ""
    source: str = ""
    classes: int = 0
    train: int = 0
    test: int = 0


class Teacher(msgspec.Struct):
    """Of `start`: where the soft labels come from."""

    model: str = ""
    hash: str = ""
    accuracy: dict[str, Any] = msgspec.field(default_factory=dict)
    cache: str | None = None


class LossInfo(msgspec.Struct):
    """Of `start`, since schema 2: the distillation loss and its weights."""

    name: str = "kd"
    title: str = "soft"
    hard_weight: float = 1.0
    soft_weight: float = 0.0
    settings: dict[str, Any] = msgspec.field(default_factory=dict)


class Start(Record):
    schema: int = 1
    run_id: str = ""
    run: str = ""
    model: str = ""
    variant: str = ""
    parameters: int = 0
    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    versions: dict[str, Any] = msgspec.field(default_factory=dict)
    device: dict[str, Any] = msgspec.field(default_factory=dict)
    processes: int = 1
    global_batch: int = 0
    steps_per_epoch: int = 0
    total_steps: int = 0
    data: Data = msgspec.field(default_factory=Data)
    loss: LossInfo | None = None
    teacher: Teacher | None = None


class Step(Record):
    step: int
    epoch: int
    ce: float | None = None
    soft: float | None = None
    soft_weight: float | None = None
    kl: float | None = None  # `soft` in schema 1
    total: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    clips_per_s: float | None = None
    teacher_ms: float | None = None
    student_ms: float | None = None
    not_finite: list[str] = []


class Epoch(Record):
    epoch: int
    step: int = 0
    top1: float | None = None
    top5: float | None = None
    mean_class: float | None = None
    by_class: list[float | None] = []
    seconds: float | None = None


class Warning(Record):
    text: str = ""


class Resume(Record):
    step: int = 0
    epoch: int = 0
    processes: int | None = None
    reason: str | None = None


class Checkpoint(Record):
    step: int = 0
    epoch: int = 0
    path: str = ""
    seconds: float | None = None
    mb: float | None = None


class Skipped(Record):
    step: int = 0
    epoch: int = 0
    reason: str = ""
    count: int = 1


class Gpu(msgspec.Struct):
    """Of `device`: one of the run's GPUs."""

    index: int = 0
    name: str = ""
    memory_used_mb: float | None = None
    memory_total_mb: float | None = None
    use_percent: float | None = None
    temperature_c: float | None = None


class Device(Record):
    devices: list[Gpu] = []
    cpu_percent: float | None = None
    ram_used_mb: float | None = None
    ram_total_mb: float | None = None
    disk_free_gb: float | None = None


class End(Record):
    state: str = ""
    reason: str | None = None
    best_epoch: int | None = None


class _Kind(msgspec.Struct):
    event: str


Event = Start | Step | Epoch | Warning | Resume | Checkpoint | Skipped | Device | End
KINDS = {kind.__name__.lower() for kind in Record.__subclasses__()}

_events = msgspec.json.Decoder(Event)
_steps = msgspec.json.Decoder(Step)
_kind = msgspec.json.Decoder(_Kind)


class Decoded:
    """The events of some lines, and what could not be read of them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.bad = 0
        self.unknown: set[str] = set()

    def line(self, line: bytes) -> None:
        """Adds the event of one line."""
        try:
            self.events.append(_events.decode(line))
            return
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        try:
            kind = _kind.decode(line).event
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.bad += 1
            # a process that was killed left half a line, and the next one wrote on behind it
            glued = line.rfind(b'{"event":')
            if glued > 0:
                self.line(line[glued:])
            return
        if kind in KINDS:
            self.bad += 1  # a known event whose keys hold something else
        else:
            self.unknown.add(kind)


_UNUSUAL = re.compile(rb'"not_finite"|.\{"event"')
"""A step event whose loss isn't finite, or two events on one line."""


def _sampled(data: bytes, stride: int) -> list[bytes]:
    """One in `stride` of the lines with a usual step event, the last, and all other lines."""
    lines = data.split(b"\n")
    last = len(lines) - 1
    # first in the data as a whole: a log of a million steps has 300 MB
    some_unusual = b'"not_finite"' in data or data.count(b'{"event"') > len(lines)
    return [
        line
        for number, line in enumerate(lines)
        if number % stride == 0
        or number == last
        or not line.startswith(STEP_LINE)
        or (some_unusual and _UNUSUAL.search(line))
    ]


def decode(data: bytes, stride: int = 1) -> Decoded:
    """The events of whole lines.

    Args:
        stride: of step events whose loss is finite about one in so many is read; all other lines
            are, and the last.
    """
    decoded = Decoded()
    events = decoded.events
    for line in _sampled(data, stride) if stride > 1 else data.split(b"\n"):
        if line.startswith(STEP_LINE):
            try:
                events.append(_steps.decode(line))
                continue
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass
        if line and not line.isspace():
            decoded.line(line)
    return decoded
