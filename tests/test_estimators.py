"""What pose estimators write: recognised, read, labelled, and all the way to a student."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from estimator_files import (
    FLAT_WRITERS,
    SIZE,
    Filmed,
    alphapose,
    expected,
    film,
    in_the_world,
    mediapipe_image,
    mediapipe_npy,
    mediapipe_world,
    mmpose,
    openpose,
    ultralytics,
    ultralytics_txt,
)
from made_up_sets import lastkd

from lastkd.data.formats.base import Reading, Source
from lastkd.data.open_source import open_source
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.prepare import prepare
from lastkd.errors import UserError

MULTI = [name for name in FLAT_WRITERS if "MediaPipe" not in name]


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def labels(folder: Path, clips: list[Filmed]) -> Path:
    """Two classes, a performer a clip; the first of several clips tests."""
    rows = [f"{clip.name},{at % 2},{at + 1}" for at, clip in enumerate(clips)]
    if len(clips) == 1:
        return table(folder, "\n".join(["file,label,performer", *rows]))
    parts = ["test", *["train"] * (len(clips) - 1)]
    rows = [f"{row},{part}" for row, part in zip(rows, parts, strict=True)]
    return table(folder, "\n".join(["file,label,performer,split", *rows]))


def opened(source: Path, clips: list[Filmed]) -> Source:
    return open_source(str(source), labels=labels(source.parent, clips), image_size=SIZE)


def readings(source: Source) -> list[Reading]:
    return list(source.read(0, len(source)))


def only_clip(source: Source) -> np.ndarray:
    (reading,) = readings(source)
    assert reading.clip is not None, reading
    return reading.clip.joints


@pytest.mark.parametrize("name", FLAT_WRITERS)
def test_each_estimators_files_are_recognised_and_read(tmp_path: Path, name: str) -> None:
    write, V, layout, kind = FLAT_WRITERS[name]
    clips = [film("wave-1", V), film("nod-1", V, action=1, seed=1)]
    source = opened(write(clips, tmp_path), clips)
    assert (source.kind, source.layout.name) == (kind, layout)
    assert sorted(source.names()) == ["nod-1", "wave-1"]
    by_name = {reading.name: reading for reading in readings(source)}
    for clip in clips:
        read = by_name[clip.name].clip
        assert read is not None
        np.testing.assert_allclose(read.joints, expected(clip, layout), atol=0.02)
    one = by_name["nod-1"].clip
    assert one is not None and (one.label, one.performer) == (1, 2)
    found = source.splits([reading.clip for reading in by_name.values() if reading.clip])
    assert found == {"default": {"train": ["nod-1"], "test": ["wave-1"]}}


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("name", MULTI)
def test_people_are_followed_through_frames_in_any_order(
    tmp_path: Path, name: str, ids: bool
) -> None:
    write, V, layout, _ = FLAT_WRITERS[name]
    clip = film("two", V, people=2)
    clip.ids = ids
    clip.seen[10:13, 0] = False
    joints = only_clip(opened(write([clip], tmp_path), [clip]))
    np.testing.assert_allclose(joints, expected(clip, layout), atol=0.02)


@pytest.mark.parametrize("name", MULTI)
def test_a_false_detection_is_no_actor_and_empty_frames_go(tmp_path: Path, name: str) -> None:
    write, V, *_ = FLAT_WRITERS[name]
    clip = film("ghost", V, people=2, T=50)
    clip.seen[:, 1] = False
    clip.seen[[5, 6, 20], 1] = True
    clip.seen[30:34] = False
    source = opened(write([clip], tmp_path), [clip])
    (reading,) = readings(source)
    assert reading.clip is not None and reading.clip.joints.shape[:2] == (46, 1)
    assert reading.counts["bodies seen in a quarter of the clip or less left out"] >= 1
    assert reading.counts["frames without a body left out"] == 4


def test_world_landmarks_are_metres_with_y_up(tmp_path: Path) -> None:
    clip = film("wave", 33)
    for write in (mediapipe_world, mediapipe_npy):
        source = opened(write([clip], tmp_path), [clip])
        assert (source.kind, source.layout.name) == ("MediaPipe landmarks", "mediapipe33")
        np.testing.assert_allclose(only_clip(source)[:, 0], in_the_world(clip), atol=1e-5)


def test_the_layout_chooses_between_landmarks_in_world_and_image(tmp_path: Path) -> None:
    clip = film("wave", 33)
    source = open_source(
        str(mediapipe_world([clip], tmp_path)),
        labels=labels(tmp_path, [clip]),
        layout="mediapipe33_image",
        image_size=SIZE,
    )
    np.testing.assert_allclose(only_clip(source), expected(clip, "mediapipe33_image"), atol=0.02)


@pytest.mark.parametrize("write", [mediapipe_image, mediapipe_npy, mediapipe_world])
def test_frames_in_which_mediapipe_found_nobody_are_dropped(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    clip = film("wave", 33)
    clip.seen[:3] = clip.seen[20:22] = False
    (reading,) = readings(opened(write([clip], tmp_path), [clip]))
    assert reading.clip is not None and len(reading.clip.joints) == 35


@pytest.mark.parametrize("write", [ultralytics_txt, mediapipe_image])
def test_shares_of_an_image_need_its_size(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    clip = film("wave", 17 if write is ultralytics_txt else 33)
    source = write([clip], tmp_path)
    (bad,) = readings(open_source(str(source), labels=labels(tmp_path, [clip])))
    assert "whose size isn't known; give --image-size 1920x1080" in str(bad.fault)
    sized = table(tmp_path, "file,label,width,height\nwave,0,1280,720\n")
    joints = only_clip(open_source(str(source), labels=sized))
    np.testing.assert_allclose(joints[..., :2], clip.joints, atol=0.02)


def test_frame_numbers_keep_the_time(tmp_path: Path) -> None:
    clip = film("wave", 17, T=30)
    every_other = alphapose([clip], tmp_path) / "wave" / "alphapose-results.json"
    entries = json.loads(every_other.read_text())
    for entry in entries:
        entry["image_id"] = f"{10 + 2 * int(entry['image_id'][:-4])}.jpg"
    every_other.write_text(json.dumps(entries))
    (reading,) = readings(opened(tmp_path / "alphapose", [clip]))
    assert reading.clip is not None and len(reading.clip.joints) == 30
    assert "frames without a body left out" not in reading.counts


def test_files_of_several_clips_may_lie_in_one_folder(tmp_path: Path) -> None:
    clips = [film("a", 25), film("b", 25, seed=1)]
    openpose(clips, tmp_path)
    for file in list((tmp_path / "openpose").glob("*/*.json")):
        file.rename(tmp_path / "openpose" / file.name)
    source = opened(tmp_path / "openpose", clips)
    assert source.names() == ["a", "b"]
    assert all(reading.clip is not None for reading in readings(source))


def test_folders_may_name_the_classes(tmp_path: Path) -> None:
    clips = [
        film(f"{name}/clip{at}", 25, seed=at) for at, name in enumerate(("wave", "nod", "nod"))
    ]
    source = open_source(str(openpose(clips, tmp_path)))
    assert source.class_names == ("nod", "wave")
    read = [reading.clip for reading in readings(source)]
    assert [(clip.name, clip.label) for clip in read if clip] == [
        ("clip1", 0), ("clip2", 0), ("clip0", 1)
    ]  # fmt: skip


# ------------------------------------------------------------------------------ the table of labels


def test_columns_come_in_any_order_under_their_usual_names(tmp_path: Path) -> None:
    clips = [film("a", 17), film("b", 17, seed=1), film("c", 17, seed=2)]
    source = mmpose(clips, tmp_path)
    text = (
        "Subject;split:by day;Class;Video;split\n"
        "anna;train;waving;videos/a.mp4;train\nben;test;nodding;b.mp4;val\n;train;;c;\n"
    )
    reader = open_source(str(source), labels=table(tmp_path, text))
    assert reader.class_names == ("nodding", "waving")
    first, second, third = readings(reader)
    assert first.clip is not None and (first.clip.label, first.clip.performer) == (1, 1)
    assert second.clip is not None and (second.clip.label, second.clip.performer) == (0, 2)
    assert third.clip is None and third.counts == {"clips without a label left out": 1}
    assert reader.splits([first.clip, second.clip]) == {
        "by day": {"train": ["a"], "test": ["b"]},
        "default": {"train": ["a"], "test": ["b"]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "labels.csv: has no column 'file' in its heading"),
        ("a,b\nx,1\n", "has no column 'file'"),
        ("file,lable\na,1\n", "has no column 'label' in its heading; did you mean 'lable'"),
        ("file,label\n", "has no line below its heading"),
        ("file,label\na,1\na,2\n", "lines 2 and 3 both name 'a'"),
        ("file,label,width,height\na,1,x,5\n", "line 2 has 'x' for width"),
        (
            "file,label\nz.avi,1\n",
            "has no line for any clip: it names 'z.avi', and clips are called 'a'",
        ),
        ("file,label,split\na,1,train\n", "split 'default' has no _val or _test part"),
        ("file,label,split\na,1,someday\n", "line 2 has 'someday' for a split; write"),
    ],
)
def test_a_table_that_does_not_fit_is_a_mistake(tmp_path: Path, text: str, message: str) -> None:
    source = mmpose([film("a", 17)], tmp_path)
    with pytest.raises(UserError) as mistake:
        open_source(str(source), labels=table(tmp_path, text))
    assert message in str(mistake.value)


def test_clips_whose_labels_nobody_says_are_a_mistake(tmp_path: Path) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    with pytest.raises(UserError, match=r"nobody says the classes of its clips, such as 'a'; give"):
        open_source(str(source))


# ------------------------------------------------------------------------------ bad files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "isn't JSON"),
        (
            b'{"version": 1, "people": [{"pose_keypoints_2d": [1, 2]}]}',
            "x, y and a score",
        ),
        (
            b'{"version": 1, "people": [{"pose_keypoints_2d": [1, 2, 3]}]}',
            "where the others have 25",
        ),
        (b'{"version": 1, "people": 3}', "isn't OpenPose's"),
        (b'{"version": 1, "people": [{"pose_keypoints_2d": ["x"]}]}', "isn't OpenPose's"),
    ],
)
def test_one_bad_file_is_one_bad_clip(tmp_path: Path, text: bytes, message: str) -> None:
    clips = [film("good", 25), film("bad", 25, seed=1)]
    source = openpose(clips, tmp_path)
    sorted((source / "bad").iterdir())[7].write_bytes(text)
    done = prepare(opened(source, clips), tmp_path / "store")
    assert done.store.names == ("good",)
    (fault,) = done.faults
    assert "clip 'bad'" in fault and message in fault


def test_a_person_with_fewer_scores_than_joints_is_one_bad_clip(tmp_path: Path) -> None:
    clips = [film("good", 17), film("bad", 17, seed=1)]
    folder = ultralytics(clips, tmp_path)
    frames = json.loads((folder / "bad.json").read_text())
    frames[3][0]["keypoints"]["visible"].pop()
    (folder / "bad.json").write_text(json.dumps(frames))
    done = prepare(opened(folder, clips), tmp_path / "store")
    (fault,) = done.faults
    assert "clip 'bad' has scores (1, 16) for joints (1, 17)" in fault


def test_a_first_clip_of_another_skeleton_is_one_bad_clip(tmp_path: Path) -> None:
    clips = [film("a", 18), film("b", 25, seed=1), film("c", 25, seed=2)]
    done = prepare(opened(openpose(clips, tmp_path), clips), tmp_path / "store")
    assert done.store.layout.name == "body25" and done.store.names == ("b", "c")
    (fault,) = done.faults
    assert "clip 'a' has skeletons of 18 joints in 2 dimensions, where the others have 25" in fault


def test_nan_that_python_writes_is_a_joint_that_was_not_seen(tmp_path: Path) -> None:
    clip = film("wave", 25)
    clip.joints[4, 0, 3] = np.nan
    joints = only_clip(opened(openpose([clip], tmp_path), [clip]))
    assert not joints[4, 0, 3].any() and joints[5, 0, 3].any()


def test_skeletons_without_a_layout_are_named(tmp_path: Path) -> None:
    clips = [film("a", 13), film("b", 13)]
    with pytest.raises(UserError, match=r"have 13 joints in 2 dimensions, for which no layout"):
        opened(mmpose(clips, tmp_path), clips)
    with pytest.raises(UserError, match=r"have 17 joints in 2 dimensions, and layout halpe26"):
        open_source(str(ultralytics([film("a", 17)], tmp_path)), layout="halpe26")


# ------------------------------------------------------------------------------ the whole way


@pytest.mark.parametrize("name", FLAT_WRITERS)
def test_from_prepare_to_info_and_show(tmp_path: Path, name: str) -> None:
    write, V, layout, kind = FLAT_WRITERS[name]
    clips = [film(f"clip{at}", V, action=at % 2, seed=at) for at in range(4)]
    source = write(clips, tmp_path)
    options = ("--labels", labels(tmp_path, clips), "--image-size", "1280x720", "--name", "mine")
    done = lastkd("prepare", source, "--out", tmp_path / "store", *options)
    assert done.exit_code == 0, done.exception
    about = json.loads(lastkd("info", tmp_path / "store", "--json").output)
    assert (about["clips"], about["layout"], about["source"]) == (4, layout, kind)
    assert about["subjects"] == 4 and about["splits"] == {"default": {"train": 3, "test": 1}}
    shown = lastkd("show", tmp_path / "store", "clip2")
    assert shown.exit_code == 0 and "class 0 · clip2" in shown.output
    assert ClipStore.open(tmp_path / "store").name == "mine"


def test_keypoints_of_a_lifter_get_y_up(tmp_path: Path) -> None:
    clip = film("wave", 17)
    mmpose([clip], tmp_path)
    path = tmp_path / "mmpose" / "wave.json"
    content = json.loads(path.read_text())
    for frame in content["instance_info"]:
        for one in frame["instances"]:
            one["keypoints"] = [[x / 250, 0.5, -y / 250] for x, y in one["keypoints"]]
    path.write_text(json.dumps(content))
    source = opened(tmp_path / "mmpose", [clip])
    assert source.layout.name == "h36m17"
    np.testing.assert_allclose(
        only_clip(source)[:, 0, :, 1], -clip.joints[:, 0, :, 1] / 250, atol=1e-4
    )


# ------------------------------------------------------------------------------ MediaPipe's forms


@pytest.mark.parametrize("channels", [3, 4, 5])
def test_landmarks_may_lie_one_after_the_other(tmp_path: Path, channels: int) -> None:
    clip = film("wave", 33)
    source = mediapipe_npy([clip], tmp_path)
    (file,) = source.rglob("*.npy")
    rows = np.load(file)
    T = len(rows)
    whole = np.concatenate([rows.reshape(T, 33, -1), np.ones((T, 33, 2))], axis=2)
    np.save(file, whole[..., :channels].reshape(T, -1).astype(np.float32))
    found = opened(source, [clip])
    assert (found.kind, found.layout.name) == ("MediaPipe landmarks", "mediapipe33")
    np.testing.assert_allclose(only_clip(found)[:, 0], in_the_world(clip), atol=1e-5)


@pytest.mark.parametrize("write", [mediapipe_image, mediapipe_world])
def test_a_json_list_of_frames_is_read_as_json_lines_are(tmp_path: Path, write) -> None:
    clips = [film("wave", 33), film("nod", 33, seed=1)]
    clips[0].seen[0] = False
    source = write(clips, tmp_path)
    expected_joints = [one.clip.joints for one in readings(opened(source, clips)) if one.clip]
    for file in list(source.rglob("*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        file.with_suffix(".json").write_text(json.dumps(lines))
        file.unlink()
    found = opened(source, clips)
    assert found.kind == "MediaPipe landmarks"
    read = [one.clip.joints for one in readings(found) if one.clip]
    for ours, theirs in zip(read, expected_joints, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# ------------------------------------------------------------------------------ the table


def test_whole_numbers_of_a_spreadsheet_are_numbers(tmp_path: Path) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    text = "File Name,label,performer,split\na,0.0,7.0,train\nb,1.0,8.0,test\n"
    found = open_source(str(source), labels=table(tmp_path, text))
    assert found.class_names == ("class 0", "class 1")
    clips = {one.name: one.clip for one in readings(found) if one.clip}
    assert [clips[name].performer for name in "ab"] == [7, 8]


def test_lines_of_the_table_that_name_no_clip_are_said(tmp_path: Path) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    text = "file,label\nvideos/a.mp4,0\nbb,1\nc,1\n"
    found = open_source(str(source), labels=table(tmp_path, text))
    assert found.remarks == (
        f"{tmp_path / 'labels.csv'}: 2 of its lines name no clip, such as line 3 ('bb')",
    )
    asked = ("--labels", tmp_path / "labels.csv", "--out", tmp_path / "store")
    told = lastkd("prepare", source, *asked)
    assert found.remarks[0] in told.output


def test_a_split_that_is_no_part_is_named_with_its_line(tmp_path: Path) -> None:
    source = openpose([film("a", 25), film("b", 25)], tmp_path)
    text = "file,label,split\na,0,train\nb,1,held out\n"
    with pytest.raises(UserError, match=r"line 3 has 'held out' for a split; write train, val"):
        open_source(str(source), labels=table(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "content", "way_out"),
    [
        ("wave.mp4", b"\0\0\0\x18ftypmp42", "of which a pose estimator has yet to make skeletons"),
        ("wave.mat", b"MATLAB 5.0 MAT-file", "once scipy.io.loadmat has read them"),
    ],
)
def test_what_isnt_read_yet_is_sent_to_what_reads_it(
    tmp_path: Path, name: str, content: bytes, way_out: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(UserError, match=way_out):
            open_source(str(path))
