"""Joints of one's own: a folder of arrays or tables, a clip each, in the forms that people keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import lastkd

from lastkd.data.clip_input import clips_of_path
from lastkd.data.formats.base import Source
from lastkd.data.layouts import get_layout
from lastkd.data.open_source import format_of, open_source
from lastkd.errors import UserError

Write = Callable[[Path, np.ndarray], None]
KINECT = get_layout("kinect20")
T, V = 30, 20


def walk(seed: int, bodies: int = 1) -> np.ndarray:
    """Joints `(T, M, V, 3)` in metres of people who sway, none of them unseen."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-1, 1, (bodies, V, 3)) + 1.5 * np.arange(bodies)[:, None, None]
    sway = (
        0.2 * np.sin(np.arange(T) / 5)[:, None, None, None] / (1 + np.arange(bodies))[:, None, None]
    )
    return np.asarray(body + sway, np.float32)


def write_npy(order: str, dtype: type = np.float32) -> Write:
    def write(file: Path, joints: np.ndarray) -> None:
        axes = order if "M" in order else order + "M"
        array = joints.transpose(["TMVC".index(axis) for axis in axes]).astype(dtype)
        np.save(file.with_suffix(".npy"), array if "M" in order else array[..., 0])

    return write


def write_flat(file: Path, joints: np.ndarray) -> None:
    np.save(file.with_suffix(".npy"), joints.reshape(T, -1))


def write_numbered(first: int, *, frames: bool = False) -> Write:
    """A line a joint, which begins with the joint's number, perhaps after the frame's."""

    def write(file: Path, joints: np.ndarray) -> None:
        lines = [
            " ".join(map(str, [*([frame] if frames else []), at + first, *place]))
            for frame, body in enumerate(joints[:, 0])
            for at, place in enumerate(body)
        ]
        file.with_suffix(".txt").write_text("\n".join(lines))

    return write


def write_npz(**names: str) -> Write:
    def write(file: Path, joints: np.ndarray) -> None:
        arrays = {"joints": joints[:, 0], "scores": np.ones((T, V)), "fps": np.array(30.0)}
        np.savez_compressed(
            file.with_suffix(".npz"), **{name: arrays[key] for name, key in names.items()}
        )

    return write


def write_table(
    suffix: str = ".csv",
    delimiter: str = ",",
    *,
    heading: bool = False,
    leading: tuple[str, ...] = (),
    end: str = "",
    by_joint: bool = False,
) -> Write:
    columns = {"": range(T), "Frame": range(7, 7 + T), "time": np.arange(T) / 30}

    def write(file: Path, joints: np.ndarray) -> None:
        rows = joints.reshape(-1, 3) if by_joint else joints.reshape(T, -1)
        titles = [*leading, *(f"j{at}" for at in range(rows.shape[1]))]
        lines = [delimiter.join(titles)] if heading else []
        for at, row in enumerate(rows):
            cells = [columns[name][at] for name in leading] + row.tolist()
            lines.append(delimiter.join(map(str, cells)) + end)
        file.with_suffix(suffix).write_text("\n".join(lines) + "\n")

    return write


FORMS: dict[str, Write] = {
    "frames, joints, channels": write_npy("TVC"),
    "frames, bodies, joints, channels": write_npy("TMVC", np.float64),
    "bodies, frames, joints, channels": write_npy("MTVC"),
    "channels, frames, joints, bodies; Fortran's order": write_npy("CTVM"),
    "joints, channels, frames": write_npy("VCT"),
    "frames, joints and channels in one": write_flat,
    "npz, one array": write_npz(arr_0="joints"),
    "npz, keypoints and scores": write_npz(keypoints="joints", scores="scores", fps="fps"),
    "csv, a line a frame": write_table(),
    "csv, heading": write_table(heading=True),
    "csv, pandas' index": write_table(heading=True, leading=("",)),
    "csv, frames and times": write_table(heading=True, leading=("Frame", "time")),
    "txt, spaces and a frame before the joints": write_table(".txt", " ", leading=("Frame",)),
    "txt, a line a joint": write_table(".txt", " ", by_joint=True),
    "txt, a line a joint with its number": write_numbered(0),
    "txt, a line a joint with its number and its frame's": write_numbered(1, frames=True),
    "semicolons, one at the end of each line": write_table(".csv", ";", end=";"),
    "tabs": write_table(".tsv", "\t"),
}


def folder_of(write: Write, out: Path) -> Path:
    (out / "set").mkdir()
    for at in range(4):
        write(out / "set" / f"clip{at}", walk(at))
    return out / "set"


def labels(folder: Path, text: str | None = None) -> Path:
    rows = [f"clip{at},{('nod', 'wave')[at % 2]},{('train', 'test')[at // 2]}" for at in range(4)]
    path = folder / "labels.csv"
    path.write_text(text or "\n".join(["file,label,split", *rows]))
    return path


def joints_of(source: Source, at: int = 0) -> np.ndarray:
    (reading,) = source.read(at, at + 1)
    assert reading.clip is not None, reading
    return reading.clip.joints


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_joints(tmp_path: Path, form: str) -> None:
    folder = folder_of(FORMS[form], tmp_path)
    source = open_source(str(folder), labels=labels(folder), layout="kinect20")
    assert source.kind == "arrays of joints"
    assert source.names() == [f"clip{at}" for at in range(4)], "the table of labels is no clip"
    assert source.class_names == ("nod", "wave")
    clips = list(source)
    for at, clip in enumerate(clips):
        np.testing.assert_allclose(clip.joints, walk(at), atol=1e-6)
        assert clip.label == at % 2
    assert source.splits(clips)["default"]["test"] == ["clip2", "clip3"]


def test_a_line_may_hold_two_bodies_and_cells_what_wasnt_seen(tmp_path: Path) -> None:
    two = walk(0, bodies=2)
    write_table()(tmp_path / "a", two)
    text = (tmp_path / "a.csv").read_text().splitlines()
    text[3] = ",".join(["", "", *text[3].split(",")[2:]])
    (tmp_path / "a.csv").write_text("\n".join(text))
    joints = joints_of(open_source(str(tmp_path / "a.csv"), layout="kinect20", labelled=False))
    assert joints.shape == (T, 2, V, 3)
    # a moment of a 3-D joint is filled in by its neighbours in time
    np.testing.assert_allclose(joints, two, atol=0.02)


def test_pictures_need_a_unit_and_centred_joints_have_their_own(tmp_path: Path) -> None:
    shares = np.random.default_rng(0).uniform(0.1, 0.9, (T, 17, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", shares)

    def opened(**options: tuple[float, float]) -> Source:
        return open_source(str(tmp_path), layout="coco17", labelled=False, **options)

    (bad,) = opened().read(0, 1)
    assert "whose size isn't known; give --image-size" in str(bad.fault)
    in_pixels = joints_of(opened(image_size=(640, 480)))[:, 0, :, :2]
    np.testing.assert_allclose(in_pixels, shares * [640, 480], rtol=1e-5)
    shares[4, 3] = -1
    np.save(tmp_path / "a.npy", shares)
    joints = joints_of(opened(image_size=(640, 480)))[:, 0]
    np.testing.assert_allclose(joints[5, :, :2], in_pixels[5], rtol=1e-5)
    assert joints[4, 3, 2] == 0, "at (-1, -1) nothing was seen"
    np.save(tmp_path / "a.npy", shares - 0.5)
    np.testing.assert_allclose(joints_of(opened())[:, 0, :, :2], shares - 0.5, atol=1e-6)


def test_folders_name_classes_and_parts(tmp_path: Path) -> None:
    for at in range(4):
        folder = tmp_path / ("train", "val")[at // 2] / ("nod", "wave")[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_npy("TVC")(folder / f"clip{at}", walk(at))
    source = open_source(str(tmp_path), layout="kinect20")
    assert source.class_names == ("nod", "wave")
    clips = list(source)
    assert {clip.name: clip.label for clip in clips} == {f"clip{at}": at % 2 for at in range(4)}
    assert source.splits(clips) == {
        "default": {"train": ["clip0", "clip1"], "test": ["clip2", "clip3"]}
    }


@pytest.mark.parametrize(
    "where",
    [
        "s{who:02}/{action}",
        "subject_{who}/{action}",
        "s{who}s{other}/{action}",
        "cam1/person{who}/{action}",
        "wrapped/poses/{action}",
        "{action}/s{who}",
    ],
)
def test_folders_of_performers_and_cameras_name_no_class(tmp_path: Path, where: str) -> None:
    for at in range(4):
        action = ("nod", "wave")[at % 2]
        folder = tmp_path / where.format(who=at // 2 + 1, other=at // 2 + 3, action=action)
        folder.mkdir(parents=True, exist_ok=True)
        write_npy("TVC")(folder / f"clip{at}", walk(at))
    source = open_source(str(tmp_path), layout="kinect20")
    assert source.class_names == ("nod", "wave")
    assert {clip.name: clip.label for clip in source} == {f"clip{at}": at % 2 for at in range(4)}


def test_where_folders_name_performers_alone_nobody_says_the_classes(tmp_path: Path) -> None:
    for at in range(4):
        folder = tmp_path / f"subject{at // 2}"
        folder.mkdir(exist_ok=True)
        write_npy("TVC")(folder / f"clip{at}", walk(at))
    with pytest.raises(UserError, match="nobody says the classes of its clips"):
        open_source(str(tmp_path), layout="kinect20")


@pytest.mark.parametrize("parts", [("Training", "Testing"), ("train_set", "test_set")])
def test_parts_have_many_names(tmp_path: Path, parts: tuple[str, str]) -> None:
    for at in range(4):
        folder = tmp_path / parts[at // 2] / ("nod", "wave")[at % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_npy("TVC")(folder / f"clip{at}", walk(at))
    source = open_source(str(tmp_path), layout="kinect20")
    assert source.class_names == ("nod", "wave")
    assert source.splits(list(source)) == {
        "default": {"train": ["clip0", "clip1"], "test": ["clip2", "clip3"]}
    }


def test_a_file_a_frame_is_refused(tmp_path: Path) -> None:
    for frame, joints in enumerate(walk(0)):
        np.save(tmp_path / f"{frame:06}.npy", joints)
    with pytest.raises(UserError, match="have one frame each, such as '000000'; save the frames"):
        open_source(str(tmp_path), layout="kinect20", labelled=False)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"\x93NUMPY", "can't be read as an array: a.npy: is no .npy array"),
        ("a.npy", np.zeros((T, V, 3), complex), "holds complex128"),
        ("a.npy", np.zeros((T, 7, 3)), "has shape (30, 7, 3), and layout kinect20 needs"),
        ("a.npz", {"x": np.ones(3), "y": np.ones(3)}, "holds x, y, and none is called joints"),
        (
            "a.npz",
            {"joints": np.ones((T, V, 3)), "scores": np.ones((T, 3))},
            "has scores of shape (30, 3) for joints (30, 20, 3)",
        ),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"x,y,z\n", "has no line below its heading"),
        ("a.csv", b"1,2,3\n1,2\n", "has a line of 2 numbers, where others have 3"),
        ("a.csv", b"1,2,3\n1,b,3\n", "has '1 b 3' among its numbers"),
        ("a.csv", b"1,2,3,4,5,6\n", "needs a line a frame of 60 or 80"),
        ("a.csv", ("1" + ",2" * 60 + "\n").encode() * 3, "that don't follow one another"),
    ],
)
def test_what_is_no_clip_is_one_sentence(
    tmp_path: Path, name: str, content: bytes | np.ndarray | dict[str, np.ndarray], words: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    else:
        np.save(path, content)
    with pytest.raises(UserError) as error:
        open_source(str(path), format="arrays", layout="kinect20", labelled=False)
    assert words in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize("order", ["TCV", "VCT"])
def test_where_frames_and_joints_are_as_many_the_other_clips_tell_which(
    tmp_path: Path, order: str
) -> None:
    folder = folder_of(write_npy(order), tmp_path)
    write_npy(order)(folder / "clip0", walk(0)[:V])
    source = open_source(str(folder), labels=labels(folder), layout="kinect20")
    np.testing.assert_allclose(joints_of(source), walk(0)[:V], atol=1e-6)
    with pytest.raises(UserError, match=r"may be \(frames, .* or .*; give frames first"):
        open_source(str(folder / "clip0.npy"), layout="kinect20", labelled=False)


def test_arrays_of_both_kinds_lie_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for at in range(4):
        write = (FORMS["npz, one array"], FORMS["frames, joints, channels"])[at % 2]
        write(tmp_path / "set" / f"clip{at}", walk(at))
    source = open_source(str(tmp_path / "set"), labels=labels(tmp_path / "set"), layout="kinect20")
    assert sorted(source.names()) == [f"clip{at}" for at in range(4)]


def test_numbered_lines_of_joints_in_metres_are_no_labels_of_ultralytics(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    before_a_camera = np.array([0, 1, 3])
    for at in range(2):
        places = walk(at) + before_a_camera
        rows = [[2 * frame, *body.ravel().round(4)] for frame, body in enumerate(places)]
        text = "\n".join(" ".join(map(str, row)) for row in rows)
        (tmp_path / "set" / f"clip{at}.txt").write_text(text)
    assert format_of(tmp_path / "set") == "arrays"
    source = open_source(str(tmp_path / "set"), layout="kinect20", labelled=False)
    np.testing.assert_allclose(joints_of(source), walk(0) + before_a_camera, atol=1e-3)


def test_a_damaged_clip_among_others_is_left_out_and_named(tmp_path: Path) -> None:
    folder = folder_of(FORMS["frames, joints, channels"], tmp_path)
    (folder / "clip2.npy").write_bytes((folder / "clip2.npy").read_bytes()[:-9])
    source = open_source(str(folder), labels=labels(folder), layout="kinect20")
    (bad,) = [reading for reading in source.read(0, 4) if reading.clip is None]
    assert "clip 'clip2' can't be read as an array: clip2.npy: is shorter than" in str(bad.fault)


def test_nobody_guesses_a_skeleton(tmp_path: Path) -> None:
    folder = folder_of(FORMS["frames, joints, channels"], tmp_path)
    with pytest.raises(UserError, match="nothing in its files says which joints") as error:
        open_source(str(folder), labels=labels(folder))
    assert "kinect20 or msr20" in str(error.value) and "ntu25" not in str(error.value)


def test_a_few_numbers_beside_other_data_are_no_clips(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na,1\n")
    (tmp_path / "losses.txt").write_text("1 0.5\n2 0.4\n")
    assert format_of(tmp_path) is None
    write_table()(tmp_path / "notes", walk(0))
    for at in range(3):
        (tmp_path / f"{at}.pkl").touch()
    assert format_of(tmp_path) is None
    np.savez(tmp_path / "predictions.npz", logits=np.ones((4, 9)), labels=np.ones(4))
    assert format_of(tmp_path / "predictions.npz") is None


def test_new_clips_are_predicted_from_every_form(tmp_path: Path) -> None:
    for form in ("csv, frames and times", "npz, keypoints and scores"):
        folder = tmp_path / form
        folder.mkdir()
        FORMS[form](folder / "clip", walk(0))
        (file,) = folder.iterdir()
        (clip,) = clips_of_path(file, KINECT)
        assert clip.name == file.name
        np.testing.assert_allclose(clip.joints, walk(0), atol=1e-6)


def test_a_clips_own_label_makes_no_set_of_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", joints=walk(0)[:, 0], label=3)
    (clip,) = clips_of_path(tmp_path / "clip.npz", KINECT)
    np.testing.assert_allclose(clip.joints, walk(0), atol=1e-6)


def test_a_folder_of_arrays_becomes_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = folder_of(FORMS["txt, a line a joint"], tmp_path)
    options = ["--labels", labels(folder), "--layout", "kinect20", "--fps", "15", "--workers", "1"]
    done = lastkd("prepare", folder, "--out", "store", *options)
    assert done.exit_code == 0, done.exception
    assert "arrays of joints, layout kinect20, 4 clips" in done.output
    about = lastkd("info", "store").output
    assert "4 clips" in about and "15" in about
