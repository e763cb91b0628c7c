"""Tables of frames: a line a frame and a person, with headings that say what a column is."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from made_up_sets import lastkd

from lastkd.data.formats.base import Source
from lastkd.data.formats.own.joint_columns import joint_columns
from lastkd.data.layouts import get_layout
from lastkd.data.open_source import format_of, open_source
from lastkd.errors import UserError

COCO = get_layout("coco17")
T, V = 24, 17
CLIPS = ("a-1", "a-2", "b-1", "b-2")


def walk(seed: int) -> np.ndarray:
    """Joints `(T, V, 3)` in pixels with scores, of somebody who sways."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(100, 400, (V, 2)) + 20 * np.sin(np.arange(T) / 4)[:, None, None]
    scores = rng.uniform(0.5, 1, (T, V, 1))
    return np.concatenate([places, scores], axis=-1).round(3).astype(np.float32)


Heading = Callable[[str, int, str], str]
"""A column's heading, by the joint's name, its number and the channel (x, y or score)."""


def write(
    path: Path,
    heading: Heading = lambda name, _, channel: f"{name}_{channel}",
    *,
    clips: Sequence[str] = CLIPS,
    order: Sequence[tuple[int, int]] = tuple(itertools.product(range(V), range(3))),
    extra: Sequence[str] = ("video", "frame", "label", "subject"),
    delimiter: str = ",",
) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        channels = ("x", "y", "score")
        titles = [heading(COCO.joints[joint], joint, channels[at]) for joint, at in order]
        writer.writerow([*extra, *titles])
        for clip in clips:
            for frame, joints in enumerate(walk(CLIPS.index(clip))):
                said = {"video": f"{clip}.mp4", "frame": frame + 1, "label": clip[0]}
                said |= {"subject": int(clip[-1]), "split": ("train", "test")[clip[-1] == "2"]}
                said |= {"time": frame / 25, "angle": 3.5, "note": "a, b"}
                cells = [joints[joint, at] for joint, at in order]
                decimal = [
                    str(cell).replace(".", "," if delimiter == ";" else ".") for cell in cells
                ]
                writer.writerow([*(said[name] for name in extra), *decimal])
    return path


def check(source: Source, layout_joints: int = V) -> None:
    clips = {clip.name: clip for clip in source}
    assert len(clips) == len(CLIPS)
    for at, clip in enumerate(clips.values()):
        np.testing.assert_allclose(clip.joints[:, 0, :, :2], walk(at)[..., :2], atol=1e-3)
        np.testing.assert_allclose(clip.joints[:, 0, :, 2], walk(at)[..., 2], atol=1e-3)


HEADINGS: dict[str, Heading] = {
    "names": lambda name, _, channel: f"{name}_{channel}",
    "capitals": lambda name, _, channel: f"{name.upper()}.{channel.upper()}",
    "sides last, camel case": lambda name, _, channel: (
        "".join(word.capitalize() for word in reversed(name.split("_"))) + f"_{channel}"
    ),
    "numbers": lambda _, at, channel: f"{channel[0] if channel != 'score' else 'v'}{at}",
    "numbers with words": lambda _, at, channel: f"keypoint {at} {channel}",
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_joints_are_found_by_their_headings(tmp_path: Path, heading: str) -> None:
    path = write(tmp_path / "poses.csv", HEADINGS[heading])
    assert format_of(path) == "frame-table"
    source = open_source(str(path), layout="coco17")
    assert source.class_names == ("a", "b")
    check(source)
    assert [clip.performer for clip in source] == [1, 2, 1, 2]


def test_the_order_of_columns_is_that_of_their_headings(tmp_path: Path) -> None:
    by_channel = [(joint, at) for at in (2, 1, 0) for joint in range(V)]
    check(open_source(str(write(tmp_path / "a.csv", order=by_channel)), layout="coco17"))
    as_text = sorted(itertools.product(range(V), range(3)), key=lambda pair: str(pair[0]))
    numbered = write(tmp_path / "b.csv", HEADINGS["numbers"], order=as_text)
    check(open_source(str(numbered), layout="coco17"))
    shuffled = list(itertools.product(range(V), range(3)))
    np.random.default_rng(0).shuffle(shuffled)
    check(open_source(str(write(tmp_path / "c.csv", order=shuffled)), layout="coco17"))


def test_names_tell_the_layout_and_numbers_need_it_said(tmp_path: Path) -> None:
    assert open_source(str(write(tmp_path / "a.csv"))).layout.name == "coco17"
    path = write(tmp_path / "b.csv", HEADINGS["numbers"])
    with pytest.raises(UserError, match=r"nothing in its files says .* --layout coco17"):
        open_source(str(path))
    with pytest.raises(
        UserError, match=r"17 joints \(0, 1, 2, ...\) with x and y, and layout ntu25"
    ):
        open_source(str(path), layout="ntu25")


def test_a_layout_of_fewer_joints_takes_its_own_by_name(tmp_path: Path) -> None:
    layout = tmp_path / "arms.yaml"
    names = ["left_shoulder", "right_shoulder", "left_elbow", "right_elbow"]
    layout.write_text(
        f"name: arms\ndimensions: 2\njoints: [{', '.join(names)}]\n"
        "parents: [-1, 0, 0, 1]\ncentre: 0\norigin: [0]\n"
    )
    source = open_source(str(write(tmp_path / "a.csv")), layout=str(layout))
    (reading,) = source.read(0, 1)
    assert reading.clip is not None
    places = [COCO.joints.index(name) for name in names]
    np.testing.assert_allclose(reading.clip.joints[:, 0, :, :2], walk(0)[:, places, :2], atol=1e-3)


def test_what_else_a_table_says_goes_with_the_clips(tmp_path: Path) -> None:
    extra = ("note", "video", "time", "label", "angle", "split")
    source = open_source(str(write(tmp_path / "a.csv", extra=extra)))
    check(source)
    clips = list(source)
    assert {clip.fps for clip in clips} == {25.0}
    splits = source.splits(clips)["default"]
    assert (splits["train"], splits["test"]) == (["a-1", "b-1"], ["a-2", "b-2"])
    spaced = write(tmp_path / "b.tsv", extra=("video", "label"), delimiter="\t")
    check(open_source(str(spaced)))
    check(open_source(str(write(tmp_path / "c.csv", delimiter=";"))))  # and decimal commas


def test_tables_of_a_folder_are_parts_or_clips(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    write(parts / "train.csv", clips=("a-1", "b-1"))
    write(parts / "test.csv", clips=("a-2", "b-2"))
    source = open_source(str(parts))
    splits = source.splits(list(source))["default"]
    assert (sorted(splits["train"]), sorted(splits["test"])) == (
        ["a-1", "b-1"],
        ["a-2", "b-2"],
    )
    alone = tmp_path / "alone"
    alone.mkdir()
    for clip in CLIPS:
        write(alone / f"{clip}.csv", clips=(clip,), extra=("frame", "label"))
    source = open_source(str(alone))
    assert source.names() == list(CLIPS)
    check(source)


def test_equal_names_and_folders_are_kept_apart(tmp_path: Path) -> None:
    for clip in CLIPS:
        folder = tmp_path / clip[0]
        folder.mkdir(exist_ok=True)
        write(folder / f"{clip[-1]}.csv", clips=(clip,), extra=("frame", "label"))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "notes.csv").write_text("file,remark\na,none\n")
    source = open_source(str(tmp_path))
    assert source.names() == ["a/1", "a/2", "b/1", "b/2"]
    check(source)
    for name in ("morning", "noon"):
        write(tmp_path / f"{name}.csv", clips=("a-1",))
    assert source.names()[0] == "a/1"
    names = open_source(str(tmp_path)).names()
    assert {"morning/a-1", "noon/a-1"} <= set(names)


def test_a_table_of_labels_goes_before_what_the_frames_say(tmp_path: Path) -> None:
    write(tmp_path / "poses.csv", extra=("video", "frame", "label"))
    rows = [f"{clip}.mov,{'xy'[at % 2]}" for at, clip in enumerate(CLIPS)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *rows]))
    source = open_source(str(tmp_path), labels=table)
    assert [source.class_names[clip.label] for clip in source] == ["x", "y", "x", "y"]
    check(source)


def test_tables_that_name_joints_alone_have_their_labels_from_elsewhere(tmp_path: Path) -> None:
    for clip in CLIPS:
        path = tmp_path / "set" / ("train", "test")[clip[-1] == "2"] / clip[0] / f"{clip}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, clips=(clip,), extra=("frame",))
    source = open_source(str(tmp_path / "set"))
    assert source.class_names == ("a", "b")
    assert sorted(source.splits(list(source))["default"]["test"]) == ["a-2", "b-2"]
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "\n".join(f"{clip},{clip[-1]}" for clip in CLIPS))
    labelled = open_source(str(tmp_path / "set"), labels=table)
    assert {clip.name: clip.label for clip in labelled} == {"a-1": 1, "a-2": 2, "b-1": 1, "b-2": 2}


def test_a_line_may_hold_two_people(tmp_path: Path) -> None:
    heading = [
        f"p{person}_{joint}_{axis}" for person in "12" for joint in range(V) for axis in "xy"
    ]
    one, two = walk(0)[..., :2], 0.5 * walk(1)[..., :2] + [600, 0]
    two[:10] = 0  # comes later
    lines = [",".join(["label", "frame", *heading])]
    for frame in range(T):
        both = [*one[frame].ravel(), *two[frame].ravel()]
        lines.append(",".join(map(str, ["hug", frame, *both])))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (clip,) = open_source(str(tmp_path / "a.csv"), layout="coco17")
    np.testing.assert_allclose(clip.joints[:, 0, :, :2], one, rtol=1e-4)
    np.testing.assert_allclose(clip.joints[10:, 1, :, :2], two[10:], rtol=1e-4)
    assert not clip.joints[:10, 1].any()


def test_the_words_that_tell_two_people_apart_may_stand_within_the_names(tmp_path: Path) -> None:
    heading = [f"{name}_p{who}_{axis}" for name in COCO.joints for who in (1, 2) for axis in "xy"]
    one, two = walk(0)[..., :2], walk(1)[..., :2] + [600, 0]
    lines = [",".join(["label", "frame", *heading])]
    for frame in range(T):
        both = np.stack([one[frame], two[frame]], axis=1).ravel()  # joint by joint
        lines.append(",".join(map(str, ["hug", frame, *both])))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (clip,) = open_source(str(tmp_path / "a.csv"), layout="coco17")
    np.testing.assert_allclose(clip.joints[:, 0, :, :2], one, rtol=1e-4)
    np.testing.assert_allclose(clip.joints[:, 1, :, :2], two, rtol=1e-4)


def test_rotations_and_speeds_beside_the_places_are_no_second_person(tmp_path: Path) -> None:
    heading = [
        f"{name}.{what}.{axis}"
        for name in COCO.joints
        for what in ("position", "rotation", "velocity")
        for axis in "xy"
    ]
    places = walk(0)[..., :2]
    lines = [",".join(["label", "frame", *heading])]
    for frame in range(T):
        cells = np.concatenate([places[frame], np.full((V, 2), 7), np.ones((V, 2))], axis=1)
        lines.append(",".join(map(str, ["wave", frame, *cells.ravel()])))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (clip,) = open_source(str(tmp_path / "a.csv"), layout="coco17")
    np.testing.assert_allclose(clip.joints[:, 0, :, :2], places, rtol=1e-4)
    assert clip.joints.shape[1] == 1


def test_twice_the_joints_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    heading = [
        f"{chr(97 + at // 26)}{chr(97 + at % 26)}_{axis}" for at in range(2 * V) for axis in "xy"
    ]
    lines = [",".join(["label", *heading])] + [",".join(["a", *["1.5"] * 4 * V])] * 3
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="names 34 joints"):
        open_source(str(tmp_path / "a.csv"), layout="coco17")


@pytest.mark.parametrize(
    "words",
    [
        ("videoName", "frameNumber", "personId", "actionLabel"),
        ("Video Name", "Frame#", "PERSON ID", "Class Name"),
        ("videoname", "frameid", "trackid", "classid"),
    ],
)
def test_headings_are_known_however_they_are_spelled(
    tmp_path: Path, words: tuple[str, str, str, str]
) -> None:
    heading = [f"{name}_{axis}" for name in COCO.joints for axis in "xy"]
    one, two = walk(0)[..., :2], walk(1)[..., :2] + [600, 0]
    lines = [",".join([*words, *heading])]
    for clip in ("a", "b"):
        for frame in range(T):
            for who, joints in enumerate((one, two)):
                lines.append(",".join(map(str, [clip, frame, who, clip, *joints[frame].ravel()])))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    source = open_source(str(tmp_path / "a.csv"))
    assert [(clip.name, clip.label, clip.joints.shape[1]) for clip in source] == [
        ("a", 0, 2),
        ("b", 1, 2),
    ]


def test_frames_that_start_again_with_another_person_are_ambiguous(tmp_path: Path) -> None:
    heading = [f"{name}_{axis}" for name in COCO.joints for axis in "xy"]
    lines = [",".join(["label", "track_id", "frame", *heading])]
    for who in (1, 2):
        for frame in range(T):
            lines.append(",".join(map(str, ["a", who, frame, *walk(who)[frame, :, :2].ravel()])))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=rf"line {T + 2} has another person .* column 'clip'"):
        open_source(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6, 1e9])
def test_times_without_a_unit_have_that_of_steps_below_a_second(
    tmp_path: Path, unit: float
) -> None:
    heading = [f"{name}_{axis}" for name in COCO.joints for axis in "xy"]
    lines = [",".join(["label", "timestamp", *heading])]
    for frame in range(T):
        at = 1.7e9 * unit + frame * unit / 25
        lines.append(",".join(map(str, ["a", at, *walk(0)[frame, :, :2].ravel()])))
    (tmp_path / "a.csv").write_text("\n".join(lines))
    (clip,) = open_source(str(tmp_path / "a.csv"))
    assert clip.fps == pytest.approx(25, rel=1e-3)


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    path.write_bytes(path.read_text().replace(",a,", ",拍手,").encode("gbk"))
    with pytest.raises(UserError, match="isn't text in UTF-8; save the table as CSV in UTF-8"):
        open_source(str(path))


def test_lines_without_a_clip_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "poses.csv")
    lines = path.read_text().splitlines()
    lines.append("," + lines[-1].partition(",")[2])
    path.write_text("\n".join(lines))
    readings = list(open_source(str(path)).read(0, 5))
    assert [reading.fault is None for reading in readings] == [True] * 4 + [False]
    assert "has lines that name no clip" in str(readings[-1].fault)


def test_without_a_column_for_the_clip_one_begins_where_frames_or_labels_do(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "poses.csv", extra=("frame", "label"))))
    assert source.names() == [f"poses-{at:05}" for at in range(4)]
    check(source)
    labels = write(tmp_path / "stream.csv", extra=("label",))
    assert [len(clip.joints) for clip in open_source(str(labels))] == [2 * T, 2 * T]


def test_several_people_share_a_frame(tmp_path: Path) -> None:
    heading = [f"{name}_{channel}" for name in COCO.joints for channel in "xy"]
    one, two = walk(0)[..., :2], walk(1)[..., :2] + [600, 0]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "label", "frame", "person_id", *heading])
        for frame in range(T):
            for person, joints in (("x7", one), ("x3", two))[:: (-1) ** frame]:
                writer.writerow(["c", "hug", frame, person, *joints[frame].ravel()])
    (clip,) = open_source(str(tmp_path / "a.csv"))
    assert clip.joints.shape[1] == 2
    found = sorted(clip.joints[0, :, :, 0].mean(axis=1))
    np.testing.assert_allclose(found, [one[0, :, 0].mean(), two[0, :, 0].mean()], rtol=1e-4)


def test_shares_of_an_image_need_its_size(tmp_path: Path) -> None:
    heading = [f"{name}_{channel}" for name in COCO.joints for channel in "xy"]
    shares = np.random.default_rng(0).uniform(0.1, 0.9, (T, V * 2))
    shares[3, 0] = -0.02  # guessed outside
    for name, more in (("a", {}), ("b", {"width": 640, "height": 480})):
        lines = [",".join(["label", "frame", *more, *heading])]
        for frame, row in enumerate(shares):
            lines.append(",".join(map(str, ["wave", frame, *more.values(), *row])))
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    (reading,) = open_source(str(tmp_path / "a.csv")).read(0, 1)
    assert "give --image-size" in str(reading.fault)
    (clip,) = open_source(str(tmp_path / "b.csv"))
    np.testing.assert_allclose(
        clip.joints[5, 0, :, :2].ravel(), shares[5] * ([640, 480] * V), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("line", "cell", "message"),
    [
        (5, (2, "b"), "changes its label"),
        (5, (1, "2.5"), "has a frame that is no whole number"),
        (5, (4, "far left"), "has 'far left"),
    ],
)
def test_a_bad_line_is_a_bad_clip(
    tmp_path: Path, line: int, cell: tuple[int, str], message: str
) -> None:
    path = write(tmp_path / "a.csv")
    rows = [text.split(",") for text in path.read_text().splitlines()]
    rows[line][cell[0]] = cell[1]
    path.write_text("\n".join(",".join(row) for row in rows))
    readings = list(open_source(str(path)).read(0, 4))
    assert message in str(readings[0].fault)
    assert all(reading.clip is not None for reading in readings[1:])


def test_a_table_is_prepared_and_predicted_like_any_other_source(tmp_path: Path) -> None:
    path = write(tmp_path / "poses.csv")
    done = lastkd("prepare", str(path), "--out", str(tmp_path / "s"), "--split-by", "performer")
    assert done.exit_code == 0, done.output
    assert "table of frames, layout coco17, 4 clips" in done.output


def test_headings_that_name_no_joints_are_none() -> None:
    assert not joint_columns(["frame", "label", "angle", "bbox_x", "bbox_y", "j0", "class"]).joints


# --- a line for each joint ------------------------------------------------------------------------


def write_long(
    path: Path,
    *,
    by_joint: bool = False,
    numbered: bool = False,
    people: Sequence[str] = ("",),
    clips: Sequence[str] = CLIPS,
    without: Sequence[int] = (),
) -> Path:
    """Rows of one joint; those numbered in `without` are left out."""
    rows = []
    for clip in clips:
        joints = walk(CLIPS.index(clip))
        for frame, joint, person in itertools.product(range(T), range(V), people):
            name = joint if numbered else COCO.joints[joint]
            place = joints[frame, joint] + [300 * (person == "b"), 0, 0]
            rows.append([clip, frame, name, *place, person, clip[0]])
    rows = [row for at, row in enumerate(rows) if at not in without]
    if by_joint:
        rows.sort(key=lambda row: (row[0], str(row[2])))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "frame", "joint", "x", "y", "score", "person_id", "label"])
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("by_joint", [False, True])
@pytest.mark.parametrize("numbered", [False, True])
def test_lines_of_a_joint_each_are_put_together(
    tmp_path: Path, by_joint: bool, numbered: bool
) -> None:
    path = write_long(tmp_path / "long.csv", by_joint=by_joint, numbered=numbered)
    assert format_of(path) == "frame-table"
    source = open_source(str(path), layout="coco17" if numbered else None)
    assert source.layout.name == "coco17"
    check(source)


def test_a_joint_that_has_no_line_wasnt_seen(tmp_path: Path) -> None:
    path = write_long(tmp_path / "long.csv", without=[V + 9])
    first, *_ = open_source(str(path))
    whole = walk(0)
    assert first.joints[1, 0, 9, 2] == 0  # no score: filled in between its neighbours in time
    np.testing.assert_allclose(first.joints[1, 0, 8, :2], whole[1, 8, :2], atol=1e-3)


def test_several_people_have_lines_of_their_own(tmp_path: Path) -> None:
    path = write_long(tmp_path / "long.csv", people=("a", "b"), clips=("a-1", "b-1"))
    first, *_ = open_source(str(path))
    assert first.joints.shape == (T, 2, V, 3)
    between = np.abs(first.joints[:, 0, :, 0] - first.joints[:, 1, :, 0])
    np.testing.assert_allclose(between, 300, atol=1e-2)


def test_one_joint_twice_in_a_frame_is_refused(tmp_path: Path) -> None:
    path = write_long(tmp_path / "long.csv", people=("", " "))
    reading = next(iter(open_source(str(path)).read(0, 1)))
    assert "has the joint 'nose' twice in a frame; add a column person_id" in str(reading.fault)


def test_joints_or_clips_that_start_again_are_not_guessed(tmp_path: Path) -> None:
    path = write_long(tmp_path / "long.csv", clips=("a-1", "a-2"))
    text = path.read_text().replace("clip,", "note,")
    path.write_text(text)
    with pytest.raises(
        UserError, match=r"perhaps of the next clip; give the table a column 'clip'"
    ):
        open_source(str(path))


# --- headings of several lines, endings in capitals -----------------------------------------------


def test_deeplabcuts_tables_are_read(tmp_path: Path) -> None:
    for clip in CLIPS:
        (tmp_path / clip[0]).mkdir(exist_ok=True)
        lines = ["scorer" + ",net" * 3 * V]
        lines.append("bodyparts," + ",".join(name for name in COCO.joints for _ in range(3)))
        lines.append("coords" + ",x,y,likelihood" * V)
        for frame, joints in enumerate(walk(CLIPS.index(clip))):
            lines.append(f"{frame}," + ",".join(map(str, joints.ravel())))
        (tmp_path / clip[0] / f"{clip}DLC.csv").write_text("\n".join(lines))
    source = open_source(str(tmp_path))
    assert source.layout.name == "coco17" and source.class_names == ("a", "b")
    check(source)


def test_an_ending_in_capitals_is_the_same_ending(tmp_path: Path) -> None:
    write(tmp_path / "POSES.CSV")
    check(open_source(str(tmp_path)))
    check(open_source(str(tmp_path / "POSES.CSV")))


def test_a_table_in_utf_16_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "poses.csv")
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(UserError, match="text in UTF-16, which has yet to be saved in UTF-8"):
        open_source(str(path))


def test_a_flat_layout_says_that_z_is_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "poses.csv", lambda name, _, axis: f"{name}_{axis.replace('score', 'z')}"
    )
    (remark,) = open_source(str(path), layout="coco17").remarks
    assert "its z is left out, as layout coco17 is flat" in remark
