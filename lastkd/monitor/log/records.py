"""The events of a log as typed records, decoded fast. `docs/events.md` describes them.

The types of known keys are checked; unknown keys and events are ignored, so that logs of newer
versions can be read.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

LOG_NAME = "events.jsonl"
"""The event log's file name. `lastkd.runs.events`, which defines it, is slow to import."""

SCHEMA = 2
"""The newest version of `docs/events.md` that is fully understood here."""

STEP_LINE = b'{"event": "step", '
"""The beginning of a step event as `EventLog` writes it; a log may have millions of them."""


class Record(msgspec.Struct, tag_field="event", tag=str.lower, gc=False):
    """The keys that all events share."""

    time: float


class Data(msgspec.Struct):
    """The store of a `start` event, with the number of clips in each part.

    `validation` is None without a validation part.
    """

    hash: str = ""
    name: str = ""
    source: str = ""
    classes: int = 0
    train: int = 0
    test: int = 0
    validation: int | None = None
    validation_hash: str | None = None


class Teacher(msgspec.Struct):
    """The teacher of a `start` event."""

    model: str = ""
    hash: str = ""
    accuracy: dict[str, Any] = msgspec.field(default_factory=dict)
    cache: str | None = None


class LossInfo(msgspec.Struct):
    """The distillation loss of a `start` event and its weights, since schema 2."""

    name: str = "kd"
    title: str = "soft"
    hard_weight: float = 1.0
    soft_weight: float = 0.0
    settings: dict[str, Any] = msgspec.field(default_factory=dict)


class Softness(msgspec.Struct):
    """How soft the teacher's labels are, measured before a distillation starts."""

    tau: float | None = None
    top: float | None = None
    entropy: float | None = None
    agreement: float | None = None
    share: float | None = None
    advice: str = ""


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
    softness: Softness | None = None


class Step(Record):
    step: int
    epoch: int
    ce: float | None = None
    soft: float | None = None
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


class WarningEvent(Record, tag="warning"):
    text: str = ""


class Test(Record):
    """A checkpoint on the test part, at the end of a run that chose on a validation part."""

    checkpoint: str
    epoch: int = 0
    top1: float | None = None


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
    """One of the GPUs of a `device` event."""

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


Event = Start | Step | Epoch | Test | WarningEvent | Resume | Checkpoint | Skipped | Device | End
KINDS = {str(kind.__struct_config__.tag) for kind in Record.__subclasses__()}

_events = msgspec.json.Decoder(Event)
_steps = msgspec.json.Decoder(Step)
_kind = msgspec.json.Decoder(_Kind)


class Decoded:
    """The events of some lines.

    Attributes:
        bad: the number of unreadable lines.
        unknown: kinds of events that were ignored.
    """

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
            # a killed process left half a line, and the next process continued it
            glued = line.rfind(b'{"event":')
            if glued > 0:
                self.line(line[glued:])
            return
        if kind in KINDS:
            self.bad += 1  # a known event with a value of a wrong type
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
    """The events of complete lines.

    Args:
        stride: decode about one in `stride` of the step events whose loss is finite; the last line
            and all other events are always decoded.
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
