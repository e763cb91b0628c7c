"""Single clips: from a store, from raw files, from arrays, and what can't be read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import untrained
from click.testing import CliRunner
from estimator_files import FLAT_WRITERS, SIZE, film, openpose
from one_set import as_pickle

import lastkd
from lastkd.cli.app import cli
from lastkd.data.open_source import open_source
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.prepare import prepare
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.skeleton_files import write_skeleton_files
from lastkd.errors import UserError
from lastkd.evaluation.checkpoint import evaluate_checkpoint


@pytest.fixture(scope="module")
def nano(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nano") / "a.safetensors"
    return untrained(path, store_path, "last_e_nano", seed=1, settings={"frames": 16})


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of `store_path`, as raw .skeleton files."""
    folder = tmp_path_factory.mktemp("raw") / "files"
    settings = SyntheticSettings(subjects=4, clips_per_subject_and_action=1)
    write_skeleton_files(open_source("synthetic", synthetic=settings), folder)
    return folder


def said(*words: object) -> str:
    result = CliRunner().invoke(cli, ["predict", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_raw_files_and_the_stores_clips_give_the_probabilities_of_the_evaluation(
    nano: Path, store_path: Path, raw: Path
) -> None:
    predictions = evaluate_checkpoint(nano, store_path).predictions
    names = predictions.names[:4] + predictions.names[-4:]
    expected = torch.from_numpy(predictions.logits).softmax(dim=1).numpy()
    expected = expected[[predictions.names.index(name) for name in names]]
    from_store = list(lastkd.predict_clips(nano, names, data=store_path))
    from_files = list(lastkd.predict_clips(nano, [raw / f"{name}.skeleton" for name in names]))
    for clips in (from_store, from_files):
        got = np.stack([clip.probabilities for clip in clips])
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert {clip.bodies for clip in from_files} == {1, 2}
    assert from_files[0].name == f"{names[0]}.skeleton"


def test_the_five_likeliest_with_their_probabilities(nano: Path, store_path: Path) -> None:
    store = ClipStore.open(store_path)
    (clip,) = lastkd.predict_clips(nano, [store.names[3]], data=store_path)
    top = clip.top()
    assert len(top) == 5
    assert [p for _, p in top] == sorted(clip.probabilities.tolist(), reverse=True)[:5]
    assert clip.class_names[clip.probabilities.argmax()] == top[0][0]

    words = nano, "--data", store_path, store.names[3], store.names[4]
    both = json.loads(said(*words, "--json"))
    assert [clip["name"] for clip in both] == list(store.names[3:5])
    assert [entry["class"] for entry in both[0]["top"]] == [name for name, _ in top]
    assert all(store.class_names[e["label"]] == e["class"] for e in both[0]["top"])
    text = said(*words, "--top", 2)
    assert text.count("%") == 4
    assert f"{100 * top[0][1]:.2f} %  {top[0][0]}" in text


def test_arrays_with_and_without_a_body_axis(nano: Path, store_path: Path, tmp_path: Path) -> None:
    store = ClipStore.open(store_path)
    joints = store.clip(0)[:, :1]
    np.save(tmp_path / "clip.npy", joints[:, 0].astype(np.float64))
    from_array, from_file = lastkd.predict_clips(nano, [joints, tmp_path / "clip.npy"])
    np.testing.assert_allclose(from_array.probabilities, from_file.probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nowhere.skeleton", None, "no such file"),
        ("broken.skeleton", b"3\n1\n", "fetch the file again"),
        ("empty.skeleton", b"1\n0\n", "holds no body"),
        (
            "clip.avi",
            b"",
            "an empty file; give an array or table of joints or whatever lastkd prepare",
        ),
        ("text.npy", b"no array", "can't be read as an array"),
        ("flat.npy", np.zeros((4, 25)), "has shape (4, 25), and layout ntu25 needs"),
        ("other.npy", np.ones((4, 22, 3)), "layout ntu25 needs (frames, bodies, 25, 3 or 4)"),
        ("nan.npy", np.full((4, 25, 3), np.nan), "holds no body in any frame"),
        ("inf.npy", np.full((4, 25, 3), np.inf), "not a finite number"),
        ("crowd.npy", np.ones((2, 33, 25, 3, 1)), "has shape (2, 33, 25, 3, 1)"),
        ("text.pkl", b"no pickle", "isn't a readable pickle"),
        ("nobody.npy", np.zeros((4, 25, 3)), "holds no body"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(
    nano: Path, tmp_path: Path, name: str, content: bytes | np.ndarray | None, words: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    result = CliRunner().invoke(cli, ["predict", str(nano), str(path)])
    assert isinstance(result.exception, UserError)
    assert words in str(result.exception) and name in str(result.exception)


def test_a_clip_that_the_store_does_not_have(nano: Path, store_path: Path) -> None:
    with pytest.raises(UserError, match="has no clip 'S001'"):
        list(lastkd.predict_clips(nano, ["S001"], data=store_path))


def test_a_stores_clip_is_taken_by_its_name_or_its_number(nano: Path, store_path: Path) -> None:
    names = ClipStore.open(store_path).names
    by_name, by_number = lastkd.predict_clips(nano, [names[3], "3"], data=store_path)
    assert by_name.name == by_number.name == names[3]
    with pytest.raises(UserError, match=f"has {len(names)} clips, and no number 9999"):
        list(lastkd.predict_clips(nano, ["9999"], data=store_path))


# ------------------------------------------------------------------------------ other forms


def probabilities(checkpoint: Path, clip: object, **options: object) -> np.ndarray:
    (prediction,) = lastkd.predict_clips(checkpoint, [clip], **options)  # type: ignore[list-item]
    return prediction.probabilities


@pytest.mark.parametrize("order", ["TMVC", "MTVC", "CTVM", "TVC", "CTV", "T*"])
def test_axes_are_told_apart_by_what_they_hold(nano: Path, store_path: Path, order: str) -> None:
    joints = ClipStore.open(store_path).clip(0)[:, :1]
    expected = probabilities(nano, joints)
    if order == "T*":
        array = joints.reshape(len(joints), -1)
    else:
        whole = joints if "M" in order else joints[:, 0]
        array = whole.transpose([("TMVC" if "M" in order else "TVC").index(a) for a in order])
    np.testing.assert_allclose(probabilities(nano, array), expected, atol=1e-6)


def test_33_bodies_in_2_frames_is_no_reading(nano: Path) -> None:
    two_bodies = np.random.default_rng(0).normal(size=(2, 33, 25, 3))
    (prediction,) = lastkd.predict_clips(nano, [two_bodies])
    assert (prediction.frames, prediction.bodies) == (33, 2)
    with pytest.raises(UserError, match="would be 50 bodies in 40 frames, which is no clip"):
        probabilities(nano, np.ones((40, 50, 25, 3)))
    either = r"bodies, frames, joints, channels\) or \(channels, frames, joints, bodies\)"
    with pytest.raises(UserError, match=either):
        probabilities(nano, np.ones((3, 40, 25, 3)))


@pytest.mark.parametrize("name", FLAT_WRITERS)
def test_every_estimators_clip_is_predicted_as_in_the_store(tmp_path: Path, name: str) -> None:
    write, V, layout, _ = FLAT_WRITERS[name]
    clips = [film(f"clip{at}", V, action=at % 2, seed=at) for at in range(3)]
    source = write(clips, tmp_path)
    table = tmp_path / "labels.csv"
    table.write_text("file,label,split\nclip0,0,train\nclip1,1,test\nclip2,0,test\n")
    store = prepare(
        open_source(str(source), labels=table, image_size=SIZE), tmp_path / "store"
    ).store
    assert store.layout.name == layout
    settings = {"frames": 16}
    model = untrained(tmp_path / "m.safetensors", store.path, "last_e_nano", settings=settings)
    stored = list(lastkd.predict_clips(model, store.names, data=store.path))
    fresh = list(lastkd.predict_clips(model, [source], image_size=SIZE))
    assert [one.name for one in fresh] == list(store.names)
    for one, other in zip(fresh, stored, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)


def test_x_and_y_alone_are_enough_in_a_flat_layout(tmp_path: Path) -> None:
    clip = film("a", 17)
    (tmp_path / "labels.csv").write_text("file,label\na,0\n")
    source = FLAT_WRITERS["MMPose, video"][0]([clip], tmp_path)
    store = prepare(open_source(str(source), labels=tmp_path / "labels.csv"), tmp_path / "s").store
    model = untrained(
        tmp_path / "m.safetensors", store.path, "last_e_nano", settings={"frames": 16}
    )
    with_ones = np.concatenate([clip.joints, np.ones((*clip.joints.shape[:3], 1))], axis=-1)
    for array in (clip.joints, clip.joints[:, 0], with_ones):
        np.testing.assert_allclose(
            probabilities(model, array), probabilities(model, with_ones), atol=1e-6
        )


def test_a_pickle_names_each_of_its_clips(nano: Path, raw: Path, tmp_path: Path) -> None:
    clips = list(open_source("synthetic", synthetic=SyntheticSettings(subjects=2)))[:3]
    path = as_pickle(clips, tmp_path)
    text = said(nano, path, "--top", 1)
    assert all(clip.name in text for clip in clips)
    with pytest.raises(UserError, match="holds several clips; predict_clips takes them all"):
        lastkd.Predictor(nano)(path)


def test_a_clip_of_another_skeleton_is_answered_by_what_the_model_needs(
    nano: Path, tmp_path: Path
) -> None:
    other = openpose([film("x", 18)], tmp_path)
    with pytest.raises(UserError, match=r"has 25 in 3; give clips of the model's skeleton$"):
        next(lastkd.predict_clips(nano, [other]))


def test_a_store_in_place_of_a_clip_is_answered_by_how_to_name_its_clips(
    nano: Path, store_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"is a prepared store; give --data {store_path} and its"):
        next(lastkd.predict_clips(nano, [store_path]))
