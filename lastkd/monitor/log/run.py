"""A run, kept up to date from its event log."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from lastkd.monitor.log import records
from lastkd.monitor.log.records import (
    Checkpoint,
    Device,
    End,
    Epoch,
    LossInfo,
    Resume,
    Skipped,
    Start,
    Step,
    Test,
    WarningEvent,
    decode,
)
from lastkd.monitor.log.series import Series, mean, median
from lastkd.monitor.log.tail import LogTail

CHANNELS = (
    *("ce", "soft", "total", "lr", "grad_norm"),
    *("clips_per_s", "teacher_ms", "student_ms"),
)
_columns = attrgetter("step", *CHANNELS)
CHUNK = 2 << 20
"""Bytes read at a time."""
MAX_WHOLE = 16 << 20
"""Logs up to this size in bytes are read whole; of longer ones a sample of the step events."""
KEPT = 200
"""The number of latest warnings, checkpoints and device events that are kept."""
RECENT = 20
"""Buckets of steps that current values are means of."""
QUIET_AT_START_S = 300.0
"""Seconds without an event that are usual before the first step: loading, compiling."""


class Run:
    """One run, known from its event log alone.

    Args:
        folder: the run's folder.
        log: its event log.
    """

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.name = folder.name or str(folder)
        """The folder's name, with parent folders where several runs share it."""
        self.tail = LogTail(log)
        self._forget()

    def _forget(self) -> None:
        self.start: Start | None = None
        self.end: End | None = None
        self.series = Series(CHANNELS)
        self.epochs: dict[int, Epoch] = {}
        self.tests: dict[str, Test] = {}
        self.last: Step | None = None
        self.last_time: float | None = None
        self.warnings: deque[WarningEvent] = deque(maxlen=KEPT)
        self.warning_count = 0
        self.resumes: deque[Resume] = deque(maxlen=KEPT)
        self.checkpoints: deque[Checkpoint] = deque(maxlen=KEPT)
        self.devices: deque[Device] = deque(maxlen=KEPT)
        self.skipped: dict[str, int] = {}
        self._skipped_until = 0
        self.not_finite: deque[Step] = deque(maxlen=KEPT)
        self.bad_lines = 0
        self.unknown: set[str] = set()
        self.stride = 1
        self._gaps: deque[float] = deque(maxlen=50)
        self._step_time: float | None = None

    # --- reading --------------------------------------------------------------------------------

    def poll(self, limit: int = CHUNK) -> bool:
        """Reads up to about `limit` bytes of what was appended; whether anything changed."""
        before = (self.tail.gone, self.tail.problem)
        data, replaced = self.tail.read(limit)
        if replaced:
            self._forget()
        if self.tail.offset <= limit and self.tail.size > MAX_WHOLE:
            self.stride = -(-self.tail.size // MAX_WHOLE)
        if data:
            # only the part that existed at the start is sampled
            decoded = decode(data, self.stride if self.tail.pending else 1)
            self.bad_lines += decoded.bad
            self.unknown |= decoded.unknown
            self._take(decoded.events)
        return bool(data) or replaced or before != (self.tail.gone, self.tail.problem)

    @property
    def pending(self) -> bool:
        """More can be read without waiting."""
        return self.tail.pending and not self.tail.gone and self.tail.problem is None

    def _take(self, events: list[records.Event]) -> None:
        steps: list[Step] = []
        for event in events:
            if type(event) is Step:
                if steps and event.step <= steps[-1].step:
                    self._take_steps(steps)
                    steps = []
                steps.append(event)
                continue
            if steps:
                self._take_steps(steps)
                steps = []
            self._take_other(event)
        if steps:
            self._take_steps(steps)
        times = [event.time for event in events if type(event) is not Device]
        if times:  # device events are no sign of progress
            self.last_time = times[-1]

    def _take_steps(self, steps: list[Step]) -> None:
        if self.start is not None and self.start.schema < 2:
            for step in steps:
                if step.kl is not None:  # a later version may have continued the log
                    step.soft = step.kl
        numbers, *columns = zip(*map(_columns, steps), strict=True)
        self.series.add(numbers, columns)
        for step in steps[-50:]:
            if self._step_time is not None and step.time > self._step_time:
                self._gaps.append(step.time - self._step_time)
            self._step_time = step.time
        self.not_finite.extend(step for step in steps if step.not_finite)
        self.last, self.end = steps[-1], None

    def _take_other(self, event: records.Event) -> None:
        match event:
            case Start():
                if self.start is not None and self.start.run_id != event.run_id:
                    bad, stride = self.bad_lines, self.stride
                    self._forget()  # another run was appended to the file: the latest one counts
                    self.bad_lines, self.stride = bad, stride
                self.start = event
                if event.teacher and event.loss is None:  # schema 1
                    event.loss = loss_of_settings(event.settings)
            case Epoch():
                self.epochs[event.epoch] = event
            case Test():
                self.tests[event.checkpoint] = event
            case WarningEvent():
                self.warnings.append(event)
                self.warning_count += 1
            case Resume():
                self.resumes.append(event)
                self.end, self._step_time = None, None
            case Checkpoint():
                self.checkpoints.append(event)
            case Skipped():
                if event.step > self._skipped_until:  # steps repeated after a resume count once
                    self._skipped_until = event.step
                    self.skipped[event.reason] = self.skipped.get(event.reason, 0) + 1
            case Device():
                self.devices.append(event)
            case End():
                self.end = event

    # --- what it is -----------------------------------------------------------------------------

    @property
    def settings(self) -> dict[str, Any]:
        return self.start.settings if self.start else {}

    @property
    def model(self) -> str:
        return self.start.model if self.start else ""

    @property
    def variant(self) -> str:
        """The alias of a student's model such as nano; for other models their name."""
        if self.start and self.start.variant:
            return self.start.variant
        return self.model.removeprefix("last_e_")  # schema 1 doesn't record the alias

    @property
    def distilled(self) -> bool:
        return self.start is not None and self.start.teacher is not None

    def number(self, key: str) -> float | None:
        """A numeric setting."""
        value = self.settings.get(key)
        return float(value) if isinstance(value, int | float) else None

    @property
    def newer(self) -> int | None:
        """The log's schema if it is newer than `records.SCHEMA`."""
        schema = self.start.schema if self.start else 0
        return schema if schema > records.SCHEMA else None

    def unread(self) -> list[str]:
        """What was skipped of the log, as texts."""
        texts = []
        if self.newer:
            texts.append(
                f"written by a newer lastkd (schema {self.newer}; known here: {records.SCHEMA})"
            )
        bad = self.bad_lines + self.tail.too_long
        if bad:
            texts.append(f"{bad:,} unreadable line{'s' if bad > 1 else ''} skipped")
        if self.unknown:
            kinds = sorted(self.unknown)
            shown = ", ".join(kinds[:3]) + (" ..." if len(kinds) > 3 else "")
            texts.append(f"unknown events skipped: {shown}")
        if self.stride > 1:
            texts.append(f"long log: one in {self.stride} of its older step events was read")
        if self.tail.problem:
            texts.append(f"cannot be read: {self.tail.problem}")
        return texts

    # --- how far it is --------------------------------------------------------------------------

    @property
    def step(self) -> int:
        return self.last.step if self.last else 0

    @property
    def total_steps(self) -> int:
        return self.start.total_steps if self.start else 0

    @property
    def epoch(self) -> int:
        return self.last.epoch if self.last else 0

    @property
    def total_epochs(self) -> int:
        return int(self.number("epochs") or 0)

    @property
    def progress(self) -> float:
        """The share of all steps that are done, from 0 to 1."""
        return min(self.step / self.total_steps, 1.0) if self.total_steps else 0.0

    @property
    def clips_per_s(self) -> float | None:
        """The median of the latest reports."""
        recent = self.series.recent("clips_per_s", 9)
        return median(recent) if recent else None

    @property
    def teacher_share(self) -> float | None:
        """The teacher's share of a step's time, from 0 to 1."""
        teacher, student = self.series.recent("teacher_ms"), self.series.recent("student_ms")
        if not teacher or not student:
            return None
        of_teacher, of_student = mean(teacher), mean(student)
        return of_teacher / (of_teacher + of_student) if of_teacher + of_student else None

    def seconds_left(self) -> float | None:
        """The time for the remaining steps and evaluations, at the latest pace."""
        rate = self.clips_per_s
        if self.end or not rate or not self.start or not self.total_steps:
            return None
        left = (self.total_steps - self.step) * self.start.global_batch / rate
        every = int(self.number("eval_every") or 1)
        evaluations = (self.total_epochs - max(self.epochs, default=0)) / every
        seconds = [e.seconds for e in self.epochs.values() if e.seconds is not None]
        return left + max(evaluations, 0) * (median(seconds) if seconds else 0.0)

    def quiet_limit(self) -> float:
        """Seconds without an event that are normal at the run's pace."""
        if self.last is None or not self._gaps:
            return QUIET_AT_START_S
        limit = max(60.0, 8 * median(self._gaps), 2 * max(self._gaps))
        per_epoch = self.start.steps_per_epoch if self.start else 0
        if per_epoch and self.last.step % per_epoch == 0:  # the run is evaluating
            seconds = [e.seconds for e in self.epochs.values() if e.seconds is not None]
            rate = self.clips_per_s
            first = self.start.data.test / rate if self.start and rate else QUIET_AT_START_S
            limit += 3 * (max(seconds) if seconds else first)
        return limit

    def quiet(self, now: float | None = None) -> float:
        """Seconds since the last event."""
        if self.last_time is None:
            return 0.0
        return max((time.time() if now is None else now) - self.last_time, 0.0)

    def state(self, now: float | None = None) -> str:
        """`waiting`, `running`, `stalled`, or the end event's `finished`, `stopped` or `failed`."""
        if self.end is not None:
            return self.end.state or "stopped"
        if self.start is None and self.last is None:
            return "waiting"
        return "stalled" if self.quiet(now) > self.quiet_limit() else "running"

    # --- how good it is -------------------------------------------------------------------------

    @property
    def chooser(self) -> str:
        """The part that epochs are evaluated and chosen on: `validation` or `test`."""
        return "validation" if self.start and self.start.data.validation is not None else "test"

    @property
    def accuracies(self) -> list[tuple[int, float]]:
        """Epoch and top-1 of each evaluation on the part that chooses, in order."""
        return sorted((e.epoch, e.top1) for e in self.epochs.values() if e.top1 is not None)

    @property
    def best(self) -> tuple[int, float] | None:
        """Epoch and top-1 of the best evaluation; of equal ones the first."""
        return max(self.accuracies, key=lambda pair: (pair[1], -pair[0]), default=None)

    @property
    def final(self) -> tuple[int, float] | None:
        """Epoch and top-1 of the latest evaluation."""
        return self.accuracies[-1] if self.epochs and self.accuracies else None

    @property
    def loss(self) -> LossInfo | None:
        """The distillation loss; None without a teacher."""
        return self.start.loss if self.start and self.start.teacher else None

    @property
    def soft_title(self) -> str:
        """The short name of the loss's soft term."""
        return self.loss.title if self.loss else "soft"

    def weights(self) -> tuple[float, float]:
        """The weights of the hard and the soft term in the loss, tau^2 included.

        The soft term's weight is the one after its warm-up.
        """
        return (self.loss.hard_weight, self.loss.soft_weight) if self.loss else (1.0, 0.0)

    def weighted_soft(self) -> list[tuple[float, float]]:
        """Step and mean weighted soft term of each bucket: it grows during the warm-up."""
        means = self.series_means("soft")
        weights = self.soft_weights([step for step, _ in means])
        return [(step, weight * mean) for (step, mean), weight in zip(means, weights, strict=True)]

    def soft_weights(self, steps: Sequence[float]) -> list[float]:
        """The soft term's weight at each of these steps."""
        weight, warmup = self.weights()[1], (self.number("soft_warmup") or 0.0) * self.total_steps
        if not warmup:
            return [weight] * len(steps)
        return [weight * min(1.0, (step - 1) / warmup) for step in steps]

    def series_means(self, channel: str) -> list[tuple[float, float]]:
        """Step and mean of each bucket of a channel."""
        return [(step, mean) for step, mean, _, _ in self.series.points(channel)]

    def soft_share(self) -> float | None:
        """The weighted soft term's share of the loss in the latest reports, from 0 to 1."""
        weighted, total = self.weighted_soft()[-RECENT:], self.series.recent("total", RECENT)
        if not weighted or not total or not mean(total):
            return None
        return mean([term for _, term in weighted]) / mean(total)


def loss_of_settings(settings: dict[str, Any]) -> LossInfo:
    """The loss of a log of schema 1, whose start event has only its settings."""

    def number(key: str, default: float) -> float:
        value = settings.get(key)
        return float(value) if isinstance(value, int | float) else default

    name, tau = str(settings.get("loss", "kd")), number("tau", 1.0)
    if name == "kd":
        hard = number("alpha", 1.0)
        return LossInfo(name, "KL", hard, (1 - hard) * tau**2)
    return LossInfo(name, "soft", number("ce_weight", 1.0), number("soft_weight", 1.0) * tau**2)
