"""What happens between two steps: skipped steps, due checkpoints, requests to stop.

All ranks decide alike, one step after something came up on any of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from accelerate import Accelerator

from lastkd.distributed.agreement import AsyncMax, decide_on_main_process
from lastkd.distributed.stop_requests import REASONS, Stopped, StopRequests
from lastkd.errors import UserError
from lastkd.runs.events import BEST, LAST
from lastkd.runs.folder import Position
from lastkd.settings.durations import in_seconds
from lastkd.settings.runs import RunSettings
from lastkd.training.nonfinite import IN_A_ROW
from lastkd.training.soft_labels import SoftLabels
from lastkd.training.student import Student

SOFT_LABELS = "soft_labels"


class RunControl:
    """Checks one run between its steps, and stops or checkpoints it.

    Args:
        clip_names: gives the names of the clips in a step's global batch, for error messages.
    """

    def __init__(
        self,
        settings: RunSettings,
        students: Sequence[Student],
        soft_labels: SoftLabels | None,
        accelerator: Accelerator,
        clip_names: Callable[[int], list[str]],
    ) -> None:
        budget = settings.time_budget
        self.requests = StopRequests(in_seconds(budget) if budget else None)
        self.students = students
        self.soft_labels = soft_labels
        self.accelerator = accelerator
        self.clip_names = clip_names
        self.reported = 0
        self._every_s = 60 * settings.checkpoint_minutes
        self._saved_at = time.monotonic()
        self._saved: Position | None = None
        self._agreement: AsyncMax[int | None] = AsyncMax(accelerator)
        self._stop = self._due = 0

    # --- between steps ----------------------------------------------------------------------

    def check(self, position: Position) -> None:
        """Called between two steps, or between two batches of an evaluation.

        Raises:
            Stopped: the run was asked to stop; its checkpoint has been written.
            UserError: too many steps in a row were skipped, a soft label isn't finite, or the event
                log can't be written.
        """
        agreed = self._agreement.exchange(*self._numbers())
        if agreed is not None:
            self._apply(*agreed)
        if self._stop:
            if self._saved != position:
                self.save(position)
            raise Stopped(REASONS[self._stop])
        if self._due:
            self.save(position)

    def _numbers(self, *, all_: bool = False) -> tuple[list[int], int | None]:
        """This rank's requests: stop, checkpoint, log failed, the index + 1 of a clip whose soft
        label isn't finite, then two flags per student.

        Args:
            all_: whether to read the newest flags too, which blocks until the device has them.
        """
        clip = self.soft_labels.take_nonfinite(all_=all_) if self.soft_labels else None
        flags = [student.flags.take(all_=all_) for student in self.students]
        log_failed = any(student.logger.failure for student in self.students)
        due = self.accelerator.is_main_process and (
            time.monotonic() - self._saved_at > self._every_s
        )
        numbers = [self.requests.code(), int(due), int(log_failed)]
        numbers.append(0 if clip is None else clip + 1)
        step: int | None = None
        for flag in flags:
            if flag is not None:
                step = flag[0]
            numbers += flag[1] if flag is not None else [0, 0]
        return numbers, step

    def _apply(self, numbers: list[int], step: int | None) -> None:
        """Acts on the maximum over all ranks of one exchange ago."""
        stop, due, log_failed, clip, *flags = numbers
        self._stop, self._due = max(self._stop, stop), max(self._due, due)
        if log_failed:
            failures = [student.logger.failure for student in self.students]
            raise next(filter(None, failures), UserError("rank 0 can't write its event log"))
        if clip and self.soft_labels:
            raise self.soft_labels.nonfinite_error(clip - 1)
        if step is None:
            return
        for student, loss, gradient in zip(self.students, flags[::2], flags[1::2], strict=True):
            reason = student.skips.record(loss=bool(loss), gradient=bool(gradient))
            if reason is None:
                continue
            epoch = (step - 1) // student.schedule.steps_per_epoch + 1
            count = student.skips.count
            student.logger.event("skipped", step=step, epoch=epoch, reason=reason, count=count)
            if student.skips.in_a_row >= IN_A_ROW:
                names = ", ".join(self.clip_names(step))
                raise UserError(
                    f"{student.folder}: {IN_A_ROW} steps in a row had a {reason} that isn't "
                    f"finite, the last of them step {step} with the clips {names}; try a smaller "
                    "--lr, or check these clips"
                )

    # --- checkpoints ------------------------------------------------------------------------

    def save(self, position: Position) -> None:
        """Writes a checkpoint of every student; every rank must call it.

        Raises:
            UserError: the disk is full or the folder can't be written; earlier checkpoints stay.
        """
        self.settle()
        started = time.perf_counter()
        states = [student.state(position, self.reported) for student in self.students]
        labels = self.soft_labels.collected() if self.soft_labels else None
        if labels is not None:
            states[0][1][SOFT_LABELS] = labels

        def write() -> list[int]:
            sizes: list[int] = []
            for student, (state, tensors) in zip(self.students, states, strict=True):
                student.logger.sync()  # the log must not lag behind a checkpoint
                files = (student.folder / name for name in (BEST, LAST))
                beside = [path for path in files if path.exists()]
                checkpoints = student.logger.checkpoints
                sizes.append(checkpoints.write(state, tensors, beside))
            for student in self.students:  # only once every student has its new one
                student.logger.checkpoints.prune()
            return sizes

        sizes = decide_on_main_process(self.accelerator, write)
        seconds = time.perf_counter() - started
        for student, size in zip(self.students, sizes, strict=True):
            student.logger.event(
                "checkpoint",
                step=position.step,
                epoch=max(1, -(-position.step // student.schedule.steps_per_epoch)),
                path=student.logger.checkpoints.path(position),
                seconds=round(seconds, 3),
                mb=round(size / 1e6, 3),
            )
        self.requests.checkpoint_s = max(self.requests.checkpoint_s, seconds)
        self._saved, self._saved_at, self._due = position, time.monotonic(), 0

    def settle(self) -> None:
        """Waits for pending exchanges and flags, so that a checkpoint accounts for all of them."""
        if (agreed := self._agreement.settle()) is not None:
            self._apply(*agreed)
        step: int | None = 0
        while step is not None:
            numbers, step = self._numbers(all_=True)
            before = self._agreement.exchange(numbers, step)
            agreed = self._agreement.settle() or before
            if agreed is not None:
                self._apply(*agreed)
