"""The one training loop: standalone training is distillation without a teacher.

    accelerate launch -m lastkd.train --model last_v2_base --data data/ntu60
    accelerate launch -m lastkd.distill --variant large --data data/ntu60 --teacher T.safetensors

Views, order, dropout and learning rate are functions of place (seed, epoch, step, rank), so the
loop carries nothing along but weights and momentum.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor

from lastkd import chance
from lastkd.config import DistillSettings, RunSettings
from lastkd.data.store import ClipStore
from lastkd.data.views import Views
from lastkd.errors import UserError
from lastkd.training.ahead import ahead
from lastkd.training.batch import Batch
from lastkd.training.clock import PartClock
from lastkd.training.device import view_device
from lastkd.training.plan import make_plan
from lastkd.training.progress import RunProgress, duration
from lastkd.training.soft_labels import SoftLabels
from lastkd.training.student import Student
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache


class TrainingRun:
    """One or several models trained on the same views of one store, with a teacher or without.

    Args:
        settings: one for each model; they differ in what concerns the model and its loss alone.
        folders: the run folder of each.
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
        self.train_clips, self.test_clips = store.split(self.settings.split)
        self.plan = make_plan(self.settings, len(self.train_clips), accelerator.num_processes)
        self.views = Views(store, self.settings, view_device(store, accelerator.device))
        self.clock = PartClock(accelerator.device)
        self.reported = 0  # steps done at the last report
        self.students = [
            Student(own, store, soft_labels, accelerator, folder, self.plan)
            for own, folder in zip(settings, folders, strict=True)
        ]

    # --- what is trained on -----------------------------------------------------------------

    def clips(self, clip_order: NDArray[np.int64], step: int, pass_: int) -> NDArray[np.int64]:
        """This rank's clips of one forward pass: the processes share out one global order."""
        size, world = self.settings.batch_size, self.accelerator.num_processes
        start = step * self.plan.global_batch + pass_ * size * world
        start += self.accelerator.process_index * size
        return clip_order[start : start + size]

    def view(self, clips: NDArray[np.int64], draws: Tensor) -> Batch:
        """The epoch's training views of some clips, on the training device."""
        return Batch.of(clips, self.views, draws, self.accelerator.device)

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> list[Path]:
        """Trains to the end and returns the best checkpoints.

        Raises:
            UserError: a loss isn't finite any more, or the disk is full; what was saved stays.
        """
        name = ", ".join(student.name for student in self.students)
        with RunProgress(
            name, self.plan.total_steps, shown=self.accelerator.is_main_process
        ) as progress:
            try:
                where = "the device" if self.views.device.type == "cuda" else "main memory"
                for student in self.students:
                    student.record.start(student.model, where, progress)
                for epoch in range(1, self.settings.epochs + 1):
                    self.train_epoch(epoch, progress)
                    for student in self.students:
                        student.end_epoch(epoch, self.views, self.test_clips, progress)
            except BaseException as error:
                state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
                for student in self.students:
                    reason = str(error) or type(error).__name__
                    student.record.event("end", state=state, reason=reason)
                raise
            for student in self.students:
                student.finish(progress)
        return [student.best_path for student in self.students]

    def train_epoch(self, epoch: int, progress: RunProgress) -> None:
        settings, plan, soft_labels = self.settings, self.plan, self.soft_labels
        draws = self.views.draw(settings.seed, epoch)
        shuffled = chance.order(settings.seed, "order", epoch, count=len(self.train_clips))
        clip_order = self.train_clips[shuffled]
        if soft_labels:
            soft_labels.begin_epoch(epoch)
        since, passes = time.perf_counter(), 0
        for student in self.students:
            student.wrapped.train()
        places = ((s, p) for s in range(plan.steps_per_epoch) for p in range(settings.accumulation))
        batches = (self.view(self.clips(clip_order, *place), draws) for place in places)
        for batch in ahead(batches, self.accelerator.device, self.views.device):
            step, pass_ = divmod(passes, settings.accumulation)
            done = (epoch - 1) * plan.steps_per_epoch + step
            passes += 1
            soft: Tensor | None = None
            if soft_labels:
                with self.clock.timed("teacher"):
                    soft = soft_labels(batch.clips, batch.streams, batch.bodies)
            rates = [student.set_rate(done / plan.steps_per_epoch) for student in self.students]
            with self.accelerator.accumulate(*(student.wrapped for student in self.students)):
                for student in self.students:
                    with self.clock.timed(student.settings.model_name):
                        place = done * settings.accumulation + pass_
                        student.forward_backward(*batch[1:], soft, place)
                        if self.accelerator.sync_gradients:
                            student.step()
            if pass_ + 1 < settings.accumulation:
                continue
            if (done + 1) % settings.log_every == 0 or step + 1 == plan.steps_per_epoch:
                self.report(done + 1, epoch, since, rates, progress)
                since = time.perf_counter()
        if soft_labels:
            left_out = clip_order[plan.steps_per_epoch * plan.global_batch :]
            for _ in soft_labels.compute(
                left_out, settings.batch_size, lambda some: self.view(some, draws)[1:3]
            ):
                pass
            soft_labels.end_epoch()

    def report(
        self,
        done: int,
        epoch: int,
        since: float,
        rates: list[float],
        progress: RunProgress,
    ) -> None:
        """A step event for each student, for the steps since the last one."""
        steps, self.reported = done - self.reported, done
        sums = [student.take_sums() for student in self.students]  # waits for the device
        elapsed = time.perf_counter() - since
        spent = {part: ms / steps for part, ms in self.clock.take().items()}
        clips_per_s = steps * self.plan.global_batch / elapsed
        losses = [
            student.report(done, epoch, own, rate, clips_per_s, spent)
            for student, own, rate in zip(self.students, sums, rates, strict=True)
        ]
        shown = " ".join(f"{loss:.3f}" for loss in losses)
        at = f"epoch {epoch}/{self.settings.epochs} | loss {shown} | {clips_per_s:.0f} clips/s"
        progress.step(done, at)


def open_soft_labels(
    settings: Sequence[DistillSettings],
    store: ClipStore,
    teacher: Path | None,
    accelerator: Accelerator,
) -> SoftLabels:
    """The soft labels that a run's settings ask for.

    Args:
        teacher: its checkpoint; None where a cache is to hold all epochs.

    Raises:
        UserError: teacher or cache are missing, damaged or don't fit, or the cache lacks epochs and
            no teacher was named.
    """
    common = settings[0]
    folder = common.teacher_cache
    if teacher is not None:
        identity = TeacherIdentity.of(teacher, store)
    else:
        about = TeacherCache.read_about(folder) if folder else None
        if about is None:
            raise UserError(f"{folder}: holds no soft labels yet, and no teacher was named")
        identity = about.identity
    clips, _ = store.split(common.split)
    cache: TeacherCache | None = None
    if folder is not None:
        key = CacheKey.of(identity, store, split=common.split, seed=common.seed, views=common)
        cache = TeacherCache.open(folder, key, identity)
        missing = cache.missing(common.epochs)
        if missing and teacher is None:
            raise UserError(
                f"{folder}: lacks epoch {missing[0]} (and {len(missing) - 1} more of "
                f"{common.epochs}); name the --teacher, or fill it with lastkd teacher-cache build"
            )

    def load() -> FrozenTeacher:
        if teacher is None:
            raise UserError(f"{folder}: an epoch has vanished, and no teacher was named")
        return FrozenTeacher(teacher, store, accelerator.device)

    return SoftLabels(identity, load, store, clips, accelerator, cache)


def train(
    settings: RunSettings | Sequence[RunSettings],
    *,
    data: Path,
    teacher: Path | None,
    folder: Path | Sequence[Path],
    accelerator: Accelerator,
) -> list[Path]:
    """Opens what a run needs and trains; returns the best checkpoint of each model.

    Args:
        settings, folder: one, or one for each of several students.

    Raises:
        UserError: data or teacher are missing or don't fit, the folder is taken, and as in
            `TrainingRun.run`.
    """
    several = [settings] if isinstance(settings, RunSettings) else list(settings)
    folders = [folder] if isinstance(folder, Path) else list(folder)
    store = ClipStore.open(data)
    distilled = [own for own in several if isinstance(own, DistillSettings)]
    soft_labels = open_soft_labels(distilled, store, teacher, accelerator) if distilled else None
    started = time.perf_counter()
    best = TrainingRun(several, store, soft_labels, accelerator, folders).run()
    accelerator.print(f"  took {duration(time.perf_counter() - started)}")
    return best
