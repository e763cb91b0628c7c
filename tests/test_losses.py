"""The distillation loss against numbers worked out apart from it, and at its limits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from lastkd.errors import UserError
from lastkd.losses import DIST, DKD, KD, LOSSES, LogitStd, Loss, LossParts, standalone_loss
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings

STUDENT = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
TEACHER = torch.tensor([[3.0, 1.0, -2.0], [0.5, 0.0, 2.0]])
LABELS = torch.tensor([0, 2])
# worked out by numpy from the papers' formulas
DKD_GOLDEN = 0.14025542547594427
DIST_GOLDEN = 0.008232668351181083
LOGIT_STD_GOLDEN = 0.009919085884290682


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


def kd(
    student: torch.Tensor,
    teacher: torch.Tensor,
    labels: torch.Tensor,
    *,
    alpha: float,
    tau: float,
) -> LossParts:
    return KD(alpha=alpha, tau=tau)(student, teacher, labels)


def kl(student: torch.Tensor, teacher: torch.Tensor, *, tau: float) -> torch.Tensor:
    return KD(tau=tau).soft_term(student, teacher, LABELS[: len(student)])


def test_golden_numbers() -> None:
    parts = kd(STUDENT, TEACHER, LABELS, alpha=0.7, tau=4.0)
    assert parts.ce.item() == pytest.approx(0.2055787, abs=1e-6)
    assert parts.soft.item() == pytest.approx(0.01501137, abs=1e-7)
    assert parts.total.item() == pytest.approx(0.2159596, abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0, 6.0])
def test_every_part_equals_the_formula(alpha: float, tau: float) -> None:
    parts = kd(STUDENT, TEACHER, LABELS, alpha=alpha, tau=tau)
    assert [p.item() for p in parts] == pytest.approx(by_hand(alpha, tau), abs=1e-5)


def test_alpha_one_is_the_hard_label_loss_and_its_gradient() -> None:
    student = STUDENT.clone().requires_grad_()
    kd(student, TEACHER, LABELS, alpha=1.0, tau=4.0).total.backward()
    alone = STUDENT.clone().requires_grad_()
    standalone_loss(alone, LABELS).total.backward()
    torch.testing.assert_close(student.grad, alone.grad)


def test_alpha_zero_leaves_the_labels_out() -> None:
    one = kd(STUDENT, TEACHER, LABELS, alpha=0.0, tau=2.0).total
    other = kd(STUDENT, TEACHER, LABELS.flip(0), alpha=0.0, tau=2.0).total
    assert one == other


def test_a_student_that_equals_its_teacher_has_no_kl() -> None:
    parts = kd(TEACHER, TEACHER, LABELS, alpha=0.5, tau=4.0)
    assert parts.soft.item() == pytest.approx(0, abs=1e-7)


def test_tau_squared_keeps_the_gradient_size_when_tau_grows() -> None:
    sizes = []
    for tau in (20.0, 40.0):
        student = STUDENT.clone().requires_grad_()
        kd(student, TEACHER, LABELS, alpha=0.0, tau=tau).total.backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_half_precision_logits_are_taken_to_float32_before_the_loss() -> None:
    student, teacher = 60 * STUDENT.half(), 60 * TEACHER.half()
    parts = kd(student, teacher, LABELS, alpha=0.5, tau=1.0)
    assert all(p.dtype == torch.float32 and p.isfinite() for p in parts)
    wide = kd(student.float(), teacher.float(), LABELS, alpha=0.5, tau=1.0)
    assert parts.total == wide.total


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = TEACHER.clone().requires_grad_()
    student = STUDENT.clone().requires_grad_()
    kd(student, teacher, LABELS, alpha=0.5, tau=4.0).total.backward()
    assert teacher.grad is None


def test_standalone_loss_smooths_the_labels() -> None:
    smooth = standalone_loss(STUDENT, LABELS, label_smoothing=0.1)
    log_p = STUDENT.log_softmax(1)
    target = torch.full((2, 3), 0.1 / 3)
    target[[0, 1], LABELS] += 0.9
    torch.testing.assert_close(smooth.ce, -(target * log_p).sum(1).mean())
    assert smooth.soft is None


@pytest.mark.parametrize("loss", [KD(alpha=0.3, tau=2.0), DKD(), DIST(), LogitStd()])
def test_hard_labels_of_a_distillation_are_smoothed_as_those_of_a_standalone_run(
    loss: Loss,
) -> None:
    plain = loss(STUDENT, TEACHER, LABELS)
    smooth = loss(STUDENT, TEACHER, LABELS, label_smoothing=0.1)
    assert smooth.ce == standalone_loss(STUDENT, LABELS, label_smoothing=0.1).ce
    assert smooth.soft == plain.soft
    hard_weight = loss.weights()[0]
    torch.testing.assert_close(smooth.total - plain.total, hard_weight * (smooth.ce - plain.ce))


# --- the other losses, against their papers' formulas in plain Python ------------------------


def softened(row: list[float], tau: float) -> list[float]:
    powers = [math.exp(v / tau) for v in row]
    return [p / sum(powers) for p in powers]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def pearson(a: list[float], b: list[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    a, b = [x - mean_a for x in a], [x - mean_b for x in b]
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def dkd_by_hand(alpha: float, beta: float, tau: float) -> float:
    total = 0.0
    for s, t, label in zip(STUDENT.tolist(), TEACHER.tolist(), LABELS.tolist(), strict=True):
        p, q = softened(t, tau), softened(s, tau)
        pair = [p[label], 1 - p[label]], [q[label], 1 - q[label]]
        rest = [
            [v / (1 - dist[label]) for k, v in enumerate(dist) if k != label] for dist in (p, q)
        ]
        total += alpha * divergence(*pair) + beta * divergence(*rest)
    return total / 2


def dist_by_hand(beta: float, gamma: float, tau: float) -> float:
    q = [softened(row, tau) for row in STUDENT.tolist()]
    p = [softened(row, tau) for row in TEACHER.tolist()]
    inter = 1 - sum(pearson(a, b) for a, b in zip(q, p, strict=True)) / 2
    columns = zip(zip(*q, strict=True), zip(*p, strict=True), strict=True)
    intra = 1 - sum(pearson(list(a), list(b)) for a, b in columns) / 3
    return beta * inter + gamma * intra


def logit_std_by_hand(tau: float) -> float:
    def standardised(row: list[float]) -> list[float]:
        mean = sum(row) / len(row)
        spread = math.sqrt(sum((v - mean) ** 2 for v in row) / (len(row) - 1))
        return [(v - mean) / spread for v in row]

    pairs = zip(TEACHER.tolist(), STUDENT.tolist(), strict=True)
    return (
        sum(divergence(*(softened(standardised(row), tau) for row in pair)) for pair in pairs) / 2
    )


def test_golden_numbers_of_the_other_losses_at_their_papers_defaults() -> None:
    assert dkd_by_hand(1, 8, 4) == pytest.approx(DKD_GOLDEN, rel=1e-6)
    assert dist_by_hand(1, 1, 1) == pytest.approx(DIST_GOLDEN, rel=1e-6)
    assert logit_std_by_hand(2) == pytest.approx(LOGIT_STD_GOLDEN, rel=1e-6)
    golden = {"dkd": DKD_GOLDEN, "dist": DIST_GOLDEN, "logit_std": LOGIT_STD_GOLDEN}
    terms = other_terms(STUDENT, TEACHER)
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(golden, rel=1e-5)


@pytest.mark.parametrize("tau", [0.5, 2.0, 6.0])
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.0, 1.0), (0.7, 3.0)])
def test_each_weight_and_tau_act_as_in_the_formula(a: float, b: float, tau: float) -> None:
    dkd = DKD(dkd_alpha=a, dkd_beta=b, tau=tau).soft_term(STUDENT, TEACHER, LABELS)
    assert dkd.item() == pytest.approx(dkd_by_hand(a, b, tau), rel=1e-4, abs=1e-6)
    dist = DIST(dist_beta=a, dist_gamma=b, tau=tau).soft_term(STUDENT, TEACHER, LABELS)
    assert dist.item() == pytest.approx(dist_by_hand(a, b, tau), rel=1e-4, abs=1e-6)
    std = LogitStd(tau=tau).soft_term(STUDENT, TEACHER, LABELS)
    assert std.item() == pytest.approx(logit_std_by_hand(tau), rel=1e-4, abs=1e-6)


def test_dkd_falls_into_the_two_parts_of_kl() -> None:
    """KL = TCKD + (1 - p_label) * NCKD, clip by clip (equation 5 of the paper)."""
    for i in range(2):
        s, t, label = STUDENT[i : i + 1], TEACHER[i : i + 1], LABELS[i : i + 1]
        weight = 1 - (t / 3).softmax(1)[0, label].item()
        parts = DKD(dkd_beta=weight, tau=3).soft_term(s, t, label)
        assert parts.item() == pytest.approx(kl(s, t, tau=3).item(), rel=1e-5)


def other_terms(student: torch.Tensor, teacher: torch.Tensor) -> dict[str, torch.Tensor]:
    """The soft terms at their papers' defaults."""
    others = (loss() for name, loss in LOSSES.items() if name != "kd")
    return {loss.name: loss.soft_term(student, teacher, LABELS) for loss in others}


def test_a_perfect_student_has_nothing_to_learn_and_no_teacher_learns() -> None:
    for name, term in other_terms(TEACHER, TEACHER).items():
        assert term.item() == pytest.approx(0, abs=1e-6), name
    teacher, student = TEACHER.clone().requires_grad_(), STUDENT.clone().requires_grad_()
    for term in other_terms(student, teacher).values():
        term.backward()
    assert teacher.grad is None


def test_logit_std_and_dist_do_not_ask_for_the_teachers_range() -> None:
    assert other_terms(5 * TEACHER - 2, TEACHER)["logit_std"].item() == pytest.approx(0, abs=1e-6)
    assert kl(5 * TEACHER - 2, TEACHER, tau=2).item() > 0.05


@pytest.mark.parametrize("size", [0.0, 1.0, 300.0, 2e4])
def test_half_precision_and_extreme_logits_stay_finite_with_their_gradients(size: float) -> None:
    student = (size * STUDENT).half().requires_grad_()
    for name, term in other_terms(student, (size * TEACHER).half().flip(0)).items():
        assert term.dtype == torch.float32
        (gradient,) = torch.autograd.grad(term, student, retain_graph=True)
        assert term.isfinite() and gradient.isfinite().all(), name


# --- how a run's settings choose one -----------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "weights", "tau", "term"),
    [
        ("kd", (0.7, 0.3), 4.0, lambda: kl(STUDENT, TEACHER, tau=4)),
        ("dkd", (1, 1), 4.0, lambda: other_terms(STUDENT, TEACHER)["dkd"]),
        ("dist", (1, 1), 1.0, lambda: other_terms(STUDENT, TEACHER)["dist"]),
        ("logit_std", (0.1, 9), 2.0, lambda: other_terms(STUDENT, TEACHER)["logit_std"]),
    ],
)
def test_each_loss_has_its_papers_defaults(
    loss: str, weights: tuple[float, float], tau: float, term: Callable[[], torch.Tensor]
) -> None:
    settings = resolve(DistillSettings, {"variant": "nano", "loss": loss})
    assert settings.loss.tau == tau
    parts = settings.loss(STUDENT, TEACHER, LABELS, done=1.0)
    ce = standalone_loss(STUDENT, LABELS).ce
    assert parts.soft is not None
    torch.testing.assert_close(parts.soft, term())
    torch.testing.assert_close(parts.total, weights[0] * ce + weights[1] * tau**2 * parts.soft)
    assert settings.loss.weights() == pytest.approx((weights[0], weights[1] * tau**2))


def test_the_soft_term_of_dkd_grows_over_a_twelfth_of_the_run() -> None:
    settings = resolve(DistillSettings, {"variant": "nano", "loss": "dkd"})
    ce = standalone_loss(STUDENT, LABELS).ce
    shares = []
    for done in (0.0, 10 / 240, 20 / 240, 0.5):
        parts = settings.loss(STUDENT, TEACHER, LABELS, done=done)
        assert parts.soft is not None
        shares.append(((parts.total - ce) / (16 * parts.soft)).item())
    assert shares == pytest.approx([0, 0.5, 1, 1], abs=1e-3)


def test_a_setting_of_another_loss_is_refused_and_not_ignored() -> None:
    with pytest.raises(
        UserError, match=r"alpha = 0.5 is no setting of the loss dkd, which has ce_weight"
    ):
        resolve(DistillSettings, {"variant": "nano", "loss": "dkd", "alpha": 0.5})
    with pytest.raises(UserError, match=r"dist_beta = 2 is no setting of the loss kd"):
        resolve(DistillSettings, {"variant": "nano", "dist_beta": 2})
