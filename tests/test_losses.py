"""The distillation loss against numbers worked out apart from it, and at its limits."""

from __future__ import annotations

import math

import pytest
import torch

from lastkd.losses import distillation_loss, standalone_loss

STUDENT = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
TEACHER = torch.tensor([[3.0, 1.0, -2.0], [0.5, 0.0, 2.0]])
LABELS = torch.tensor([0, 2])


def by_hand(alpha: float, tau: float) -> tuple[float, float, float]:
    """The formula in plain Python floats."""

    def softmax(row: list[float], t: float) -> list[float]:
        powers = [math.exp(v / t) for v in row]
        return [p / sum(powers) for p in powers]

    s, t = STUDENT.tolist(), TEACHER.tolist()
    ce = sum(-math.log(softmax(s[i], 1)[int(LABELS[i])]) for i in range(2)) / 2
    kl = 0.0
    for i in range(2):
        p, q = softmax(t[i], tau), softmax(s[i], tau)
        kl += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    return ce, kl, alpha * ce + (1 - alpha) * tau**2 * kl


def test_golden_numbers() -> None:
    parts = distillation_loss(STUDENT, TEACHER, LABELS, alpha=0.7, tau=4.0)
    assert parts.ce.item() == pytest.approx(0.2055787, abs=1e-6)
    assert parts.kl.item() == pytest.approx(0.01501137, abs=1e-7)
    assert parts.total.item() == pytest.approx(0.2159596, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0, 6.0])
def test_every_part_equals_the_formula(alpha: float, tau: float) -> None:
    parts = distillation_loss(STUDENT, TEACHER, LABELS, alpha=alpha, tau=tau)
    assert [p.item() for p in parts] == pytest.approx(by_hand(alpha, tau), abs=1e-5)


def test_alpha_one_is_the_hard_label_loss_and_its_gradient() -> None:
    student = STUDENT.clone().requires_grad_()
    distillation_loss(student, TEACHER, LABELS, alpha=1.0, tau=4.0).total.backward()
    alone = STUDENT.clone().requires_grad_()
    standalone_loss(alone, LABELS).total.backward()
    torch.testing.assert_close(student.grad, alone.grad)


def test_alpha_zero_leaves_the_labels_out() -> None:
    one = distillation_loss(STUDENT, TEACHER, LABELS, alpha=0.0, tau=2.0).total
    other = distillation_loss(STUDENT, TEACHER, LABELS.flip(0), alpha=0.0, tau=2.0).total
    assert one == other


def test_a_student_that_equals_its_teacher_has_no_kl() -> None:
    parts = distillation_loss(TEACHER, TEACHER, LABELS, alpha=0.5, tau=4.0)
    assert parts.kl.item() == pytest.approx(0, abs=1e-7)


def test_tau_squared_keeps_the_gradient_size_when_tau_grows() -> None:
    sizes = []
    for tau in (20.0, 40.0):
        student = STUDENT.clone().requires_grad_()
        distillation_loss(student, TEACHER, LABELS, alpha=0.0, tau=tau).total.backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_half_precision_logits_are_taken_to_float32_before_the_loss() -> None:
    student, teacher = 60 * STUDENT.half(), 60 * TEACHER.half()
    parts = distillation_loss(student, teacher, LABELS, alpha=0.5, tau=1.0)
    assert all(p.dtype == torch.float32 and p.isfinite() for p in parts)
    wide = distillation_loss(student.float(), teacher.float(), LABELS, alpha=0.5, tau=1.0)
    assert parts.total == wide.total


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = TEACHER.clone().requires_grad_()
    student = STUDENT.clone().requires_grad_()
    distillation_loss(student, teacher, LABELS, alpha=0.5, tau=4.0).total.backward()
    assert teacher.grad is None


def test_standalone_loss_smooths_the_labels() -> None:
    smooth = standalone_loss(STUDENT, LABELS, label_smoothing=0.1)
    log_p = STUDENT.log_softmax(1)
    target = torch.full((2, 3), 0.1 / 3)
    target[[0, 1], LABELS] += 0.9
    torch.testing.assert_close(smooth.ce, -(target * log_p).sum(1).mean())
    assert smooth.kl is None
