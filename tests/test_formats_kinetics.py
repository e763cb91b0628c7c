"""Kinetics-skeleton's JSON: a file a clip, its label inside or in a table beside the folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from estimator_files import SIZE, Filmed, film

from lastkd.data.formats.base import Reading, Source
from lastkd.data.open_source import open_source
from lastkd.errors import UserError

CLASSES = ("nodding", "waving")


def write(clips: Sequence[Filmed], folder: Path, *, first: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        label = int(clip.name[-1]) % 2
        data = [
            {
                "frame_index": frame + first,
                "skeleton": [
                    {
                        "pose": np.round(clip.joints[frame, person] / SIZE, 5).ravel().tolist(),
                        "score": clip.scores[frame, person].tolist(),
                    }
                    for person in np.flatnonzero(clip.seen[frame])
                ],
            }
            for frame in range(len(clip.joints))
        ]
        content = {"data": data, "label": CLASSES[label], "label_index": label}
        (folder / f"{clip.name}.json").write_text(json.dumps(content))
    return folder


def opened(folder: Path, **options: object) -> Source:
    return open_source(str(folder), image_size=SIZE, **options)  # type: ignore[arg-type]


def readings(source: Source) -> dict[str, Reading]:
    return {reading.name: reading for reading in source.read(0, len(source))}


def test_both_parts_are_read_with_their_labels(tmp_path: Path) -> None:
    clips = [film(f"v{at}", 18, people=1 + at % 2, seed=at) for at in range(4)]
    write(clips[:2], tmp_path / "kinetics_train")
    write(clips[2:], tmp_path / "kinetics_val", first=0)
    source = opened(tmp_path)
    assert (source.kind, source.layout.name) == ("Kinetics-skeleton JSON", "coco18")
    assert source.class_names == CLASSES
    read = readings(source)
    found = [read[clip.name].clip for clip in clips]
    for at, (clip, filmed) in enumerate(zip(found, clips, strict=True)):
        assert clip is not None and clip.label == at % 2
        np.testing.assert_allclose(clip.joints[..., :2], filmed.joints, atol=0.02)
    assert source.splits([clip for clip in found if clip is not None]) == {
        "kinetics": {"train": ["v0", "v1"], "test": ["v2", "v3"]}
    }


def test_the_table_beside_a_folder_goes_before_the_files(tmp_path: Path) -> None:
    folder = write([film("v0", 18), film("v1", 18, seed=1)], tmp_path / "kinetics_train")
    table = {
        "v0": {"has_skeleton": True, "label": "running", "label_index": 2},
        "v1": {"has_skeleton": True, "label": "unknown", "label_index": -1},
    }
    (tmp_path / "kinetics_train_label.json").write_text(json.dumps(table))
    for source in (opened(folder), opened(tmp_path)):
        assert source.class_names == ("class 0", "class 1", "running")
        read = readings(source)
        assert read["v0"].clip is not None and read["v0"].clip.label == 2
        assert read["v1"].counts == {"clips without a label left out": 1}


def test_without_its_image_shares_are_refused(tmp_path: Path) -> None:
    folder = write([film("v0", 18)], tmp_path / "kinetics_train")
    (bad,) = open_source(str(folder)).read(0, 1)
    assert "whose size isn't known; give --image-size" in str(bad.fault)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"data": {}, "label_index": 0}', "has no list of frames called data"),
        ('{"data": [{"frame_index": 1, "skeleton": [{"pose": [1]}]}], "label_index": 0}', "score"),
        ('{"label_index": 1, "data": [{"frame_index": 1, "skeleton"', "isn't JSON"),
    ],
)
def test_a_damaged_file_is_left_out_and_named(tmp_path: Path, text: str, words: str) -> None:
    folder = write([film("v0", 18)], tmp_path / "kinetics_train")
    (folder / "v1.json").write_text(text)
    bad = readings(opened(folder))["v1"]
    assert words in str(bad.fault) and "clip 'v1'" in str(bad.fault)


def test_one_number_for_two_classes_is_refused(tmp_path: Path) -> None:
    folder = write([film("v0", 18), film("v2", 18, seed=1)], tmp_path / "kinetics_train")
    (folder / "v2.json").write_text((folder / "v2.json").read_text().replace("nodding", "running"))
    with pytest.raises(UserError, match="label 0 is 'nodding' and, of clip 'v2', 'running'"):
        opened(folder)
