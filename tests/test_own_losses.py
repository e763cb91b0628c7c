"""A loss of one's own, in one file: distilling, sweeps, events, monitor and report know it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import lastkd
from lastkd import distill
from lastkd.cli.app import cli
from lastkd.errors import UserError
from lastkd.losses import load_loss
from lastkd.monitor.log.run import Run as WatchedRun
from lastkd.runs.events import read_events
from lastkd.runs.log import Run
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings

MODULE = '''
import torch
from pydantic import Field

from lastkd.losses import Loss


class LogitMSE(Loss):
    """Mean squared error of the logits."""

    title = "MSE"

    strength: float = Field(1.0, gt=0, description="weight of the squared error")
    centred: bool = Field(False, description="compare logits around their mean")
    by_class: list[float] | None = Field(None, description="weights of the classes")

    def weights(self):
        return 1.0, self.strength

    def soft_term(self, student, teacher, labels):
        if self.centred:
            student, teacher = (x - x.mean(dim=1, keepdim=True) for x in (student, teacher))
        return (student - teacher).square().mean()


class PerClip(LogitMSE):
    def soft_term(self, student, teacher, labels):
        return (student - teacher).square().mean(dim=1)


class WithoutTerm(Loss):
    def weights(self):
        return 1.0, 1.0


class TakenName(LogitMSE):
    epochs: int = 3


class Needy(LogitMSE):
    margin: float


class NoLoss:
    pass
'''
MSE = "my_losses:LogitMSE"
QUICK = ["--epochs", "1", "--frames", "8", "--batch-size", "8", "--warmup-epochs", "0"]
QUICK += ["--log-every", "1"]


@pytest.fixture(autouse=True)
def module(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("module")
    (folder / "my_losses.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("my_losses", None)


def distilled(*words: object) -> Result:
    return CliRunner().invoke(distill.command(), list(map(str, words)))


def test_it_distils_and_events_monitor_and_report_know_it(
    tmp_path: Path, store_path: Path, teacher: Path
) -> None:
    run = tmp_path / "runs" / "mse"
    words = ["--variant", "nano", "--data", store_path, "--teacher", teacher, "--run", run]
    result = distilled(*words, "--loss", MSE, "--strength", 2, "--centred", *QUICK)
    assert result.exception is None, result.output
    assert f"loss {MSE}, strength 2, centred True, tau 1" in result.output

    start, *events = read_events(run / "events.jsonl")
    assert start["loss"] == {
        "name": MSE,
        "title": "MSE",
        "hard_weight": 1.0,
        "soft_weight": 2.0,
        "settings": {
            "strength": 2.0,
            "centred": True,
            "by_class": None,
            "tau": 1.0,
            "soft_warmup": 0.0,
        },
    }
    steps = [event for event in events if event["event"] == "step"]
    for step in steps:
        assert step["soft_weight"] == 2
        assert step["total"] == pytest.approx(step["ce"] + 2 * step["soft"], rel=1e-5)

    watched = WatchedRun(run, run / "events.jsonl")
    watched.poll()
    assert (watched.soft_title, watched.weights()) == ("MSE", (1.0, 2.0))
    share = sum(2 * step["soft"] for step in steps) / sum(step["total"] for step in steps)
    assert watched.soft_share() == pytest.approx(share)

    report = CliRunner().invoke(
        cli, ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report"), "--no-figures"]
    )
    assert report.exception is None, report.output
    method = f"{MSE}, strength 2, centred True, tau 1"
    assert Run.read(run).method == method
    assert f"| {method} |" in (tmp_path / "report" / "07_Experiments.md").read_text()

    # its settings file names the loss, and starts the same run again
    again = distilled("--config", run / "settings.yaml", "--run", run, "--data", store_path)
    assert again.exception is None, again.output
    assert "the run is finished" in again.output

    # and its checkpoint needs nothing of it
    del sys.modules["my_losses"]
    lastkd.load_model(run / "best.safetensors")
    assert "my_losses" not in sys.modules


def test_a_sweep_varies_each_of_its_numbers(
    tmp_path: Path, store_path: Path, teacher: Path
) -> None:
    words = ["sweep", "--variant", "nano", "--data", store_path, "--teacher", teacher]
    words += ["--run", tmp_path / "grid", "--loss", MSE, "--strength", "0.5,2", "--centred", *QUICK]
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exception is None, result.output
    saved = json.loads((tmp_path / "grid" / "sweep.json").read_text())
    assert saved["loss"] == MSE
    assert [point["strength"] for point in saved["points"]] == [0.5, 2.0]
    for name in ("nano_strength0.5", "nano_strength2"):
        assert Run.read(tmp_path / "grid" / name).finished


def test_its_settings_are_options_in_the_help_and_in_a_file(tmp_path: Path) -> None:
    text = distilled("--loss", MSE, "--help").output
    assert f"{MSE}: weight of the squared error" in " ".join(text.split())
    assert "--centred / --no-centred" in text
    assert "--by-class" not in text  # a list can be given in a file alone
    assert "--strength" not in distilled("--help").output
    (tmp_path / "mine.yaml").write_text(
        f"loss: {MSE}\nstrength: 3\nby_class: [1, 2]\nvariant: nano\n"
    )
    settings = resolve(DistillSettings, {}, file=tmp_path / "mine.yaml")
    assert settings.loss.weights() == (1.0, 3.0)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--loss", "dkkd"), "loss 'dkkd' is unknown; did you mean 'dkd'?"),
        (("--loss", "no_such:Loss"), "there is no module 'no_such'"),
        (("--loss", "my_losses:Lost"), "has no class 'Lost'"),
        (("--loss", "my_losses:NoLoss"), "isn't a loss; derive a class from lastkd.losses.Loss"),
        (("--loss", "my_losses:torch"), "isn't a loss"),
        (("--loss", "my_losses:WithoutTerm"), "doesn't define soft_term"),
        (("--loss", "my_losses:TakenName"), "its setting 'epochs' has the name of a setting"),
        (("--loss", "my_losses:Needy"), "needs a value for margin"),
        (("--loss", MSE, "--alpha", "0.5"), f"alpha = 0.5 is no setting of the loss {MSE}"),
        (("--loss", MSE, "--strength", "-1"), "strength = -1.0: input should be greater than 0"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    error = distilled("--variant", "nano", *words).exception
    assert isinstance(error, UserError), error
    assert hint in str(error)
    assert "\n" not in str(error)
    assert list(tmp_path.iterdir()) == []


def test_the_documented_class_is_one(monkeypatch: pytest.MonkeyPatch, module: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "losses.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(# mylosses.py.*?)```", text, re.DOTALL)
    (module / "mylosses.py").write_text(block)
    loss = load_loss("mylosses:LogitMSE")(strength=0.5)
    student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    parts = loss(student, teacher, torch.tensor([0]))
    assert parts.soft == 2
    torch.testing.assert_close(parts.total, parts.ce + 1)


def test_a_term_that_is_no_scalar_is_named(tmp_path: Path, store_path: Path, teacher: Path) -> None:
    words = ["--variant", "nano", "--data", store_path, "--teacher", teacher]
    words += ["--run", tmp_path / "run", "--loss", "my_losses:PerClip", *QUICK]
    error = distilled(*words).exception
    assert isinstance(error, UserError)
    assert "my_losses:PerClip: soft_term returned a tensor of shape (" in str(error)
