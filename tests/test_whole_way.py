"""From what a pose estimator wrote to a prediction of an exported student: every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from estimator_files import FLAT_WRITERS, SIZE, film, mediapipe_npy, mediapipe_world
from made_up_sets import annotations, in_layout, lastkd, synthetic_clips, write_pickle

import lastkd as library
from lastkd.data.store.clip_store import ClipStore

LAYOUTS = {name: layout for name, (_, _, layout, _) in FLAT_WRITERS.items()} | {
    "MediaPipe, world": "mediapipe33",
    "MediaPipe, npy": "mediapipe33",
    "pyskl, kinect20": "kinect20",
    "NW-UCLA": "ucla20",
}
"""Of the store that each format becomes."""
EXPORTED = ("OpenPose, BODY_25", "pyskl, kinect20")
"""A flat and a 3-D format whose way goes by a teacher to ONNX and figures, which take longer than
all else; after preparing, the others differ from them in the clips and the layout's constants."""
SHORT: dict[str, Any] = {
    "epochs": 1, "frames": 8, "batch_size": 4, "warmup_epochs": 0, "lr": 0.01
}  # fmt: skip


def source_of(name: str, folder: Path) -> tuple[Path, list[object], Path]:
    """What to prepare, with which options, and a new clip to predict."""
    folder.mkdir()
    if name == "pyskl, kinect20":
        clips = annotations(synthetic_clips(2))
        new = write_pickle(folder / "new.pkl", clips[:1])
        options = ["--layout", "kinect20", "--split-by", "performer"]
        return write_pickle(folder / "set.pkl", clips), options, new
    if name == "NW-UCLA":
        from test_formats_json import ucla_folder

        single = [clip for clip in synthetic_clips(3) if in_layout(clip, "ucla20").shape[1] == 1]
        whole = ucla_folder(folder, single)
        return whole, [], next((whole / "all_sqe").iterdir())
    writers = {"MediaPipe, world": mediapipe_world, "MediaPipe, npy": mediapipe_npy}
    write, V = (writers[name], 33) if name in writers else FLAT_WRITERS[name][:2]
    clips = [film(f"c{at}", V, action=at % 2, seed=at) for at in range(8)]
    lines = [f"c{at},{('slow', 'fast')[at % 2]},{'test' if at > 5 else 'train'}" for at in range(8)]
    (folder / "labels.csv").write_text("\n".join(["file,label,split", *lines]))
    options = ["--labels", folder / "labels.csv", "--image-size", "1280x720"]
    fresh = write([film("new", V, action=1, seed=9)], folder / "new")
    return write(clips, folder), options, fresh


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_format_goes_the_whole_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    source, options, new = source_of(name, tmp_path / "files")
    for command in (
        ["prepare", source, "--out", "store", *options],
        ["info", "store"],
        ["show", "store", "0", "--out", "clip.png"],
    ):
        done = lastkd(*command)
        assert done.exit_code == 0, done.exception
    assert ClipStore.open(Path("store")).layout.name == LAYOUTS[name]
    whole = name in EXPORTED
    student = distilled() if whole else trained("last_e_nano", "runs/alone")
    predict = ["predict", student, new, "--image-size", "1280x720"]
    reported = ["report", "runs", "--out", "report"]
    exported = ["export", student, "--data", "store", "--format", "onnx"]
    for command in (reported, exported, predict) if whole else (predict,):
        done = lastkd(*command)
        assert done.exit_code == 0, (command, done.exception)
    (prediction,) = library.predict_clips(student, [new], image_size=SIZE)
    assert np.isclose(prediction.probabilities.sum(), 1, atol=1e-5)


def trained(model: str, run: str) -> Path:
    checkpoint = library.train_model(model, data="store", run=run, **SHORT)
    assert isinstance(checkpoint, Path)
    return checkpoint


def distilled() -> Path:
    """A student beside its standalone run, as a report wants them."""
    teacher = trained("last_v2_tiny", "runs/teacher")
    trained("last_e_nano", "runs/alone")
    student = library.distill_model("nano", data="store", teacher=teacher, run="runs/nano", **SHORT)
    assert isinstance(student, Path)
    return student
