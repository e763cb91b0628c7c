"""The one training loop: standalone training is distillation without a teacher.

    accelerate launch -m lastkd.train --model last_v2_base --data data/ntu60
    accelerate launch -m lastkd.distill --variant large --data data/ntu60 --teacher T.safetensors

Views, clip order, dropout masks and the learning rate are functions of (seed, epoch, step, rank).
The loop therefore carries no state but weights and momentum, and can resume from any step.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Views
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.device import view_device
from lastkd.distributed.lost_ranks import RankWatch
from lastkd.distributed.stop_requests import Stopped
from lastkd.runs.events import BEST, LAST
from lastkd.runs.folder import Position
from lastkd.settings.runs import DistillSettings, RunSettings
from lastkd.terminal import Progress, duration
from lastkd.training.batches import prefetch
from lastkd.training.compilation import allow_compiled, compile_refusal
from lastkd.training.resume import Resumed, Start, find_start
from lastkd.training.run_control import SOFT_LABELS, RunControl
from lastkd.training.schedule import make_schedule, with_epochs
from lastkd.training.soft_labels import SoftLabels, open_soft_labels
from lastkd.training.softness import Softness
from lastkd.training.step_timer import StepTimer
from lastkd.training.student import Student
from lastkd.training.training_views import EpochViews, TrainingViews


class TrainingRun:
    """Trains one or several models on the same views of one store, with or without a teacher.

    Args:
        settings: one per model; they may differ only in the model and its loss.
        soft_labels: the teacher's logits, live or cached; None in standalone training.
        folders: one run folder per model.
    """

    def __init__(
        self,
        settings: Sequence[RunSettings],
        store: ClipStore,
        soft_labels: SoftLabels | None,
        accelerator: Accelerator,
        folders: Sequence[Path],
    ) -> None:
        self.settings = settings[0]
        self.store = store
        self.soft_labels = soft_labels
        self.accelerator = accelerator
        self.parts = split_parts(
            store, self.settings.split, self.settings.validation, self.settings.performers
        )
        self.schedule = make_schedule(
            self.settings, len(self.parts.train), accelerator.num_processes
        )
        self.views = Views(store, self.settings, view_device(store, accelerator.device))
        self.training_views = TrainingViews(
            self.views, self.parts.train, seed=self.settings.seed, device=accelerator.device
        )
        self.clock = StepTimer(accelerator.device)
        self.position = Position(0, 0)
        self.resumed_at = 0  # steps done by earlier processes
        self.kept_labels: Tensor | None = None  # soft labels of an epoch that was interrupted
        self.compile_refusal: str | None = None
        if self.settings.compile:
            self.compile_refusal = compile_refusal(accelerator.device)
            allow_compiled(len(settings))
        compiled = self.settings.compile and self.compile_refusal is None
        self.students = [
            Student(
                one,
                store,
                self.parts,
                soft_labels,
                accelerator,
                folder,
                self.schedule,
                compiled=compiled,
            )
            for one, folder in zip(settings, folders, strict=True)
        ]
        self.control = RunControl(
            self.settings, self.students, soft_labels, accelerator, self.clip_names
        )

    # --- clips ------------------------------------------------------------------------------

    def clips(self, clip_order: NDArray[np.int64], step: int, pass_: int) -> NDArray[np.int64]:
        """This rank's clips of one forward pass; all ranks partition one global order."""
        size, world = self.settings.batch_size, self.accelerator.num_processes
        start = step * self.schedule.global_batch + pass_ * size * world
        start += self.accelerator.process_index * size
        return clip_order[start : start + size]

    def clip_names(self, step: int) -> list[str]:
        """The names of the clips in the global batch of a step, counted from 1."""
        epoch, step_of_epoch = divmod(step - 1, self.schedule.steps_per_epoch)
        start = step_of_epoch * self.schedule.global_batch
        clips = self.training_views.order(epoch + 1)[start : start + self.schedule.global_batch]
        return [self.store.names[clip] for clip in clips]

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> list[Path]:
        """Trains to the end and returns the best checkpoint of each model.

        Raises:
            Stopped: the run was asked to stop; a checkpoint has been written.
            UserError: the folders hold something else, ten steps in a row weren't finite, the disk
                is full, or another rank is lost. Earlier checkpoints stay.
        """
        name = ", ".join(student.name for student in self.students)
        shown = self.accelerator.is_main_process
        with Progress(name, self.schedule.total_steps, shown=shown) as progress:
            try:
                if self.begin(progress):
                    self.train_on(progress)
            finally:
                for student in self.students:
                    student.logger.close()
        return [student.best_path for student in self.students]

    def begin(self, progress: Progress) -> bool:
        """Begins or resumes the run of the folders; False if it is already finished."""
        tensors: list[dict[str, Tensor]] = []

        def decide() -> Start:
            loggers = [student.logger for student in self.students]
            identities = [student.logger.identity(student.model) for student in self.students]
            folders = [logger.run_folder for logger in loggers]
            start = find_start(folders, identities, self.settings, tensors)
            if start != "finished":
                for logger in loggers:
                    logger.open()
            return start

        start = decide_on_main_process(self.accelerator, decide)
        if start == "finished":
            for student in self.students:
                progress.echo(f"{student.folder}: the run is finished; nothing left to do")
            return False
        where = "the device" if self.views.device.type == "cuda" else "main memory"
        softness = decide_on_main_process(self.accelerator, self.measure_softness)
        for student, measured in zip(self.students, softness, strict=True):
            if isinstance(start, Resumed) and student.logger.begun:
                student.logger.resume(start, progress)
            else:
                student.logger.start(student.model, where, measured, progress)
        if self.compile_refusal is not None:
            progress.echo(self.compile_refusal)
            for student in self.students:
                student.logger.event("warning", text=self.compile_refusal)
        if isinstance(start, Resumed):
            self.restore(start, tensors)
            progress.resume_at(start.position.step)
        return True

    def measure_softness(self) -> list[Softness | None]:
        """How soft each student's labels are; None without a teacher, and where a run resumes."""
        soft_labels = self.soft_labels
        if soft_labels is None or all(student.logger.begun for student in self.students):
            return [None] * len(self.students)
        size, first = self.settings.batch_size, self.training_views.epoch(1)
        clips = soft_labels.to_preview(first.order, size)
        batches = [first.batch(clips[at : at + size]) for at in range(0, len(clips), size)]
        views = iter(batches)
        logits = soft_labels.preview(clips, size, lambda _: next(views)[1:3])
        labels = torch.cat([batch.labels for batch in batches])
        return [
            Softness.of(
                student.settings.loss,
                student.first_logits(batches),
                logits,
                labels,
                label_smoothing=student.settings.label_smoothing,
            )
            if isinstance(student.settings, DistillSettings)
            else None
            for student in self.students
        ]

    def restore(self, start: Resumed, tensors: list[dict[str, Tensor]]) -> None:
        """Restores the state of a stopped run; `tensors` is empty on all ranks but rank 0."""

        def restore_files() -> None:
            for student in self.students:
                checkpoints = student.logger.checkpoints
                checkpoints.restore_files(start.position, (BEST, LAST))
                checkpoints.drop_after(start.position)

        decide_on_main_process(self.accelerator, restore_files)
        self.position = start.position
        self.resumed_at = start.position.step
        for number, (student, state) in enumerate(
            zip(self.students, start.states or (), strict=False)
        ):
            student.load(state, tensors[number] if tensors else {})
            self.control.reported = state.reported
        self.kept_labels = tensors[0].get(SOFT_LABELS) if tensors else None

    def train_on(self, progress: Progress) -> None:
        """Trains from the current position on, and records how the run ends."""
        with self.control.requests, RankWatch(self.accelerator, self.record_failure) as watch:
            try:
                while (epoch := self.position.epochs + 1) <= self.settings.epochs:
                    self.train_epoch(epoch, progress)
                    for student in self.students:
                        student.end_epoch(
                            epoch,
                            self.views,
                            progress,
                            between=lambda: self.control.check(self.position),
                        )
                    self.position = Position(self.position.step, epoch)
                    self.control.save(self.position)
                self.finish(progress)
            except Stopped as stop:
                for student in self.students:
                    student.logger.end(state="stopped", reason=stop.reason)
                progress.echo(
                    f"Stopped after step {self.position.step} of {self.schedule.total_steps}: "
                    f"{stop.reason}. Run the same command again to resume."
                )
                raise
            except KeyboardInterrupt:
                for student in self.students:
                    student.logger.end(state="stopped", reason="SIGINT, at once")
                raise
            except BaseException as error:
                lost = watch.blame(error)
                self.record_failure(str(lost or error) or type(error).__name__)
                if lost is not None:
                    raise lost from None
                raise

    def record_failure(self, reason: str) -> None:
        """Records that every run of this process failed."""
        for student in self.students:
            student.logger.end(state="failed", reason=reason)

    def finish(self, progress: Progress) -> None:
        """Records the end of every run, then removes the resumable checkpoints."""
        for student in self.students:
            student.finish(self.views, progress, between=lambda: self.control.check(self.position))

        def conclude() -> None:
            for student in self.students:
                student.logger.sync()
            for student in self.students:  # only once every end event is on disk
                student.logger.checkpoints.clear()

        decide_on_main_process(self.accelerator, conclude)

    def train_epoch(self, epoch: int, progress: Progress) -> None:
        """Trains the remaining steps of an epoch."""
        settings, schedule, soft_labels = self.settings, self.schedule, self.soft_labels
        epoch_views = self.training_views.epoch(epoch)
        steps_done = self.position.step - (epoch - 1) * schedule.steps_per_epoch
        if soft_labels:
            soft_labels.begin_epoch(epoch)
            soft_labels.restore(self.kept_labels)
        since, passes = time.perf_counter(), steps_done * settings.accumulation
        for student in self.students:
            student.model.train()
        passes_left = (
            (s, p)
            for s in range(steps_done, schedule.steps_per_epoch)
            for p in range(settings.accumulation)
        )
        batches = (epoch_views.batch(self.clips(epoch_views.order, *at)) for at in passes_left)
        for batch in prefetch(batches, self.accelerator.device, self.views.device):
            step, pass_ = divmod(passes, settings.accumulation)
            done = (epoch - 1) * schedule.steps_per_epoch + step
            passes += 1
            soft: Tensor | None = None
            if soft_labels:
                with self.clock.timed("teacher"):
                    soft = soft_labels(batch.clips, batch.streams, batch.bodies)
            rates = [student.set_rate(done / schedule.steps_per_epoch) for student in self.students]
            with self.accelerator.accumulate():
                for student in self.students:
                    with self.clock.timed(student.part):
                        micro_step = done * settings.accumulation + pass_
                        student.forward_backward(*batch[1:], soft, micro_step)
                        if self.accelerator.sync_gradients:
                            student.step(done + 1)
            if pass_ + 1 < settings.accumulation:
                continue
            self.position = Position(done + 1, epoch - 1)
            if (done + 1) % settings.log_every == 0 or step + 1 == schedule.steps_per_epoch:
                self.report(done + 1, epoch, since, rates, progress)
                since = time.perf_counter()
            self.control.check(self.position)
        if soft_labels:
            self.complete_labels(soft_labels, epoch_views, steps_done)
            soft_labels.end_epoch()
        self.kept_labels = None

    def complete_labels(
        self, soft_labels: SoftLabels, epoch_views: EpochViews, skipped: int
    ) -> None:
        """Computes the soft labels that the cache needs and that no step of the epoch computed.

        Args:
            skipped: steps of the epoch that an earlier process did.
        """
        size = self.schedule.global_batch
        order = epoch_views.order
        rest = order[self.schedule.steps_per_epoch * size :]
        if skipped and soft_labels.filling:
            kept = decide_on_main_process(self.accelerator, lambda: self.kept_labels is not None)
            rest = rest if kept else np.concatenate((order[: skipped * size], rest))
        for _ in soft_labels.compute(rest, self.settings.batch_size, epoch_views.inputs):
            pass

    def report(
        self,
        done: int,
        epoch: int,
        since: float,
        rates: list[float],
        progress: Progress,
    ) -> None:
        """Records a step event for each student, covering the steps since the last one.

        Losses are means over all those steps; times are means over the steps of this process.
        """
        steps = done - max(self.control.reported, self.resumed_at)
        self.control.reported = done
        sums = [student.take_sums() for student in self.students]  # blocks until the device is done
        elapsed = time.perf_counter() - since
        spent = {part: ms / steps for part, ms in self.clock.take().items()}
        clips_per_s = steps * self.schedule.global_batch / elapsed
        losses = [
            student.report(done, epoch, its_sums, rate, clips_per_s, spent)
            for student, its_sums, rate in zip(self.students, sums, rates, strict=True)
        ]
        shown = " ".join(f"{loss:.3f}" for loss in losses)
        at = f"epoch {epoch}/{self.settings.epochs} | loss {shown} | {clips_per_s:.0f} clips/s"
        progress.update(done, at)


def train(
    settings: RunSettings | Sequence[RunSettings],
    *,
    data: Path,
    teacher: Path | None,
    folder: Path | Sequence[Path],
    accelerator: Accelerator,
) -> list[Path]:
    """Opens store and soft labels, trains, and returns the best checkpoint of each model.

    Args:
        settings, folder: a single one, or one per student.
        data: path of the store.
        teacher: path of the teacher's checkpoint; None in standalone training, or where a teacher
            cache holds every epoch.

    Raises:
        Stopped: as `TrainingRun.run` raises it.
        UserError: the store or the teacher is missing or doesn't fit, or as in `TrainingRun.run`.
    """
    several = [settings] if isinstance(settings, RunSettings) else list(settings)
    folders = [folder] if isinstance(folder, Path) else list(folder)
    store = ClipStore.open(data)
    common = several[0]
    parts = split_parts(store, common.split, common.validation, common.performers)
    several = [with_epochs(one, len(parts.train), accelerator.num_processes) for one in several]
    distilled = [one for one in several if isinstance(one, DistillSettings)]
    soft_labels = open_soft_labels(distilled, store, teacher, accelerator) if distilled else None
    started = time.perf_counter()
    best = TrainingRun(several, store, soft_labels, accelerator, folders).run()
    accelerator.print(f"  took {duration(time.perf_counter() - started)}")
    return best
