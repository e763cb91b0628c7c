"""The code block of docs/python.md, run as it is on a small set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import lastkd as command
from stopping import stopped_after

import lastkd
from lastkd.data import open_source
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.errors import UserError
from lastkd.models.checkpoint import read_checkpoint
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve

DOC = Path(__file__).resolve().parent.parent / "docs" / "python.md"


def test_the_documented_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert block.count("\n") <= 12
    monkeypatch.chdir(tmp_path)
    # the same lines on fewer clips and epochs
    small = SyntheticSettings(subjects=4, clips_per_subject_and_action=1)
    whole = open_source.open_source
    monkeypatch.setattr(
        "lastkd.data.store.prepare.open_source",
        lambda source, *, synthetic, **options: whole(source, synthetic=small),
    )
    monkeypatch.setattr(
        "lastkd.pipeline.request.resolve",
        lambda kind, given, **more: resolve(kind, given | {"epochs": 1, "frames": 8}, **more),
    )
    exec(compile(block, str(DOC), "exec"), {})
    said = capsys.readouterr().out
    assert re.search(r"top-1 \d+\.\d % of 32 clips", said)
    assert said.count("[('") == 3
    assert (tmp_path / "runs" / "nano" / "best.safetensors").exists()
    assert (tmp_path / "runs" / "last_v2_tiny" / "last.safetensors").exists()


def test_several_students_share_a_call_and_one_alone_gives_its_checkpoint(
    tmp_path: Path, store_path: Path, teacher: Path
) -> None:
    quick = {"data": store_path, "teacher": teacher, "epochs": 1, "frames": 8, "batch_size": 8}
    best = lastkd.distill_model(["small", "nano"], run=tmp_path / "both", **quick)
    assert best == {
        variant: tmp_path / "both" / variant / "best.safetensors" for variant in ("nano", "small")
    }
    one = lastkd.distill_model("nano", run=tmp_path / "one", **quick)
    assert one == tmp_path / "one" / "best.safetensors"
    (tmp_path / "mine.yaml").write_text("variant: [nano]\n")
    assert lastkd.distill_model(config=tmp_path / "mine.yaml", run=tmp_path / "one", **quick) == one
    first, second = (read_checkpoint(path).weights_hash for path in (best["nano"], one))
    assert first == second


def test_a_set_of_ones_own_is_prepared_as_by_the_command(tmp_path: Path) -> None:
    for name in ("nod/a", "wave/b"):
        path = tmp_path / "set" / f"{name}.npy"
        path.parent.mkdir(parents=True)
        np.save(path, np.random.default_rng(0).uniform(0.1, 0.9, (20, 17, 2)))
    given = ("--layout", "coco17", "--image-size", "640x480", "--up", "y")
    done = command("prepare", tmp_path / "set", "--out", tmp_path / "command", *given)
    assert done.exit_code == 0, done.output
    store = lastkd.prepare_store(
        tmp_path / "set", tmp_path / "call", layout="coco17", image_size=(640, 480), up="y"
    )
    assert store.content_hash == ClipStore.open(tmp_path / "command").content_hash


def test_every_public_name_can_be_imported() -> None:
    for name in lastkd.__all__:
        assert getattr(lastkd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'distil_model'"):
        lastkd.distil_model  # noqa: B018


def test_standalone_models_share_a_call_and_end_as_they_would_alone(
    tmp_path: Path, store_path: Path
) -> None:
    quick = {"data": store_path, "epochs": 2, "frames": 8, "batch_size": 8}
    names = ("nano", "last_e_small", "last_v2_tiny")
    alone = {
        name: lastkd.train_model(name, run=tmp_path / "alone" / name, **quick) for name in names
    }
    together = lastkd.train_model(list(names), run=tmp_path / "together", **quick)
    assert together == {n: tmp_path / "together" / n / "best.safetensors" for n in names}
    for name in names:
        for file in ("best.safetensors", "last.safetensors"):
            hashes = [
                read_checkpoint(path.parent / file).weights_hash
                for path in (alone[name], together[name])
            ]
            assert len(set(hashes)) == 1
        log = read_events(tmp_path / "together" / name / "events.jsonl")
        assert next(log)["settings"]["run"] == str(tmp_path / "together" / name)


def test_standalone_runs_begun_one_by_one_are_finished_by_one_call(
    tmp_path: Path, store_path: Path
) -> None:
    quick = {"data": store_path, "epochs": 2, "frames": 8, "batch_size": 8}
    lastkd.train_model("nano,small,base", run=tmp_path / "whole", **quick)
    runs = tmp_path / "runs"
    lastkd.train_model("nano", run=runs / "nano", **quick)
    with stopped_after(6):  # in the second epoch
        lastkd.train_model("small", run=runs / "small", **quick)
    finished = (runs / "nano" / "events.jsonl").read_bytes()
    lastkd.train_model("nano,small,base", run=runs, **quick)
    assert (runs / "nano" / "events.jsonl").read_bytes() == finished
    kinds = [event["event"] for event in read_events(runs / "small" / "events.jsonl")]
    assert (kinds.count("start"), kinds.count("resume")) == (1, 1)
    for name in ("nano", "small", "base"):
        ends = [
            read_checkpoint(above / name / "last.safetensors").weights_hash
            for above in (runs, tmp_path / "whole")
        ]
        assert len(set(ends)) == 1


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"model": "own_models:net,other:net"}, "both would write to"),
        ({"model": "nano,last_e_nan"}, "last_e_nan"),
    ],
)
def test_models_that_cannot_train_together_are_refused(
    tmp_path: Path, store_path: Path, given: dict[str, str], hint: str
) -> None:
    with pytest.raises(UserError, match=hint):
        lastkd.train_model(data=store_path, run=tmp_path / "runs", **given)
    assert not list(tmp_path.rglob("events.jsonl"))
