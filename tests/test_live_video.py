"""Films and cameras as sources; a pose estimator's own answers need its packages and a model."""

from __future__ import annotations

import importlib.util
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import shared
from test_live_predictor import Recorder

from lastkd.cli.app import cli
from lastkd.errors import UserError


@pytest.mark.parametrize("words", [("--camera", "0"), ("--video", "film.mp4")])
def test_without_its_packages_the_way_out_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "lastkd.live.video", raising=False)
    monkeypatch.setattr("lastkd.live.open_model.open_classifier", lambda path, factory: Recorder())
    result = CliRunner().invoke(cli, ["live", "nano.onnx", *words, "--json"])
    assert isinstance(result.exception, UserError)
    assert "pip install 'lastkd[video]'" in str(result.exception)


needs_packages = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="needs lastkd[video]"
)


@needs_packages
def test_a_missing_film_or_model_or_another_skeleton_is_one_sentence(tmp_path: Path) -> None:
    from lastkd.live.video import open_video

    facts = Recorder(joints=33).facts
    model = tmp_path / "pose.task"
    for pose_model, words in ((None, "fetch pose_landmarker_full.task"), (model, "no such film")):
        model.write_bytes(b"no model")
        with pytest.raises(UserError, match=words):
            open_video(tmp_path / "film.mp4", None, pose_model, facts)
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(UserError, match="isn't MediaPipe's pose landmarker"):
        open_video(tmp_path / "film.mp4", None, model, facts)
    with pytest.raises(UserError, match=r"knows 25 joints .* train it on a set of layout"):
        open_video(tmp_path / "film.mp4", None, model, Recorder(joints=25).facts)


@needs_packages
def test_a_person_in_a_film_has_33_joints_in_metres_with_y_up() -> None:
    from lastkd.live.video import open_video

    model, film = shared("video", "pose_landmarker.task"), shared("video", "person.mp4")
    facts = replace(Recorder(joints=33).facts, dimensions=3)
    frames = list(open_video(film, None, model, facts).frames(threading.Event()))
    seen = [f.joints[0] for f in frames if f is not None and f.joints is not None]
    assert len(seen) > len(frames) / 2
    assert 0.5 < np.median([np.ptp(joints[:, 1]) for joints in seen]) < 2.5
    nose, hip = 0, 23
    assert np.median([joints[nose, 1] - joints[hip, 1] for joints in seen]) > 0
