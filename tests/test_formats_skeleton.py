"""Raw `.skeleton` text and folders of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lastkd.data.formats.archives import SkeletonFolder
from lastkd.data.formats.datasets.ntu_skeleton import NtuSkeletons, read_skeleton
from lastkd.data.open_source import open_source
from lastkd.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "data"
FIRST_ID = 72057594037931101  # its neighbours are the same float64

NUMBERS = ["0", "-0", "7", "-7.", ".5", "+1.5", "1.", "12.125", "5E-05", "1e-300", "-0.12345678"]
NUMBERS += [
    "0.123456789",
    "9.99999999",
    "0.1234567890123456",
    "-1.234567890123456",
    "0.12345678901234567890",
]


def NtuSkeletonFolder(path: Path) -> NtuSkeletons:  # noqa: N802
    return NtuSkeletons([SkeletonFolder(path)])


Frame = dict[int, np.ndarray]
"""Body id -> joints `(25, 3)`."""


def bodies(T: int, ids: Sequence[int] = (FIRST_ID,), seed: int = 0) -> list[Frame]:
    """Frames in which every body is present; numbers of all lengths that the Kinect writes."""
    rng = np.random.default_rng(seed)
    pose = rng.uniform(-1, 1, size=(len(ids), 25, 3)) * [0.3, 1, 0.3]
    pose[:, 0] = [0, 1.5e-5, -0.00012345678]
    pose[:, 1] = [-12.25, 13, 0.005023585]
    return [
        dict(zip(ids, pose + 0.01 * rng.normal(size=(1, 25, 1)) * (pose != 0), strict=True))
        for _ in range(T)
    ]


def skeleton_text(frames: Sequence[Frame], newline: str = "\n") -> str:
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for body_id, joints in frame.items():
            lines += [f"{body_id} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
            lines += [
                " ".join(f"{value:.7g}" for value in place)
                + " 277.419 -191.8 -Infinity NaN -0.2 5e-05 0 1 2"
                for place in joints.tolist()
            ]
    return newline.join([*lines, ""])


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def plainly_read(text: str) -> dict[str, list[tuple[int, np.ndarray]]]:
    """The format read line by line: body id -> (frame, joints)."""
    lines = iter(text.split("\n"))
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for frame in range(int(next(lines))):
        for _ in range(int(next(lines))):
            body_id = next(lines).split()[0]
            joints = [next(lines).split()[:3] for _ in range(int(next(lines)))]
            found.setdefault(body_id, []).append((frame, np.array(joints, np.float64)))
    return found


def assert_read_as_written(path: Path) -> None:
    expected = plainly_read(path.read_text())
    tracks = read_skeleton(path).tracks
    assert len(tracks) == len(expected)
    for track, (body_id, rows) in zip(tracks, expected.items(), strict=True):
        assert track.frames.tolist() == [frame for frame, _ in rows], body_id
        assert track.joints.dtype == np.float32
        np.testing.assert_allclose(track.joints, [joints for _, joints in rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_positions_equal_the_text(tmp_path: Path, newline: str) -> None:
    text = skeleton_text(bodies(20, [FIRST_ID, 5]), newline)
    assert_read_as_written(write(tmp_path / "a.skeleton", text))


@pytest.mark.parametrize(
    "number",
    NUMBERS,
)
def test_numbers_of_any_form_are_read(tmp_path: Path, number: str) -> None:
    lines = skeleton_text(bodies(1)).split("\n")
    lines[4] = number + lines[4][lines[4].index(" ") :]
    path = write(tmp_path / "a.skeleton", "\n".join(lines))
    assert read_skeleton(path).tracks[0].joints[0, 0, 0] == pytest.approx(float(number), abs=1e-6)


def test_body_ids_that_are_one_float64_stay_two_bodies(tmp_path: Path) -> None:
    ids = [FIRST_ID, FIRST_ID + 1]
    assert float(ids[0]) == float(ids[1])
    recording = read_skeleton(write(tmp_path / "a.skeleton", skeleton_text(bodies(3, ids))))
    assert [len(track.frames) for track in recording.tracks] == [3, 3]


def test_identity_is_the_id_and_not_the_place_in_the_frame(tmp_path: Path) -> None:
    frames = bodies(4, [11, 22])
    frames[1] = dict(reversed(frames[1].items()))
    frames[2] = {22: frames[2][22]}
    frames.insert(0, {})
    path = write(tmp_path / "a.skeleton", skeleton_text(frames))
    assert_read_as_written(path)
    recording = read_skeleton(path)
    assert recording.total_frames == 5
    assert [track.frames.tolist() for track in recording.tracks] == [[1, 2, 4], [1, 2, 3, 4]]


def test_odd_spacing_is_read_all_the_same(tmp_path: Path) -> None:
    text = skeleton_text(bodies(3))
    odd = text.replace("\n25\n", " \n 25 \n").replace(" 277.419", "\t277.419  ") + "\n \n"
    path = write(tmp_path / "a.skeleton", odd)
    plain = read_skeleton(write(tmp_path / "b.skeleton", text))
    np.testing.assert_array_equal(
        read_skeleton(path).tracks[0].joints, plain.tracks[0].joints, strict=True
    )


def changed(line: int, to: str) -> bytes:
    """A text of three frames with one line, counted from 1, made to say something else."""
    lines = skeleton_text(bodies(3)).split("\n")
    lines[line - 1] = to
    return "\n".join(lines).encode()


ZEROS = "0 0 0 0 0 0 0 0 0 0 0"
MALFORMED = {
    "empty": (b"", "empty"),
    "blank": (b"\n \n", "empty"),
    "no text": (bytes(range(256)) * 50, "frame count"),
    "a letter for the frame count": (changed(1, "x"), "frame count"),
    "a negative frame count": (changed(1, "-3"), "'-3' for a frame count"),
    "a huge frame count": (changed(1, "999999999"), "should follow"),
    "a frame count beyond all numbers": (changed(1, "9" * 5000), "frame count"),
    "more frames than announced": (changed(1, "2"), "goes on after the 2 frames"),
    "fewer frames than announced": (changed(1, "4"), "should follow"),
    "a negative body count": (changed(2, "-1"), "'-1' for a body count"),
    "a huge body count": (changed(2, "900000000"), "line"),
    "two bodies announced, one there": (changed(2, "2"), "line"),
    "24 joints": (changed(4, "24"), "line 4 has 24 joints, not 25"),
    "35 joints": (changed(4, "35"), "line 4 has 35 joints, not 25"),
    "letters in the body id": (changed(3, "abc 0 1 1 1 1 0 0 0 2"), "'abc' for a body id"),
    "a short body line": (changed(3, "720575 0 1 1"), "line 3 has 4 values, not 10"),
    "a short joint line": (changed(9, "0.1 0.2 0.3"), "line 9 has 3 values, not 12"),
    "a long joint line": (changed(9, f"0.1 0.2 {ZEROS}"), "line 9 has 13 values, not 12"),
    "letters for a number": (changed(9, f"O.1234 {ZEROS}"), "line 9 has 'O.1234' for a position"),
    "letters inside a number": (changed(9, f"0.12a4 {ZEROS}"), "'0.12a4' for a position"),
    "two points": (changed(9, f"0.1.4 {ZEROS}"), "'0.1.4' for a position"),
    "an underscore": (changed(9, f"0.1_4 {ZEROS}"), "'0.1_4' for a position"),
    "a lone sign": (changed(9, f"- {ZEROS}"), "'-' for a position"),
    "NaN": (changed(9, f"NaN {ZEROS}"), "'NaN' for a position"),
    "infinity": (changed(9, f"-inf {ZEROS}"), "'-inf' for a position"),
    "more than a float32 holds": (changed(9, f"1e39 {ZEROS}"), "'1e39' for a position"),
    "a row too few": (changed(9, "").replace(b"\n\n", b"\n"), "line"),
}


@pytest.mark.parametrize(("text", "told"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_file_is_named_with_the_place(tmp_path: Path, text: bytes, told: str) -> None:
    path = write(tmp_path / "S001C001P001R001A001.skeleton", text)
    with pytest.raises(UserError) as error:
        list(NtuSkeletonFolder(tmp_path))
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    text = skeleton_text(bodies(2, [1, 2])).encode()
    path = tmp_path / "a.skeleton"
    # short of the last value, whose loss can't be seen where it is cut between its digits
    for length in range(0, len(text) - 2, 37):
        write(path, text[:length])
        with pytest.raises(UserError, match=r"a\.skeleton"):
            read_skeleton(path)


def test_folder_gives_clips_of_any_depth_sorted_by_name(tmp_path: Path) -> None:
    text = skeleton_text(bodies(15))
    write(tmp_path / "z" / "S001C002P003R001A060.skeleton", text)
    write(tmp_path / "S017C001P008R002A001.skeleton", text)
    write(tmp_path / "._S017C001P008R002A001.skeleton", "a Mac's resource fork")
    write(tmp_path / "readme.txt", "")
    source = NtuSkeletonFolder(tmp_path)
    clips = list(source)
    assert len(source) == 2
    assert [clip.name for clip in clips] == ["S001C002P003R001A060", "S017C001P008R002A001"]
    first = clips[0]
    assert (first.label, first.performer, first.camera, first.setup) == (59, 3, 2, 1)
    assert first.joints.shape == (15, 1, 25, 3)
    assert source.kind == "NTU RGB+D 60 .skeleton files"
    assert (source.layout.name, len(source.class_names)) == ("ntu25", 60)
    assert source.counts == {}
    assert source.splits(clips)["xsub"] == {"train": [clips[1].name], "test": [clips[0].name]}


def test_folder_with_later_actions_is_ntu_120(tmp_path: Path) -> None:
    write(tmp_path / "S001C001P001R001A001.skeleton", skeleton_text(bodies(12)))
    write(tmp_path / "S018C001P001R001A120.skeleton", skeleton_text(bodies(12)))
    source = NtuSkeletonFolder(tmp_path)
    assert source.class_names[119] == "rock-paper-scissors"
    assert set(source.splits(list(source))) == {"xsub", "xset"}


def test_folder_counts_what_it_leaves_out(tmp_path: Path) -> None:
    write(tmp_path / "S001C002P005R002A008.skeleton", "on the list of missing skeletons")
    write(tmp_path / "S001C001P001R001A001.skeleton", skeleton_text([{}, {}]))
    frames = bodies(30, [1, 2])
    frames[20:] = [{1: frame[1]} for frame in frames[20:]]
    frames[:15] = [{1: frame[1]} for frame in frames[:15]]
    write(tmp_path / "S001C001P001R001A002.skeleton", skeleton_text([*frames, {}]))
    source = NtuSkeletonFolder(tmp_path)
    expected = {
        "missing skeletons left out": 1,
        "clips without any body left out": 1,
        "bodies seen in 11 frames or fewer left out": 1,
        "frames without a body left out": 1,
    }
    for _ in range(2):  # counts start anew with each iteration
        assert [clip.joints.shape for clip in source] == [(30, 1, 25, 3)]
        assert source.counts == expected
    assert len(source) == 3


def test_folder_without_skeletons_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path} has no \.skeleton file"):
        NtuSkeletonFolder(tmp_path)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        NtuSkeletonFolder(tmp_path / "nowhere")


def test_sample_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "S001C001P001R001A001.skeleton", "")
    with pytest.raises(UserError, match="the same sample"):
        NtuSkeletonFolder(tmp_path)


def test_file_of_another_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "wave.skeleton", "")
    with pytest.raises(UserError, match=f"{path} has no NTU name"):
        NtuSkeletonFolder(tmp_path)


@pytest.fixture
def ntu_samples() -> Path:
    if not (SHARED / "ntu_samples").is_dir():
        pytest.skip("the six real NTU files are not here")
    return SHARED / "ntu_samples"


def test_real_files_have_the_known_lengths_and_bodies(ntu_samples: Path) -> None:
    clips = list(NtuSkeletonFolder(ntu_samples))
    assert sorted(len(clip.joints) for clip in clips) == [70, 71, 82, 100, 103, 124]
    assert [clip.name for clip in clips if clip.joints.shape[1] == 2] == ["S001C003P008R002A058"]


def test_real_positions_equal_the_text(ntu_samples: Path) -> None:
    for path in sorted(ntu_samples.glob("*.skeleton")):
        assert_read_as_written(path)


# ------------------------------------------------------------------------------ other Kinects


def text_of(joints: int, frames: int = 20) -> str:
    """A recording of one body in NTU's form, with another number of joints."""
    rng = np.random.default_rng(joints)
    body = rng.normal(size=(joints, 3)) + np.array([0, 0, 3])
    lines = [str(frames)]
    for frame in range(frames):
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.1 0.2 2", str(joints)]
        lines += [
            " ".join([f"{value + 0.01 * frame:.7g}" for value in joint] + ["0"] * 8 + ["2"])
            for joint in body
        ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("joints", "layout"), [(20, "kinect20"), (25, "ntu25"), (32, "azure32")])
def test_texts_of_other_kinects_have_their_layout(tmp_path: Path, joints: int, layout: str) -> None:
    (tmp_path / "S001C001P001R001A001.skeleton").write_text(text_of(joints))
    source = open_source(str(tmp_path))
    assert source.layout.name == layout
    (clip,) = source
    assert clip.joints.shape == (20, 1, joints, 3)


def test_a_first_text_of_another_sensor_is_one_bad_clip(tmp_path: Path) -> None:
    for performer, joints in enumerate((25, 20, 20, 20), start=1):
        name = f"S001C001P{performer:03}R001A001.skeleton"
        (tmp_path / name).write_text(text_of(joints))
    source = open_source(str(tmp_path))
    assert source.layout.name == "kinect20"
    faults = [reading.fault for reading in source.read(0, len(source))]
    assert faults[0] is not None and "has 25 joints, not 20" in faults[0]
    assert faults[1:] == [None] * 3


def test_another_order_of_20_joints_is_named(tmp_path: Path) -> None:
    (tmp_path / "S001C001P001R001A001.skeleton").write_text(text_of(20))
    assert open_source(str(tmp_path), layout="msr20").layout.name == "msr20"
    with pytest.raises(UserError, match="has 20 joints, and layout ntu25 has 25; use --layout kin"):
        open_source(str(tmp_path), layout="ntu25")


def test_a_table_of_labels_stands_in_for_ntus_names(tmp_path: Path) -> None:
    for name in ("wave", "nod", "other"):
        (tmp_path / f"{name}.skeleton").write_text(text_of(25))
    with pytest.raises(UserError, match=r"has no NTU name .* give a table of all by --labels"):
        open_source(str(tmp_path))
    (tmp_path / "t.csv").write_text("file,label,split\nwave.skeleton,w,train\nnod,n,test\n")
    source = open_source(str(tmp_path), labels=tmp_path / "t.csv")
    clips = list(source)
    assert [(clip.name, clip.label) for clip in clips] == [("nod", 0), ("wave", 1)]
    assert source.counts == {"clips without a label left out": 1}
    assert source.splits(clips) == {"default": {"train": ["wave"], "test": ["nod"]}}


# --- NTU's texts as arrays ------------------------------------------------------------------------


def saved_arrays(folder: Path, name: str, bodies: np.ndarray, counts: Sequence[int]) -> Path:
    """What `txt2npy.py` makes of bodies `(M, T, 25, 3)`."""
    said = {"file_name": name, "nbodys": list(counts), "njoints": 25}
    said |= {f"skel_body{at}": body for at, body in enumerate(bodies)}
    said |= {f"rgb_body{at}": body[..., :2] for at, body in enumerate(bodies)}
    path = folder / f"{name}.skeleton.npy"
    np.save(path, said, allow_pickle=True)  # type: ignore[arg-type]
    return path


def test_texts_saved_as_arrays_are_read_as_the_texts(tmp_path: Path) -> None:
    pose = np.random.default_rng(0).uniform(-1, 1, (25, 3)) * [0.3, 1, 0.3]
    body = pose + 0.1 * np.sin(np.arange(12))[:, None, None]
    stacked = np.stack((body, np.add(body, [1.5, 0, 0])))
    (tmp_path / "npy").mkdir()
    name = "S001C002P003R001A050"
    saved_arrays(tmp_path / "npy", name, stacked, [2] * 12)
    saved_arrays(tmp_path / "npy", "S001C002P005R001A001", stacked[:1], [1] * 12)
    source = open_source(str(tmp_path / "npy"))
    assert source.kind == "NTU RGB+D 60 .skeleton files"
    two, one = sorted(source, key=lambda clip: clip.name)
    assert (two.name, two.label, two.performer, two.camera) == (name, 49, 3, 2)
    assert (one.joints.shape, two.joints.shape) == ((12, 1, 25, 3), (12, 2, 25, 3))
    np.testing.assert_allclose(one.joints[:, 0], stacked[0], atol=1e-6)


def test_people_in_arrays_keep_their_place_when_the_first_leaves(tmp_path: Path) -> None:
    T = 20
    still = np.stack([bodies(T, (1,))[0][1]] * T)
    aside = np.array([1.5, 0, 0])
    left, right = still - aside, still + aside
    first, second = left.copy(), right.copy()
    first[10:], second[10:] = right[10:], 0  # a frame's only body comes first
    path = saved_arrays(
        tmp_path, "S001C001P001R001A050", np.stack((first, second)), [2] * 10 + [1] * 10
    )
    tracks = read_skeleton(path).tracks
    assert sorted(len(track.frames) for track in tracks) == [10, 20]
    longest = max(tracks, key=lambda track: len(track.frames))
    np.testing.assert_allclose(longest.joints, right, atol=1e-6)


def test_frames_without_anybody_keep_their_place_in_arrays(tmp_path: Path) -> None:
    body = np.stack([frame[1] for frame in bodies(9, (1,))])
    counts = [0, 0, 1, 0, 1, 0, 1, 0, 0]
    path = saved_arrays(tmp_path, "S001C001P001R001A001", body[None], counts)
    recording = read_skeleton(path)
    assert recording.total_frames == 9
    assert recording.tracks[0].frames.tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"nbodys": [1]}, "holds no nbodys and skel_body0"),
        ({"nbodys": [1, 1], "skel_body0": np.zeros((3, 25, 3))}, "other frames or joints"),
        ({"nbodys": [2], "skel_body0": np.ones((1, 25, 3))}, "other frames or joints"),
        ({"nbodys": [1], "skel_body0": np.full((1, 25, 3), np.nan)}, "not a finite number"),
    ],
)
def test_arrays_of_another_form_are_refused(
    tmp_path: Path, said: dict[str, object], words: str
) -> None:
    path = tmp_path / "S001C001P001R001A001.skeleton.npy"
    np.save(path, said, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=words):
        read_skeleton(path)
