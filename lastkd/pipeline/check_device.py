"""What a device computes, held against float32 on the CPU: teacher, student and losses."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from lastkd import losses
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Streams, Views
from lastkd.models.bodies import BodyCounts
from lastkd.models.checkpoint import read_checkpoint
from lastkd.models.registry import build_model
from lastkd.settings.views import ViewSettings
from lastkd.training.batches import Batch
from lastkd.training.teacher import FrozenTeacher

CPU = torch.device("cpu")


class Deviation(NamedTuple):
    """How far a device's numbers are from those of float32 on the CPU.

    Attributes:
        relative: the largest absolute difference over the largest value.
        finite: whether all numbers are finite.
    """

    relative: float
    finite: bool

    @classmethod
    def of(cls, measured: Tensor, expected: Tensor) -> Deviation:
        measured, expected = measured.detach().float().cpu(), expected.detach().float().cpu()
        gap = (measured - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
        return cls(float(gap.nan_to_num(torch.inf)), bool(measured.isfinite().all()))


class DeviceProbe:
    """Runs the pieces of a distillation on one device and on the CPU.

    Args:
        store: with at least eight training clips in `xsub`.
        teacher: checkpoint of a teacher for it.
        views: how views are cut.
    """

    def __init__(
        self, store: ClipStore, teacher: Path, views: ViewSettings, accelerator: Accelerator
    ) -> None:
        self.store = store
        self.teacher = teacher
        self.accelerator = accelerator
        self.device = accelerator.device
        self.views = Views(store, views, CPU)
        self.clips = store.split("xsub")[0]

    def batch(self, clips: int, device: torch.device) -> tuple[Streams, BodyCounts, Tensor]:
        """Training views of the first `clips` clips, labels on `device` and body counts."""
        draws = self.views.draw(0, 1)
        _, streams, bodies, labels = Batch.of(self.clips[:clips], self.views, draws, device)
        return streams, bodies, labels

    def teacher_deviation(self) -> Deviation:
        """Logits of the frozen teacher, in a run's precision, against the plain model's."""
        plain = read_checkpoint(self.teacher).build()
        streams, bodies, _ = self.batch(4, CPU)
        with torch.no_grad():
            expected = plain(streams, bodies)
        frozen = FrozenTeacher(self.teacher, self.store, self.device)
        streams, bodies, _ = self.batch(4, self.device)
        return Deviation.of(frozen(streams, bodies), expected)

    def student_deviation(self) -> Deviation:
        """Gradients of a nano student's step, in a run's precision, against the CPU's.

        Of all gradients as one vector: a student's single gradients are small
        compared with the rounding of half precision.
        """
        expected = self._gradients(CPU)
        measured = self._gradients(self.device).cpu()
        gap = (measured - expected).norm() / expected.norm()
        return Deviation(float(gap.nan_to_num(torch.inf)), bool(measured.isfinite().all()))

    def _gradients(self, device: torch.device) -> Tensor:
        torch.manual_seed(0)
        # dropout masks differ between devices, so there is none
        student: nn.Module = build_model(
            "last_e_nano", self.store.num_classes, self.store.layout, dropout=0.0
        ).to(device)
        streams, bodies, labels = self.batch(8, device)
        precise = device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if precise else self.accelerator.autocast():
            logits = student(streams, bodies)
        # the scale that fp16 training settles at keeps small gradients from vanishing
        scale = 1.0 if precise else 1024.0
        (scale * F.cross_entropy(logits.float(), labels)).backward()
        gradients = [p.grad.flatten() for p in student.parameters() if p.grad is not None]
        return torch.cat(gradients).float() / scale

    def repeats(self) -> bool:
        """Whether the same step twice gives the same gradients, byte for byte."""
        return torch.equal(self._gradients(self.device), self._gradients(self.device))

    def check_losses(self) -> tuple[list[str], list[str]]:
        """Names of all losses, and of those with a value or gradient that isn't finite.

        At logits of usual and of large scale: a confident teacher has logits of 30 and more.
        """
        generator = torch.Generator().manual_seed(0)
        refused: list[str] = []
        for name, loss_class in losses.LOSSES.items():
            loss = loss_class()
            for scale in (1.0, 30.0):
                drawn = scale * torch.randn(2, 8, self.store.num_classes, generator=generator)
                student, teacher = (logits.to(self.device) for logits in drawn)
                student.requires_grad_(True)
                labels = torch.arange(8, device=self.device) % self.store.num_classes
                value = loss.soft_term(student, teacher, labels)
                (gradient,) = torch.autograd.grad(value, student)
                if not (value.isfinite() and gradient.isfinite().all()):
                    refused.append(name)
                    break
        return list(losses.LOSSES), refused
