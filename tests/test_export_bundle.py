"""The folder for a board: complete, small, and at work where there is neither lastkd nor torch."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import untrained
from click.testing import CliRunner
from test_live_predictor import LITTLE

import lastkd
from lastkd.cli.app import cli
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.evaluation.calibration import Calibration, store_in_checkpoint
from lastkd.export.bundle import PROGRAM

onnxruntime = pytest.importorskip("onnxruntime")

CALIBRATION = Calibration(
    temperature=0.5, threshold=0.3, window_s=2.0, shortest_s=1.0, step_s=0.2, clips=32, ece=1.5,
    split="xsub",
)  # fmt: skip


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "a.safetensors"
    untrained(path, store_path, LITTLE, seed=1, settings={"frames": 16})
    store_in_checkpoint(path, CALIBRATION)
    return path


@pytest.fixture(scope="module")
def bundle(nano: Path, store_path: Path) -> Path:
    out = nano.parent / "board"
    words = ["export", str(nano), "--bundle", str(out), "--data", str(store_path)]
    text = CliRunner().invoke(cli, words, catch_exceptions=False).stdout
    assert f"python {out / 'predict.py'}" in text
    return out


def on_a_board(program: str, folder: Path) -> str:
    """What a program prints where numpy and ONNX Runtime are the only packages there are."""
    site = Path(np.__file__).parents[1]
    fence = textwrap.dedent(
        f"""
        import sys
        from importlib.machinery import PathFinder

        class Board:
            def find_spec(self, name, path=None, target=None):
                top = name.split(".")[0]
                if path is None and top in ("numpy", "onnxruntime"):
                    return PathFinder.find_spec(name, [{str(site)!r}])
                return None

        sys.meta_path.append(Board())
        for name in ("torch", "lastkd", "pydantic"):
            try:
                __import__(name)
            except ImportError:
                continue
            raise SystemExit(name + " is there")
        """
    )
    # -I -S: neither the environment nor site-packages add to the path
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", fence + textwrap.dedent(program)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_folder_holds_what_a_board_needs_and_nothing_else(
    bundle: Path, nano: Path, store_path: Path
) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [
        "README.md", "labels.json", "model.onnx", "predict.py", "sample.npy",
    ]  # fmt: skip
    labels = json.loads((bundle / "labels.json").read_text())
    store = ClipStore.open(store_path)
    assert labels["classes"] == list(store.class_names)
    assert labels["stream"]["window_s"] == 2.0 and labels["stream"]["threshold"] == 0.3
    readme = (bundle / "README.md").read_text()
    assert "`joints`, float32 `(frames, 1, 25, 3)`" in readme
    assert "`probabilities`, float32 `(1, 16)`" in readme
    session = onnxruntime.InferenceSession(bundle / "model.onnx")
    (clip,) = lastkd.predict_clips(nano, [store.names[0]], data=store_path)
    (probabilities,) = session.run(None, {"joints": store.clip(0)[:, :1]})
    np.testing.assert_allclose(probabilities[0], clip.probabilities, atol=1e-4)


def test_classes_without_names_are_numbered(store_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    untrained(path, store_path, LITTLE, settings={"frames": 16}, class_names=())
    store_in_checkpoint(path, CALIBRATION)
    words = ["export", str(path), "--bundle", str(tmp_path / "board")]
    CliRunner().invoke(cli, words, catch_exceptions=False)
    labels = json.loads((tmp_path / "board" / "labels.json").read_text())
    numbered = [f"class {label}" for label in range(ClipStore.open(store_path).num_classes)]
    assert labels["classes"] == numbered
    assert labels["sample"]["class"] in numbered


def test_its_program_fits_on_a_page() -> None:
    assert len(PROGRAM.read_text().splitlines()) < 120


def test_it_runs_without_lastkd_and_torch(bundle: Path) -> None:
    program = f"""
        import runpy

        sys.argv = ["predict.py"]
        runpy.run_path({str(bundle / "predict.py")!r}, run_name="__main__")
    """
    text = on_a_board(program, bundle)
    sample = json.loads((bundle / "labels.json").read_text())["sample"]
    first = text.splitlines()[0]
    assert first == f"{100 * sample['probability']:6.2f} %  {sample['class']}"
    assert len(text.splitlines()) == 5


def test_its_stream_answers_as_the_stream_predictor_does(bundle: Path, nano: Path) -> None:
    program = """
        import json
        import numpy as np

        sys.path.insert(0, ".")
        from predict import Recogniser

        recogniser, clip = Recogniser("."), np.load("sample.npy")
        answers = [(n / 30, recogniser.push(pose, n / 30)) for n, pose in enumerate(clip)]
        print(json.dumps([(time, *answer) for time, answer in answers if answer]))
    """
    answers = json.loads(on_a_board(program, bundle))
    assert len(answers) >= 3
    stream = lastkd.StreamPredictor(nano, bodies="given", smoothing=0, step=0)
    expected = {}
    for number, pose in enumerate(np.load(bundle / "sample.npy")):
        found = stream.push(pose, number / 30)
        if found is not None:
            expected[number / 30] = found
    time, action, probability = answers[0]
    assert probability == pytest.approx(expected[time].probability, abs=1e-4)
    assert action == expected[time].action


def test_rests_are_nothing_and_begin_a_new_window_on_both(nano: Path, tmp_path: Path) -> None:
    """Frame by frame the same answers, where somebody moves, rests and moves again."""
    model = tmp_path / "a.safetensors"
    model.write_bytes(nano.read_bytes())
    known = replace(CALIBRATION, threshold=0.05, stillness=0.15, window_s=1.2, shortest_s=0.6)
    store_in_checkpoint(model, known)
    draws = np.random.default_rng(0)
    steps = draws.normal(0, 0.03, (240, 1, 25, 3)).astype(np.float32)
    steps[80:160] = 0
    joints = draws.normal(0, 0.4, (1, 1, 25, 3)).astype(np.float32) + steps.cumsum(axis=0)
    np.save(tmp_path / "stream.npy", joints)
    words = ["export", str(model), "--bundle", str(tmp_path / "board")]
    CliRunner().invoke(cli, words, catch_exceptions=False)
    program = f"""
        import json
        import numpy as np

        sys.path.insert(0, ".")
        from predict import Recogniser

        recogniser, stream = Recogniser("."), np.load({str(tmp_path / "stream.npy")!r})
        recogniser.stream["step_s"] = 0
        answers = [recogniser.push(pose, n / 30) for n, pose in enumerate(stream)]
        print(json.dumps(answers))
    """
    answers = json.loads(on_a_board(program, tmp_path / "board"))
    predictor = lastkd.StreamPredictor(model, bodies="given", step=0)
    compared = 0
    for number, (pose, given) in enumerate(zip(joints, answers, strict=True)):
        expected = predictor.push(pose, number / 30)
        if given is None or expected is None:
            continue
        assert given[0] == expected.action, number
        assert given[1] == pytest.approx(expected.probability, abs=1e-3), number
        compared += 1
    assert compared > 200
    assert {answer[0] for answer in answers[100:155]} == {"nothing"}
    assert "nothing" not in {answer[0] for answer in answers[200:]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "pt2"), "leave --format and --out"),
        (("--out", "a.onnx"), "leave --format and --out"),
        ((), "isn't calibrated; name its store with --data"),
    ],
)
def test_a_mistake_is_one_sentence(
    store_path: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    plain = untrained(tmp_path / "a.safetensors", store_path, LITTLE, settings={"frames": 16})
    out = tmp_path / "board"
    result = CliRunner().invoke(cli, ["export", str(plain), "--bundle", str(out), *words])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert not out.exists()


def test_an_existing_folder_is_left_alone(nano: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["export", str(nano), "--bundle", str(tmp_path)])
    assert isinstance(result.exception, UserError)
    assert "exists already" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
