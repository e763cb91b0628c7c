"""--tau auto: the temperature that a standalone run asks for, by its event log alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lastkd.distill import command
from lastkd.errors import UserError
from lastkd.pipeline.auto_tau import auto_tau, smoothed_entropy, training_fit
from lastkd.pipeline.request import resolve_all
from lastkd.runs.events import FILE_NAME, EventLog
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings

CLASSES = 60


def standalone(
    folder: Path,
    *,
    losses: tuple[tuple[int, int, float | None], ...],
    top1: float = 80.0,
    smoothing: float = 0.0,
    state: str | None = "finished",
    model: str = "last_e_nano",
    seed: int = 0,
    split: str = "xsub",
) -> Path:
    """A run's log; `losses` are its step events as (step, epoch, ce)."""
    folder.mkdir(parents=True)
    log = EventLog(folder / FILE_NAME)
    settings: dict[str, Any] = {"seed": seed, "split": split, "label_smoothing": smoothing}
    data = {"hash": "d" * 64, "classes": CLASSES}
    log.write("start", model=model, settings=settings, data=data, teacher=None)
    for step, epoch, ce in losses:
        log.write("step", step=step, epoch=epoch, ce=ce)
    log.write("epoch", epoch=losses[-1][1], top1=top1, top5=90.0, mean_class=top1)
    if state:
        log.write("end", state=state)
    log.close()
    return folder


def fit_of(folder: Path) -> float:
    return training_fit(Run.read(folder))


def test_fit_is_of_the_last_epoch_each_step_counting_once(tmp_path: Path) -> None:
    losses = ((10, 1, 3.0), (20, 2, 0.2), (25, 2, 0.5))
    fit = fit_of(standalone(tmp_path / "run", losses=losses))
    assert fit == pytest.approx(math.exp(-(10 * 0.2 + 5 * 0.5) / 15))


def test_smoothing_is_no_misfit(tmp_path: Path) -> None:
    least = smoothed_entropy(0.1, CLASSES)
    right, other = 0.9 + 0.1 / 60, 0.1 / 60
    assert least == pytest.approx(-right * math.log(right) - 59 * other * math.log(other))
    assert smoothed_entropy(0.0, CLASSES) == 0
    fit = fit_of(standalone(tmp_path / "run", losses=((5, 1, least),), smoothing=0.1))
    assert fit == pytest.approx(1)


@pytest.mark.parametrize(
    ("fit", "underfits"), [(0.85, False), (0.51, False), (0.49, True), (1 / CLASSES, True)]
)
def test_a_run_underfits_where_it_gives_its_own_clips_less_than_even_odds(
    tmp_path: Path, fit: float, underfits: bool
) -> None:
    for variant in ("nano", "small", "base"):
        settings = resolve(DistillSettings, {"variant": variant, "standalone": tmp_path / variant})
        expected = 6.0 if underfits and variant != "base" else 4.0
        model = settings.model_name
        standalone(tmp_path / variant, losses=((5, 1, -math.log(fit)),), model=model)
        assert auto_tau(settings).tau == expected


def test_the_run_of_the_same_seed_and_split_is_meant(tmp_path: Path) -> None:
    high, low = ((5, 1, 2.0),), ((5, 1, 0.01),)
    standalone(tmp_path / "a", losses=high, seed=0)
    standalone(tmp_path / "b", losses=low, seed=1)
    standalone(tmp_path / "c", losses=low, seed=0, split="xview")
    standalone(tmp_path / "d", losses=low, seed=0, model="last_e_small")
    nano = {"variant": "nano", "standalone": tmp_path}
    for seed, tau in ((0, 6.0), (1, 4.0)):
        settings = resolve(DistillSettings, {**nano, "seed": seed, "split": "xsub"})
        assert auto_tau(settings).tau == tau
    # of the seed 0 there is a run on xsub and one on xview, and auto says neither
    for seed in (0, 7):
        with pytest.raises(UserError, match="several fitting standalone runs"):
            auto_tau(resolve(DistillSettings, {**nano, "seed": seed}))
    with pytest.raises(UserError, match="no standalone run of last_e_nano on xset"):
        auto_tau(resolve(DistillSettings, {**nano, "split": "xset"}))


def test_settings_record_the_resolved_tau(tmp_path: Path) -> None:
    standalone(tmp_path / "nano", losses=((5, 1, 2.0),))
    standalone(tmp_path / "small", losses=((5, 1, 0.01),), model="last_e_small")
    standalone(tmp_path / "large", losses=((5, 1, 2.0),), model="last_e_large")
    (tmp_path / "mine.yaml").write_text("tau: auto\nepochs: 3\n")
    said: list[str] = []
    variants = ("nano", "small", "large")
    given = {"variant": variants, "standalone": tmp_path}
    settings = resolve_all(given, tmp_path / "mine.yaml", echo=said.append)
    assert [own.loss.tau for own in settings] == [6.0, 4.0, 4.0]
    assert [own.epochs for own in settings] == [3, 3, 3]
    assert said[0].startswith(f"nano: tau 6, as {tmp_path / 'nano'} underfits (training fit 0.135")


def distill(*words: object) -> Result:
    return CliRunner().invoke(command(), [str(word) for word in words])


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    unfinished = standalone(tmp_path / "run", losses=((5, 1, 2.0),), state=None)
    no_loss = standalone(tmp_path / "empty", losses=((5, 1, None),))
    for words, hint in (
        (("--standalone", no_loss, "--split", "xset"), "holds no standalone run of last_e_nano"),
        (("--tau", "auto", "--standalone", tmp_path / "no"), "holds no run at any depth"),
        (("--tau", "auto", "--standalone", unfinished), "is unfinished"),
        (("--tau", "auto", "--standalone", no_loss), "lacks the last epoch's loss"),
        (("--tau", "auto", "--loss", "dkd"), "is a rule for the loss kd"),
    ):
        error = distill("--variant", "nano", *words).exception
        assert isinstance(error, UserError), error
        assert hint in str(error)
        assert "\n" not in str(error)
    assert "is not a valid float" in distill("--tau", "warm").output
