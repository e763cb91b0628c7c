"""The code block of docs/python.md, run as it is on a small set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lastkd
from lastkd.data import open_source
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.models.checkpoint import read_checkpoint
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
        lambda source, layout, synthetic: whole(source, synthetic=small),
    )
    for module in ("lastkd.train", "lastkd.pipeline.request"):
        monkeypatch.setattr(
            f"{module}.resolve",
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


def test_every_public_name_can_be_imported() -> None:
    for name in lastkd.__all__:
        assert getattr(lastkd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'distil_model'"):
        lastkd.distil_model  # noqa: B018
