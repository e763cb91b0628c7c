"""Films and cameras as sources; a pose estimator's own answers need its packages and a model."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
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


POSE_MODEL = "LASTKD_POSE_MODEL"
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


def film_of_a_person(folder: Path) -> Path:
    """Three seconds of a portrait that sways, from scikit-image's data."""
    cv2, data = pytest.importorskip("cv2"), pytest.importorskip("skimage.data")
    picture, size = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), (640, 640)
    path = folder / "person.mp4"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, size)
    for frame in range(75):
        turned = cv2.getRotationMatrix2D((256, 256), 4 * np.sin(frame / 10), 1.1)
        turned[:, 2] += 64 + 20 * np.sin(frame / 8), 40
        film.write(cv2.warpAffine(picture, turned, size))
    film.release()
    return path


@needs_packages
@pytest.mark.skipif(
    POSE_MODEL not in os.environ, reason=f"needs a pose_landmarker.task, named by {POSE_MODEL}"
)
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_person_in_a_film_has_33_joints(tmp_path: Path, dimensions: int) -> None:
    from lastkd.live.video import open_video

    film, model = film_of_a_person(tmp_path), Path(os.environ[POSE_MODEL])
    facts = replace(Recorder(joints=33).facts, dimensions=dimensions)
    frames = list(open_video(film, None, model, facts).frames(threading.Event()))
    assert len(frames) == 75
    seen = [f.joints[0] for f in frames if f is not None and f.joints is not None]
    assert len(seen) > 70
    joints = np.median(seen, axis=0)
    assert joints.shape == (33, dimensions)
    nose, left_shoulder, right_shoulder, hip = joints[[0, 11, 12, 23]]
    if dimensions == 2:  # pixels, y downwards; she looks at the camera
        assert np.all((joints[:13] > 0) & (joints[:13] < 640))
        assert nose[1] < left_shoulder[1] < hip[1]
        assert left_shoulder[0] > right_shoulder[0]
    else:  # metres, y up
        assert 0.4 < nose[1] - hip[1] < 0.8
        assert 0.2 < np.linalg.norm(left_shoulder - right_shoulder) < 0.5
