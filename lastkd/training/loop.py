"""The one training loop: standalone training is distillation without a teacher.

    accelerate launch -m lastkd.train --model last_v2_base --data data/ntu60
    accelerate launch -m lastkd.distill --variant large --data data/ntu60 --teacher T.safetensors

Views, order, dropout and learning rate are functions of place (seed, epoch, step, rank), so the
loop carries nothing along but weights and momentum.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from numpy.typing import NDArray
from torch import Tensor

from lastkd import chance
from lastkd.config import DistillSettings, RunSettings, TrainSettings
from lastkd.data.store import ClipStore
from lastkd.data.views import Streams, Views
from lastkd.errors import UserError
from lastkd.losses import LossParts, distillation_loss, standalone_loss
from lastkd.models import LastModel, LastV2Architecture, build_model, get_architecture
from lastkd.training.clock import PartClock
from lastkd.training.evaluation import Accuracy, evaluate
from lastkd.training.optimisation import learning_rate, make_optimizer
from lastkd.training.plan import make_plan
from lastkd.training.progress import RunProgress, duration
from lastkd.training.record import BEST, LAST, RunRecord
from lastkd.training.teacher import FrozenTeacher


class Batch(NamedTuple):
    """What one forward pass is given, on the training device."""

    streams: Streams
    bodies: Tensor
    labels: Tensor


class TrainingRun:
    """One model trained on one store, with a teacher or without."""

    def __init__(
        self,
        settings: RunSettings,
        store: ClipStore,
        teacher: FrozenTeacher | None,
        accelerator: Accelerator,
        folder: Path,
    ) -> None:
        self.settings = settings
        self.store = store
        self.teacher = teacher
        self.accelerator = accelerator
        self.folder = folder
        self.train_clips, self.test_clips = store.split(settings.split)
        self.plan = make_plan(settings, len(self.train_clips), accelerator.num_processes)
        self.views = Views(store, settings, view_device(store, accelerator.device))
        torch.manual_seed(chance.seed_for(settings.seed, "weights", settings.model_name))
        architecture = get_architecture(settings.model_name)
        if isinstance(architecture, LastV2Architecture):
            architecture = architecture.model_copy(update={"body_average": "present"})
        self.model: LastModel = build_model(
            architecture, store.num_classes, store.layout, dropout=settings.dropout
        )
        optimizer = make_optimizer(self.model, settings)
        self.wrapped, self.optimizer = accelerator.prepare(self.model, optimizer)
        self.clock = PartClock(accelerator.device)
        self.best: tuple[int, Accuracy] | None = None
        self.record = RunRecord(settings, store, teacher, accelerator, folder, self.plan)

    # --- what is trained on -----------------------------------------------------------------

    def clips(self, clip_order: NDArray[np.int64], step: int, pass_: int) -> NDArray[np.int64]:
        """This rank's clips of one forward pass: the processes share out one global order."""
        size, world = self.settings.batch_size, self.accelerator.num_processes
        start = step * self.plan.global_batch + pass_ * size * world
        start += self.accelerator.process_index * size
        return clip_order[start : start + size]

    def view(self, clips: NDArray[np.int64], draws: Tensor) -> Batch:
        device = self.accelerator.device
        streams = {k: v.to(device) for k, v in self.views.training(clips, draws).items()}
        labels = self.views.labels[torch.from_numpy(clips).to(self.views.device)]
        return Batch(streams, self.views.bodies(clips).to(device), labels.to(device))

    def loss(self, student: Tensor, teacher: Tensor | None, labels: Tensor) -> LossParts:
        if teacher is not None and isinstance(self.settings, DistillSettings):
            alpha, tau = self.settings.alpha, self.settings.tau
            return distillation_loss(student, teacher, labels, alpha=alpha, tau=tau)
        smoothing = self.settings.label_smoothing if isinstance(self.settings, TrainSettings) else 0
        return standalone_loss(student, labels, label_smoothing=smoothing)

    def forward_backward(self, batch: Batch, place: int) -> LossParts:
        """One forward pass of teacher and student, and the student's gradients."""
        self.clock.start("teacher")
        soft = self.teacher(batch.streams, batch.bodies) if self.teacher else None
        self.clock.stop("teacher")
        self.clock.start("student")
        rank = self.accelerator.process_index
        torch.manual_seed(
            chance.seed_for(self.settings.seed, "dropout", self.settings.model_name, place, rank)
        )
        parts = self.loss(self.wrapped(batch.streams, batch.bodies), soft, batch.labels)
        self.accelerator.backward(parts.total)
        self.clock.stop("student")
        return parts

    # --- the loop ---------------------------------------------------------------------------

    def run(self) -> Path:
        """Trains to the end and returns the best checkpoint.

        Raises:
            UserError: the loss isn't finite any more, or the disk is full; what was saved stays.
        """
        name = self.folder.name
        with RunProgress(
            name, self.plan.total_steps, shown=self.accelerator.is_main_process
        ) as progress:
            try:
                self.record.start(self.model, progress)
                for epoch in range(1, self.settings.epochs + 1):
                    self.train_epoch(epoch, progress)
                    self.end_epoch(epoch, progress)
            except BaseException as error:
                state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
                self.record.event("end", state=state, reason=str(error) or type(error).__name__)
                raise
            assert self.best is not None  # the last epoch is always evaluated
            epoch, accuracy = self.best
            self.record.event("end", state="finished", best_epoch=epoch, best=accuracy.summary())
            progress.say(
                f"{name}: best top-1 {accuracy.top1:.2f} % (epoch {epoch}, chosen on the test "
                f"part of {self.settings.split}) | {self.folder / BEST}"
            )
        return self.folder / BEST

    def train_epoch(self, epoch: int, progress: RunProgress) -> None:
        settings, plan = self.settings, self.plan
        draws = self.views.draw(settings.seed, epoch)
        shuffled = chance.order(settings.seed, "order", epoch, count=len(self.train_clips))
        clip_order = self.train_clips[shuffled]
        sums = torch.zeros(4, device=self.accelerator.device)
        since, norm = time.perf_counter(), torch.zeros(())
        self.wrapped.train()
        for step in range(plan.steps_per_epoch):
            done = (epoch - 1) * plan.steps_per_epoch + step
            lr = learning_rate(settings, plan.global_batch, done / plan.steps_per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            for pass_ in range(settings.accumulation):
                batch = self.view(self.clips(clip_order, step, pass_), draws)
                with self.accelerator.accumulate(self.wrapped):
                    place = done * settings.accumulation + pass_
                    parts = self.forward_backward(batch, place)
                    if self.accelerator.sync_gradients:
                        norm = self.accelerator.clip_grad_norm_(
                            self.wrapped.parameters(), settings.clip_grad
                        )
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                kl = parts.kl if parts.kl is not None else torch.zeros_like(parts.ce)
                sums += torch.stack((parts.ce, kl, parts.total, torch.ones_like(kl))).detach()
            if (done + 1) % settings.log_every == 0 or step + 1 == plan.steps_per_epoch:
                self.report(done + 1, epoch, sums, norm, since, lr, progress)
                since = time.perf_counter()
                sums.zero_()

    def report(
        self,
        step: int,
        epoch: int,
        sums: Tensor,
        norm: Tensor,
        since: float,
        lr: float,
        progress: RunProgress,
    ) -> None:
        """One step event: means over the forward passes of all ranks since the last one."""
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums, reduction="sum")
        ce, kl, total, passes = sums.tolist()  # waits for the device, so the clock can be read
        steps = passes / self.accelerator.num_processes / self.settings.accumulation
        clips_per_s = steps * self.plan.global_batch / (time.perf_counter() - since)
        spent = {part: ms / steps for part, ms in self.clock.take().items()}
        fields: dict[str, Any] = {"step": step, "epoch": epoch, "ce": ce / passes}
        if self.teacher:
            fields |= {"kl": kl / passes, "teacher_ms": round(spent["teacher"], 3)}
        fields |= {
            "total": total / passes,
            "lr": lr,
            "grad_norm": float(norm),
            "clips_per_s": round(clips_per_s, 1),
            "student_ms": round(spent["student"], 3),
        }
        self.record.event("step", **fields)
        if not np.isfinite(total):
            raise UserError(
                f"{self.folder}: the loss is no finite number at step {step}; try a smaller --lr"
            )
        progress.step(step, f"{epoch}/{self.settings.epochs}", total / passes, clips_per_s)

    def end_epoch(self, epoch: int, progress: RunProgress) -> None:
        """Evaluates, records and saves."""
        self.share_buffers()
        due = epoch % self.settings.eval_every == 0 or epoch == self.settings.epochs
        accuracy: Accuracy | None = None
        if due:
            started = time.perf_counter()
            accuracy = evaluate(
                self.model,
                self.views,
                self.test_clips,
                batch_size=self.settings.eval_batch_size,
                accelerator=self.accelerator,
            )
            by_class = [None if np.isnan(a) else round(float(a), 2) for a in accuracy.by_class]
            self.record.event(
                "epoch",
                epoch=epoch,
                step=epoch * self.plan.steps_per_epoch,
                **accuracy.summary(),
                by_class=by_class,
                seconds=round(time.perf_counter() - started, 3),
            )
            progress.say(
                f"{self.folder.name} | epoch {epoch}/{self.settings.epochs} | top-1 "
                f"{accuracy.top1:.2f} % | top-5 {accuracy.top5:.2f} % | mean class "
                f"{accuracy.mean_class:.2f} %"
            )
            if self.best is None or accuracy.top1 > self.best[1].top1:
                self.best = (epoch, accuracy)
                self.record.save(
                    self.model,
                    BEST,
                    epoch,
                    accuracy,
                    f"top-1 on the test part of {self.settings.split}",
                )
        self.record.save(self.model, LAST, epoch, accuracy, "the last epoch")

    def share_buffers(self) -> None:
        """Gives all ranks the first one's running statistics, which is what is saved."""
        if self.accelerator.num_processes > 1:
            for buffer in self.model.buffers():
                broadcast(buffer, from_process=0)


def view_device(store: ClipStore, device: torch.device) -> torch.device:
    """The training device where the store fits into half of its free memory, else the CPU."""
    if device.type != "cuda":
        return device
    rows = int((store.frames * store.bodies).sum())
    needed = rows * store.layout.num_joints * 3 * 4
    free, _ = torch.cuda.mem_get_info(device)
    return device if needed < free / 2 else torch.device("cpu")


def train(
    settings: RunSettings,
    *,
    data: Path,
    teacher: Path | None,
    folder: Path,
    accelerator: Accelerator,
) -> Path:
    """Opens what a run needs and trains; returns the best checkpoint.

    Raises:
        UserError: data or teacher are missing or don't fit, the folder is taken, and as in
            `TrainingRun.run`.
    """
    store = ClipStore.open(data)
    frozen = FrozenTeacher(teacher, store, accelerator.device) if teacher else None
    started = time.perf_counter()
    run = TrainingRun(settings, store, frozen, accelerator, folder)
    best = run.run()
    accelerator.print(f"  took {duration(time.perf_counter() - started)}")
    return best
