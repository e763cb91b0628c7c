"""`lastkd evaluate`: several views, accuracy by class, prediction files, two models compared."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import untrained
from click.testing import CliRunner

import lastkd
from lastkd.cli.app import cli
from lastkd.cli.evaluate import file_names
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Views
from lastkd.errors import UserError
from lastkd.evaluation.accuracy import Accuracy
from lastkd.evaluation.checkpoint import evaluate_checkpoint
from lastkd.evaluation.statistics import compare, paired_interval
from lastkd.runs.predictions import Predictions
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nano") / "a.safetensors"
    return untrained(path, store_path, "last_e_nano", seed=1, settings={"frames": 16})


@pytest.fixture(scope="module")
def other(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("other") / "b.safetensors"
    # trained in another precision and on other views: each checkpoint is measured as it was trained
    settings = {"frames": 12, "mixed_precision": "bf16", "test_crop": 0.9}
    return untrained(path, store_path, "last_e_nano", seed=2, settings=settings)


def evaluate(*words: object) -> Any:
    result = CliRunner().invoke(cli, ["evaluate", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout) if "--json" in words else result.stdout


def test_ten_views_are_the_mean_of_their_probabilities(nano: Path, store_path: Path) -> None:
    store = ClipStore.open(store_path)
    _, clips = store.split("xsub")
    settings = resolve(TrainSettings, {"model": "last_e_nano", "frames": 16})
    views, model = Views(store, settings, torch.device("cpu")), lastkd.load_model(nano)
    few = evaluate_checkpoint(nano, store_path, views_per_clip=3)
    one = evaluate_checkpoint(nano, store_path)
    with torch.no_grad():
        centre = model(views.evaluation(clips)).softmax(dim=1)
    np.testing.assert_allclose(
        torch.from_numpy(one.predictions.logits).softmax(1), centre, atol=1e-5
    )
    # three views, the centre one among them: the mean of the others is what is left
    others = (3 * np.exp(few.predictions.logits) - centre.numpy()) / 2
    np.testing.assert_allclose(others.sum(axis=1), 1, atol=1e-4)
    assert np.abs(others - centre.numpy()).max() > 1e-5
    again = evaluate_checkpoint(nano, store_path, views_per_clip=3)
    np.testing.assert_array_equal(few.predictions.logits, again.predictions.logits)


def test_every_output_says_how_many_views(nano: Path, store_path: Path) -> None:
    assert "32 test clips, one view each" in evaluate(nano, "--data", store_path)
    text = evaluate(nano, "--data", store_path, "--clips", 2, "--against", nano)
    assert text.count("2 views each, their probabilities averaged") == 2
    said = evaluate(nano, "--data", store_path, "--clips", 2, "--json")
    assert said["views_per_clip"] == 2


def test_classes_each_have_their_accuracy(nano: Path, store_path: Path) -> None:
    said = evaluate(nano, "--data", store_path, "--json")
    store = ClipStore.open(store_path)
    assert tuple(said["by_class"]) == store.class_names
    assert np.mean(list(said["by_class"].values())) == pytest.approx(said["mean_class"], abs=1e-3)
    text = evaluate(nano, "--data", store_path, "--by-class")
    assert all(name in text for name in store.class_names)
    assert "% of 2" in text


def test_accuracy_by_hand() -> None:
    logits = torch.eye(7)[[0, 1, 1, 6]] + torch.arange(7) * -0.01
    accuracy = Accuracy.of(logits, np.array([0, 1, 2, 5]))
    assert (accuracy.top1, accuracy.top5) == (50, 75)  # class 5 is the sixth likeliest of the last
    assert accuracy.confusion[2, 1] == 1


def test_predictions_go_to_a_file_and_come_back(
    nano: Path, store_path: Path, tmp_path: Path
) -> None:
    npz, table = tmp_path / "p.npz", tmp_path / "p.csv"
    said = evaluate(nano, "--data", store_path, "--json", "--predictions", npz)
    loaded = Predictions.load(npz)
    store = ClipStore.open(store_path)
    assert loaded.names == tuple(store.names[i] for i in store.split("xsub")[1])
    assert loaded.logits.shape == (32, 16)
    assert 100 * loaded.right.mean() == pytest.approx(said["top1"], abs=1e-3)
    assert loaded.about["weights_hash"] == said["weights_hash"]

    evaluate(nano, "--data", store_path, "--predictions", table)
    with table.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header[:3] == ["name", "label", "predicted"]
    assert tuple(header[3:]) == store.class_names
    np.testing.assert_allclose([[float(v) for v in r[3:]] for r in rows], loaded.logits, rtol=1e-4)
    assert [int(row[2]) for row in rows] == loaded.predicted.tolist()


@pytest.mark.parametrize("name", ["p.npz", "p.txt"])
def test_predictions_never_overwrite_and_have_a_known_form(
    nano: Path, store_path: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    words = ["evaluate", str(nano), "--data", str(store_path), "--predictions"]
    result = CliRunner().invoke(cli, [*words, str(tmp_path / name)])
    assert isinstance(result.exception, UserError)
    assert (tmp_path / name).read_text() == "mine"
    with pytest.raises(UserError, match="contains no predictions"):
        Predictions.load(tmp_path / name)


def test_several_checkpoints_each_have_a_file(
    nano: Path, other: Path, store_path: Path, tmp_path: Path
) -> None:
    words = (nano, other, "--data", store_path, "--json", "--out", tmp_path / "out")
    kept = [path.parent / "predictions.npz" for path in (nano, other)]
    try:
        listed = evaluate(*words, "--keep")
        for file, said in zip(kept, listed, strict=True):
            assert Predictions.load(file).about["weights_hash"] == said["weights_hash"]
        with pytest.raises(UserError, match="exists already"):
            evaluate(*words, "--keep")
    finally:
        for file in kept:
            file.unlink(missing_ok=True)
    assert [one["checkpoint"] for one in listed] == [str(nano), str(other)]
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == sorted(f"{path.parent.name}.json" for path in (nano, other))
    assert json.loads((tmp_path / "out" / f"{nano.parent.name}.json").read_text()) == listed[0]
    with pytest.raises(UserError, match="is the file of a single checkpoint"):
        evaluate(*words, "--predictions", tmp_path / "p.npz")
    with pytest.raises(UserError, match="two of the checkpoints"):
        evaluate(nano, nano.with_name("c.safetensors"), "--data", store_path, "--keep")


def test_files_are_named_as_far_up_as_runs_differ() -> None:
    paths = [Path("runs/seed-0", kind, "nano", "last.safetensors") for kind in ("alone", "taught")]
    assert file_names(paths) == ["alone-nano", "taught-nano"]
    assert file_names(paths[:1]) == ["nano"]
    both = [Path("runs/nano/best.safetensors"), Path("runs/nano/last.safetensors")]
    assert file_names(both) == ["nano-best", "nano-last"]


def test_two_checkpoints_are_compared_on_the_same_clips(
    nano: Path, other: Path, store_path: Path
) -> None:
    compared = evaluate(nano, "--data", store_path, "--json", "--against", other)["against"]
    first, second = (evaluate_checkpoint(p, store_path) for p in (nano, other))
    gain = first.accuracy.top1 - second.accuracy.top1
    assert compared["gain"] == pytest.approx(gain, abs=1e-3)
    assert compared["low"] < compared["gain"] < compared["high"]
    assert compared["only_model"] - compared["only_reference"] == pytest.approx(gain * 0.32)
    itself = evaluate(nano, "--data", store_path, "--json", "--against", nano)["against"]
    assert (itself["gain"], itself["p_value"]) == (0, 1)
    assert "McNemar" in evaluate(nano, "--data", store_path, "--against", other)


# --- statistics ---------------------------------------------------------------------------------


def rights(both: int, first: int, second: int, neither: int) -> list[np.ndarray]:
    a = [True] * (both + first) + [False] * (second + neither)
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return [np.array(a), np.array(b)]


def test_the_comparison_of_a_known_table() -> None:
    """Approval ratings asked twice (Agresti, Categorical Data Analysis): 794, 150, 86, 570."""
    compared = compare(*rights(794, 150, 86, 570))
    assert compared.gain == pytest.approx(4.0)
    assert (compared.low, compared.high) == pytest.approx((2.1, 5.9), abs=0.05)
    tail = sum(math.comb(236, k) for k in range(87)) / 2**236
    assert compared.p_value == pytest.approx(2 * tail, rel=1e-6)
    assert compared.p_value == pytest.approx(3.7e-5, rel=0.1)


def test_the_interval_holds_its_level_where_few_clips_differ() -> None:
    """Of repeated draws of 60 clips with a true gain of 3 points, about 95 % cover it."""
    draws = np.random.default_rng(0).multinomial(60, [0.05, 0.02, 0.93], size=4000)
    covered = [
        low <= 0.03 <= high for low, high in (paired_interval(b, c, 60) for b, c, _ in draws)
    ]
    assert 0.93 <= np.mean(covered) <= 0.99


def test_models_that_agree_on_all_clips_have_no_gain_and_an_interval_around_it() -> None:
    compared = compare(*rights(50, 0, 0, 50))
    assert (compared.gain, compared.p_value) == (0, 1)
    assert compared.low < 0 < compared.high
    with pytest.raises(ValueError, match="same clips"):
        compare(np.ones(3, bool), np.ones(4, bool))
