"""Settings: defaults by variant, precedence, and helpful errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lastkd.errors import UserError
from lastkd.files.shipped import CONFIGS
from lastkd.losses import DKD, KD, LOSSES
from lastkd.pipeline.request import resolve_all
from lastkd.settings.architecture import get_architecture, model_names
from lastkd.settings.resolve import default_paths, resolve
from lastkd.settings.runs import DistillSettings, TrainSettings


@pytest.mark.parametrize(
    ("variant", "alpha", "tau"),
    [("nano", 0.7, 4.0), ("small", 0.6, 4.0), ("base", 0.5, 4.0), ("large", 0.5, 4.0)],
)
def test_defaults_by_variant(variant: str, alpha: float, tau: float) -> None:
    settings = resolve(DistillSettings, {"variant": variant})
    assert settings.loss == KD(alpha=alpha, tau=tau)
    assert settings.model_name == f"last_e_{variant}"


def test_the_recipe_is_that_of_last() -> None:
    settings = resolve(TrainSettings, {"model": "last_v2_base"})
    assert (settings.epochs, settings.warmup_epochs) == (70, 10)
    assert (settings.warmup_lr, settings.lr, settings.final_lr) == (0.001, 0.01, 0.0001)
    assert (settings.momentum, settings.weight_decay, settings.clip_grad) == (0.9, 4e-4, 1.0)
    assert (settings.batch_size, settings.reference_batch) == (16, 16)
    assert settings.label_smoothing == 0.1
    assert (settings.frames, settings.crop_min, settings.test_crop) == (64, 0.5, 0.95)


def test_the_command_line_overrides_the_file_which_overrides_the_variant(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("alpha: 0.2\ntau: 2\nepochs: 5\n")
    settings = resolve(DistillSettings, {"variant": "nano", "alpha": 0.9}, file=file)
    assert (settings.loss, settings.epochs) == (KD(alpha=0.9, tau=2.0), 5)


def test_an_unknown_key_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epoch: 5\n")
    with pytest.raises(UserError, match=r"mine\.yaml: unknown key 'epoch'; did you mean 'epochs'"):
        resolve(TrainSettings, {"model": "last_e_nano"}, file=file)


@pytest.mark.parametrize(
    "text", ["- 1\n", "a: [", "!!python/object/apply:os.system ['true']\n", "5\n"]
)
def test_a_file_that_is_not_a_mapping_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        resolve(TrainSettings, {"model": "last_e_nano"}, file=file)


@pytest.mark.parametrize(
    "given", [{"alpha": 1.5}, {"tau": 0}, {"epochs": 0}, {"lr": "fast"}, {"dropout": 1}]
)
def test_a_value_that_does_not_fit_is_refused_by_name(given: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(given))):
        resolve(DistillSettings, {"variant": "nano", **given})


def test_without_model_or_variant_the_choices_are_named() -> None:
    with pytest.raises(UserError, match="last_v2_base"):
        resolve(TrainSettings, {})
    with pytest.raises(UserError, match="nano, small, base, large"):
        resolve(DistillSettings, {})
    with pytest.raises(UserError, match="did you mean 'large'"):
        resolve(DistillSettings, {"variant": "larg"})


@pytest.mark.parametrize(
    ("given", "variants"),
    [
        ("all", ["nano", "small", "base", "large"]),
        ("nano,base", ["nano", "base"]),
        ("[large, nano]", ["nano", "large"]),
        ("[all, mine:student]", ["nano", "small", "base", "large", "mine:student"]),
        ("last_e_small", ["small"]),
        ("[mine:student, nano, nano]", ["nano", "mine:student"]),
    ],
)
def test_a_file_names_several_students_as_the_command_line_does(
    tmp_path: Path, given: str, variants: list[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"variant: {given}\nepochs: 3\n")
    settings = resolve_all({}, file)
    assert [student.variant for student in settings] == variants
    assert {student.epochs for student in settings} == {3}
    alphas = {"nano": 0.7, "small": 0.6}
    assert [student.loss for student in settings] == [
        KD(alpha=alphas.get(variant, 0.5)) for variant in variants
    ]


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("[nano, larg]", r"mine\.yaml: variant 'larg' is unknown; did you mean 'large'"),
        ("[]", "which variant"),
        ("5", "variant '5' is unknown"),
    ],
)
def test_an_unknown_student_among_several_is_named(tmp_path: Path, given: str, hint: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"variant: {given}\n")
    with pytest.raises(UserError, match=hint):
        resolve_all({}, file)


def test_settings_written_by_a_run_give_the_same_run_again(tmp_path: Path) -> None:
    for loss in LOSSES:
        settings = resolve(DistillSettings, {"variant": "nano", "loss": loss})
        flat = settings.model_dump(mode="json")
        assert set(LOSSES[loss].model_fields) < set(flat)
        file = tmp_path / f"{loss}.yaml"
        file.write_text(yaml.safe_dump(flat))
        assert resolve(DistillSettings, {}, file=file) == settings


def test_settings_of_other_losses_that_are_null_are_none(tmp_path: Path) -> None:
    """As the files of version 0.1.0 have them."""
    file = tmp_path / "settings.yaml"
    file.write_text(
        "variant: nano\nloss: dkd\nalpha: null\ntau: 4.0\nce_weight: 1.0\nsoft_weight: 1.0\n"
        "dkd_alpha: 1.0\ndkd_beta: 8.0\ndist_beta: null\ndist_gamma: null\nsoft_warmup: 0.0833\n"
    )
    assert resolve(DistillSettings, {}, file=file).loss == DKD()


def test_every_file_in_configs_is_readable() -> None:
    assert len(model_names()) == 8
    for name in model_names():
        assert get_architecture(name).name == name
    assert default_paths().teacher.name == "best.safetensors"
    for file in sorted((CONFIGS / "training").glob("synthetic*.yaml")):
        resolve(TrainSettings, {"model": "last_v2_tiny"}, file=file)


def test_the_recipe_for_small_sets_goes_over_the_defaults_and_under_what_is_asked_for(
    tmp_path: Path,
) -> None:
    small = resolve(TrainSettings, {"model": "last_e_nano", "recipe": "small"})
    assert small.steps is not None
    assert small.frames < 64
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: small\nlr: 0.003\n")
    asked = resolve(TrainSettings, {"model": "last_e_nano", "frames": 20}, file=file)
    assert (asked.lr, asked.frames, asked.steps) == (0.003, 20, small.steps)


def test_epochs_that_are_asked_for_replace_the_recipes_steps() -> None:
    settings = resolve(DistillSettings, {"variant": "nano", "recipe": "small", "epochs": 3})
    assert (settings.epochs, settings.steps) == (3, None)


def test_an_unknown_recipe_names_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"recipe 'smal' is unknown; did you mean 'small'"):
        resolve(TrainSettings, {"model": "last_e_nano", "recipe": "smal"})


def test_a_file_may_give_settings_to_one_kind_of_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "epochs: 4\nteacher_settings: {epochs: 9}\nstandalone_settings: {label_smoothing: 0.2}\n"
        "distilled_settings: {alpha: 0.3}\n"
    )
    teacher = resolve(TrainSettings, {"model": "last_v2_tiny"}, file=file)
    alone = resolve(TrainSettings, {"model": "last_e_nano"}, file=file)
    distilled = resolve(DistillSettings, {"variant": "nano"}, file=file)
    assert (teacher.epochs, teacher.label_smoothing) == (9, 0.1)
    assert (alone.epochs, alone.label_smoothing) == (4, 0.2)
    assert (distilled.epochs, distilled.loss.settings()["alpha"]) == (4, 0.3)
