"""One model in training: its weights, optimiser, loss and event log."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from lastkd import rng
from lastkd.data.parts import Parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Streams, Views
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.replica import Replica
from lastkd.evaluation.accuracy import Accuracy
from lastkd.losses import LossParts, standalone_loss
from lastkd.models.bodies import BodyCounts
from lastkd.models.registry import SkeletonModel, build_model
from lastkd.runs.events import BEST
from lastkd.runs.folder import Position
from lastkd.settings.architecture import get_architecture
from lastkd.settings.runs import DistillSettings, RunSettings
from lastkd.terminal import Progress
from lastkd.training.averaging import WeightAverage
from lastkd.training.batches import Batch
from lastkd.training.checkpoints import Best, RunState
from lastkd.training.evaluations import Evaluations
from lastkd.training.nonfinite import DelayedFlags, RunningStatistics, SkippedSteps
from lastkd.training.optimiser import make_optimizer
from lastkd.training.run_logger import RunLogger
from lastkd.training.schedule import Schedule, learning_rate
from lastkd.training.soft_labels import SoftLabels


class Student:
    """One student with its own weights, optimiser, scaler and dropout stream.

    Training several together gives each the result that it would get alone. A model trained without
    a teacher, be it a LAST-v2 teacher, is a `Student` too: only the loss differs.
    """

    def __init__(
        self,
        settings: RunSettings,
        store: ClipStore,
        parts: Parts,
        soft_labels: SoftLabels | None,
        accelerator: Accelerator,
        folder: Path,
        schedule: Schedule,
        *,
        compiled: bool = False,
    ) -> None:
        self.settings = settings
        self.accelerator = accelerator
        self.folder = folder
        self.schedule = schedule
        torch.manual_seed(rng.derive_seed(settings.seed, "weights", settings.model_name))
        architecture = get_architecture(settings.model_name).for_training()
        self.model: SkeletonModel = build_model(
            architecture, store.num_classes, store.layout, dropout=settings.dropout
        )
        self.replica = Replica(accelerator, self.model, compiled=compiled)
        self.optimizer = make_optimizer(self.model, settings)
        self.average = WeightAverage(self.model, settings.ema) if settings.ema else None
        # Accelerate shares one scaler; here no student's overflow may change another's steps
        half = accelerator.device.type == "cuda" and accelerator.mixed_precision == "fp16"
        self.scaler = GradScaler("cuda", enabled=half)
        self.epochs_done = 0.0
        self.norm = torch.zeros(())
        self.sums = torch.zeros(4, device=accelerator.device)
        self.statistics = RunningStatistics(self.model)
        self.flags = DelayedFlags(accelerator.device)
        self.skips = SkippedSteps(scaled=half)
        self._loss_finite = torch.ones((), dtype=torch.bool, device=accelerator.device)
        self.logger = RunLogger(settings, store, parts, soft_labels, accelerator, folder, schedule)
        self.evaluations = Evaluations(self.logger)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def part(self) -> str:
        """Its key in the step timer; students of a sweep may share everything but the folder."""
        return f"student {self.folder}"

    @property
    def evaluated(self) -> SkeletonModel:
        """The model that is evaluated and saved: the average of the weights where there is one."""
        return self.average.model if self.average else self.model

    @property
    def best_path(self) -> Path:
        return self.folder / BEST

    @property
    def done(self) -> float:
        """Share of the run that is behind the current step, 0 to 1."""
        return self.epochs_done / self.settings.epochs

    def loss(self, logits: Tensor, soft: Tensor | None, labels: Tensor) -> LossParts:
        """The configured loss of one batch.

        Args:
            logits, soft: the student's and the teacher's logits `(B, K)`.
            labels: class indices `(B,)`.
        """
        settings, smoothing = self.settings, self.settings.label_smoothing
        if soft is not None and isinstance(settings, DistillSettings):
            return settings.loss(logits, soft, labels, done=self.done, label_smoothing=smoothing)
        return standalone_loss(logits, labels, label_smoothing=smoothing)

    def first_logits(self, batches: Sequence[Batch]) -> Tensor:
        """Logits `(N, K)` in training mode of a copy of the model, which keeps its state."""
        model = copy.deepcopy(self.model).train()
        torch.manual_seed(rng.derive_seed(self.settings.seed, "first logits"))
        with torch.no_grad(), self.accelerator.autocast():
            return torch.cat([model(batch.streams, batch.bodies).float() for batch in batches])

    def set_rate(self, epochs_done: float) -> float:
        """Sets and returns the learning rate after `epochs_done` epochs."""
        self.epochs_done = epochs_done
        rate = learning_rate(self.settings, self.schedule.global_batch, epochs_done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def forward_backward(
        self,
        streams: Streams,
        bodies: BodyCounts,
        labels: Tensor,
        soft: Tensor | None,
        micro_step: int,
    ) -> None:
        """One forward and backward pass.

        Args:
            streams: views `(B, 3, T, V, M)` by stream.
            bodies: body counts `(B,)`.
            soft: the teacher's logits `(B, K)`.
            micro_step: forward passes before this one; with seed and rank, it decides the dropout
                masks.
        """
        settings, rank = self.settings, self.accelerator.process_index
        torch.manual_seed(
            rng.derive_seed(settings.seed, "dropout", settings.model_name, micro_step, rank)
        )
        if micro_step % settings.accumulation == 0:
            self.statistics.snapshot()
        logits = self.replica(streams, bodies)
        parts = self.loss(logits, soft, labels)
        total = parts.total.detach()
        # 1 for a finite loss, else NaN: the gradient is NaN on every rank, and every rank skips
        one_or_nan = 1 + 0 * total
        self.scaler.scale(parts.total * one_or_nan / settings.accumulation).backward()
        soft_term = parts.soft if parts.soft is not None else torch.zeros_like(parts.ce)
        finite = total.isfinite()
        self._loss_finite = self._loss_finite & finite
        sums = torch.stack((parts.ce, soft_term, parts.total, torch.ones_like(total))).detach()
        self.sums += torch.where(finite, sums, 0)

    def step(self, number: int) -> None:
        """Clips the gradients and updates the weights, unless a loss or gradient isn't finite.

        The decision is made on the device; the host learns of it later, through `flags`.

        Args:
            number: the number of the step, counted from 1.
        """
        self.replica.average_gradients()
        self.scaler.unscale_(self.optimizer)
        self.norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_grad)
        skipped = ~self.norm.isfinite()
        if self.optimizer.defaults["fused"]:
            self.optimizer.found_inf = skipped.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not skipped:
            self.optimizer.step()
        self.scaler.update()
        self.optimizer.zero_grad()
        self.statistics.restore(skipped)
        if self.average:
            self.average.update(number)
        self.flags.put(number, torch.stack((~self._loss_finite, skipped)))
        self._loss_finite = torch.ones_like(self._loss_finite)

    def take_sums(self) -> Tensor:
        """Sums of ce, soft, total and passes over all ranks since the last call, on the CPU."""
        sums, self.sums = self.sums, torch.zeros_like(self.sums)
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.reduce(sums, reduction="sum")
        return sums.cpu()

    def report(
        self,
        step: int,
        epoch: int,
        sums: Tensor,
        rate: float,
        clips_per_s: float,
        spent: dict[str, float],
    ) -> float:
        """Records one step event with the means of `sums`, and returns the mean loss.

        Args:
            spent: milliseconds per step, by part.
        """
        ce, soft, total, passes = sums.tolist()
        passes = passes or math.nan  # there is no mean if every step was skipped
        fields: dict[str, Any] = {"step": step, "epoch": epoch, "ce": ce / passes}
        if isinstance(self.settings, DistillSettings):
            loss = self.settings.loss
            fields |= {
                "soft": soft / passes,
                "soft_weight": loss.ramp(self.done) * loss.weights()[1],
                "teacher_ms": round(spent["teacher"], 3),
            }
        fields |= {
            "total": total / passes,
            "lr": rate,
            "grad_norm": float(self.norm),
            "clips_per_s": round(clips_per_s, 1),
            "student_ms": round(spent[self.part], 3),
        }
        self.logger.event("step", **fields)
        return float(total / passes)

    def state(self, position: Position, reported: int) -> tuple[RunState, dict[str, Tensor]]:
        """Everything needed to resume, except the soft labels. Every rank must call it.

        Args:
            reported: steps done when the last step event was written.
        """
        sums = self.sums[None]
        if self.accelerator.num_processes > 1:
            sums = self.accelerator.gather(sums)
        tensors = self._carried() | {"sums": sums}
        best = None
        if self.evaluations.best is not None:
            epoch, accuracy = self.evaluations.best
            best = Best(epoch=epoch, top5_hits=accuracy.top5_hits)
            tensors["best.confusion"] = torch.from_numpy(accuracy.confusion)
        state = RunState(
            run_id=self.logger.run_id,
            step=position.step,
            epochs=position.epochs,
            reported=reported,
            skipped=self.skips.state(),
            best=best,
            scaler=self.scaler.state_dict(),
            conditions=self.logger.conditions(),
        )
        return state, {key: x.detach().to("cpu", copy=True) for key, x in tensors.items()}

    def load(self, state: RunState, tensors: dict[str, Tensor]) -> None:
        """Restores a state. Every rank must call it, but only rank 0 needs the tensors."""
        accelerator = self.accelerator
        for key, tensor in self._carried().items():
            if accelerator.is_main_process:
                tensor.copy_(tensors[key])
            if accelerator.num_processes > 1:
                tensor.copy_(broadcast(tensor, from_process=0))
        needed = ("sums", "best.confusion")
        shared = decide_on_main_process(
            accelerator, lambda: {k: tensors[k] for k in needed if k in tensors}
        )
        sums = shared["sums"]
        if len(sums) == accelerator.num_processes:
            self.sums.copy_(sums[accelerator.process_index])
        elif accelerator.is_main_process:  # another number of processes: rank 0 takes the total
            self.sums.copy_(sums.sum(dim=0))
        self.skips.load(state.skipped)
        self.scaler.load_state_dict(state.scaler)
        if state.best is not None:
            confusion = shared["best.confusion"].numpy()
            self.evaluations.best = state.best.epoch, Accuracy(confusion, state.best.top5_hits)

    def _carried(self) -> dict[str, Tensor]:
        """The live tensors of the training state: weights, buffers, momentum."""
        carried = {f"model.{key}": tensor for key, tensor in self.model.state_dict().items()}
        if self.settings.momentum:
            for name, parameter in self.model.named_parameters():
                carried[f"momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        if self.average:
            carried |= self.average.tensors()
        return carried

    def share_buffers(self) -> None:
        """Broadcasts rank 0's running statistics, which are the ones that are saved."""
        if self.accelerator.num_processes > 1:
            average = self.average.model.buffers() if self.average else ()
            for buffer in (*self.model.buffers(), *average):
                broadcast(buffer, from_process=0)

    def end_epoch(
        self, epoch: int, views: Views, progress: Progress, between: Callable[[], None]
    ) -> None:
        """Evaluates, records the epoch and saves checkpoints; `between` as in `Evaluations`."""
        self.share_buffers()
        self.evaluations.after_epoch(self.evaluated, epoch, views, progress, between)

    def finish(self, views: Views, progress: Progress, between: Callable[[], None]) -> None:
        """Records the end of the run; `between` as in `Evaluations`."""
        self.evaluations.at_the_end(self.evaluated, views, progress, between)
