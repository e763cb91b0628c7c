"""The table of formats: each reader says what it recognises, and one more can come from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from one_set import as_last_arrays, as_npz, as_pickle, as_zip

from lastkd.cli.app import cli
from lastkd.data.clip import Clip
from lastkd.data.open_source import FORMATS, find_sources, format_of, help_lines, reader_of
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.source import SyntheticSource
from lastkd.errors import UserError
from lastkd.kaggle.inputs import skeleton_sources

READER = """
import json
from pathlib import Path

import numpy as np

from lastkd.data.clip import Clip
from lastkd.data.formats.base import Reading, Source, SourceOptions
from lastkd.data.layouts import get_layout


class Diary(Source):
    help = "a diary of poses (day.diary)"
    kind = "diary of poses"

    @classmethod
    def recognises(cls, path):
        return path.suffix == ".diary"

    @classmethod
    def open(cls, paths, options):
        return cls(paths[0], get_layout(options.layout or "sbu15"))

    def __init__(self, path, layout):
        self.path, self.layout = path, layout
        self.entries = json.loads(path.read_text())
        self.class_names = ("wave", "nod")
        self.counts = {}

    def __len__(self):
        return len(self.entries)

    def names(self):
        return [f"day {day}" for day in range(len(self))]

    def read(self, start, stop):
        for day in range(start, stop):
            joints = np.array(self.entries[day], np.float32)[:, None]
            yield Reading(f"day {day}", Clip(f"day {day}", day % 2, joints))

    def identity(self):
        return str(self.path.stat().st_size)

    def splits(self, clips):
        names = [clip.name for clip in clips]
        return {"days": {"train": names[:-1], "test": names[-1:]}}
"""


def lastkd(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A set in a format that lastkd doesn't know, beside the one file that reads it."""
    poses = np.random.default_rng(0).normal(size=(3, 12, 15, 3)).tolist()
    (tmp_path / "my_format.py").write_text(READER)
    (tmp_path / "may.diary").write_text(json.dumps(poses))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield Path("may.diary")
    reader_of.cache_clear()


def test_a_format_from_outside_is_one_file(diary: Path) -> None:
    done = lastkd("prepare", diary, "--format", "my_format:Diary", "--out", "store")
    assert done.exit_code == 0, done.output
    about = json.loads(lastkd("info", "store", "--json").output)
    assert (about["clips"], about["source"], about["layout"]) == (3, "diary of poses", "sbu15")
    assert about["splits"] == {"days": {"train": 2, "test": 1}}


def test_a_format_in_the_table_is_recognised_helped_and_found_on_kaggle(
    diary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "diary", "my_format:Diary")
    assert format_of(diary) == "diary"
    assert lastkd("prepare", diary, "--out", "store").exit_code == 0
    assert "a diary of poses (day.diary)" in lastkd("prepare", "--help").output
    assert skeleton_sources(Path("store").resolve().parent) == [diary.resolve()]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pyksl", "did you mean 'pyskl'"),
        ("nowhere:Reader", "there is no module 'nowhere'"),
        ("my_format:Nothing", "has no class 'Nothing'"),
        ("my_format:Path", "isn't a reader; derive it from"),
    ],
)
def test_a_format_that_does_not_exist_is_a_mistake(diary: Path, name: str, message: str) -> None:
    done = lastkd("prepare", diary, "--format", name, "--out", "store")
    assert isinstance(done.exception, UserError) and message in str(done.exception)


def test_a_source_of_no_known_format_is_answered_by_what_was_found(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.json").write_text('{"poses": [1, 2], "who": "me"}')
    (folder / "a" / "2.json").write_text("{}")
    (folder / "notes.txt").write_text("x")
    done = lastkd("prepare", folder, "--out", tmp_path / "s")
    assert "a folder with 2 .json, 1 .txt files, such as a/" in str(done.exception)
    done = lastkd("prepare", folder / "a" / "1.json", "--out", tmp_path / "s")
    assert "1.json: JSON: an object with poses, who; its format isn't known" in str(done.exception)
    assert "save each clip as an array of (frames, joints, channels)" in str(done.exception)


def test_a_prepared_store_is_not_prepared_again(store_path: Path, tmp_path: Path) -> None:
    done = lastkd("prepare", store_path, "--out", tmp_path / "s")
    assert "is a prepared store already; train with --data" in str(done.exception)


def test_every_format_has_a_line_of_help() -> None:
    lines = list(help_lines())
    assert len(lines) == len(FORMATS) and all(lines)


def test_sources_below_a_folder_are_of_one_format(tmp_path: Path) -> None:
    settings = SyntheticSettings(subjects=3, clips_per_subject_and_action=1)
    clips: list[Clip] = list(SyntheticSource(settings))[::16]
    assert find_sources(tmp_path) == []
    npz = as_npz(clips, tmp_path)
    assert find_sources(tmp_path) == [npz]
    pickled = as_pickle(clips, tmp_path)
    assert find_sources(tmp_path) == [pickled]
    pickled.unlink()
    (tmp_path / "deep").mkdir()
    zips = [as_zip(clips[:1], tmp_path / "deep", name=name) for name in ("a.zip", "b.zip")]
    for loose in tmp_path.glob("deep/*.files/*"):
        loose.unlink()
    assert find_sources(tmp_path) == zips
    assert find_sources(as_last_arrays(clips, tmp_path)) == [tmp_path / "xsub"]
