"""Preparing: in several processes, stopped and taken up again, in bounded memory."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from one_set import as_npz, as_pickle, as_zip

import lastkd.data.store.prepare as preparing
from lastkd.cli.app import cli
from lastkd.data.clip import Clip
from lastkd.data.formats.base import Reading, Source
from lastkd.data.ntu import NTU_60
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.store.writer import JOURNAL_FILE, part_folder
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.source import SyntheticSource
from lastkd.errors import UserError

SETTINGS = SyntheticSettings(subjects=2, clips_per_subject_and_action=1)
NAME = "S001C001P001R001A001"


def lastkd(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def content(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.iterdir()}


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "CHUNK", 4)


@pytest.fixture(scope="module")
def raw_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return as_zip(list(SyntheticSource(SETTINGS)), tmp_path_factory.mktemp("zip"))


@pytest.mark.usefixtures("small_chunks")
def test_the_store_does_not_depend_on_the_number_of_workers(tmp_path: Path, raw_zip: Path) -> None:
    for workers in (1, 3):
        prepare(open_source(str(raw_zip)), tmp_path / str(workers), workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "3")


class StoppedError(Exception):
    pass


class Counting(SyntheticSource):
    """Notes which samples are read."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.visited: list[int] = []

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        self.visited += range(start, stop)
        yield from super().read(start, stop)


def stop_at(count: int) -> object:
    def on_progress(done: int) -> None:
        if done >= count:
            raise StoppedError

    return on_progress


def begun(out: Path, at: int = 12, source: Source | None = None) -> None:
    with pytest.raises(StoppedError):
        prepare(source or SyntheticSource(SETTINGS), out, resumable=True, on_progress=stop_at(at))


@pytest.mark.usefixtures("small_chunks")
def test_a_second_start_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    prepare(SyntheticSource(SETTINGS), tmp_path / "straight")
    begun(tmp_path / "s")
    assert not (tmp_path / "s").exists()
    source = Counting()
    prepare(source, tmp_path / "s", resumable=True)
    assert source.visited == list(range(12, len(source)))
    assert content(tmp_path / "s") == content(tmp_path / "straight")
    assert not part_folder(tmp_path / "s").exists()


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("harm", ["torn journal", "short rows", "changed rows"])
def test_what_a_killed_process_left_half_done_is_done_again(tmp_path: Path, harm: str) -> None:
    prepare(SyntheticSource(SETTINGS), tmp_path / "straight")
    begun(tmp_path / "s")
    journal = part_folder(tmp_path / "s") / JOURNAL_FILE
    rows = part_folder(tmp_path / "s") / "clips.safetensors"
    if harm == "torn journal":
        journal.write_bytes(journal.read_bytes()[:-40])
    elif harm == "short rows":
        rows.write_bytes(rows.read_bytes()[:-40])
    else:
        data = bytearray(rows.read_bytes())
        data[-1000] ^= 1
        rows.write_bytes(data)
    source = Counting()
    prepare(source, tmp_path / "s", resumable=True)
    assert source.visited == list(range(8, len(source)))
    assert content(tmp_path / "s") == content(tmp_path / "straight")


@pytest.mark.usefixtures("small_chunks")
def test_what_was_begun_from_another_source_is_named_and_stays(tmp_path: Path) -> None:
    begun(tmp_path / "s")
    before = content(part_folder(tmp_path / "s"))
    other = SyntheticSource(SyntheticSettings(subjects=2, seed=1))
    with pytest.raises(UserError, match=r"s\.part: was begun from another source.*synthetic"):
        prepare(other, tmp_path / "s", resumable=True)
    assert content(part_folder(tmp_path / "s")) == before


def test_a_folder_that_is_in_the_way_is_not_touched(tmp_path: Path) -> None:
    part_folder(tmp_path / "s").mkdir()
    (part_folder(tmp_path / "s") / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="is in the way"):
        prepare(SyntheticSource(SETTINGS), tmp_path / "s", resumable=True)
    assert (part_folder(tmp_path / "s") / "mine.txt").read_text() == "precious"


@pytest.mark.usefixtures("small_chunks")
def test_two_at_once_do_not_write_one_store(tmp_path: Path) -> None:
    def second(done: int) -> None:
        if done:
            prepare(SyntheticSource(SETTINGS), tmp_path / "s", resumable=True)

    with pytest.raises(UserError, match="another process is writing it"):
        prepare(SyntheticSource(SETTINGS), tmp_path / "s", resumable=True, on_progress=second)


def gone(group: int) -> bool:
    """Whether the processes of a group end, within 10 seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_keeps_what_is_done_and_ends_every_process(tmp_path: Path) -> None:
    settings = SyntheticSettings(subjects=16, clips_per_subject_and_action=4)
    command = [sys.executable, "-m", "lastkd", "prepare", "synthetic", "--out", "s"]
    command += ["--subjects", "16", "--repetitions", "4", "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    journal = tmp_path / "s.part" / JOURNAL_FILE
    due = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
        assert process.poll() is None and time.monotonic() < due
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "s.part keeps them, and the same command goes on" in said
    assert "Traceback" not in said
    assert gone(process.pid)
    assert [file.name for file in tmp_path.iterdir()] == ["s.part"]
    assert len(SyntheticSource(settings)) == 1024


@pytest.mark.usefixtures("small_chunks")
def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    prepare(SyntheticSource(SETTINGS), tmp_path / "straight")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, usual[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written .*it goes on from \d+ samples"):
            prepare(SyntheticSource(SETTINGS), tmp_path / "s", resumable=True)
        assert not (tmp_path / "s").exists()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    source = Counting()
    prepare(source, tmp_path / "s", resumable=True)
    assert source.visited[0] > 0
    assert content(tmp_path / "s") == content(tmp_path / "straight")


# ------------------------------------------------------------------------------ bad files


def raw_folder(tmp_path: Path) -> Path:
    from lastkd.data.synthetic.skeleton_files import write_skeleton_files

    write_skeleton_files(list(SyntheticSource(SETTINGS))[:3], tmp_path / "raw")
    (tmp_path / "raw" / "S001C001P009R001A001.skeleton").write_text("no recording")
    (tmp_path / "raw" / "wave.skeleton").write_text("0\n")
    return tmp_path / "raw"


def test_bad_files_are_left_out_listed_and_counted(tmp_path: Path) -> None:
    result = lastkd("prepare", raw_folder(tmp_path), "--out", tmp_path / "s")
    assert result.exit_code == 0, result.output
    assert "bad samples left out: 2" in result.output
    assert "'no recording' for a frame count" in result.output
    assert "wave.skeleton has no NTU name" in result.output
    store = ClipStore.open(tmp_path / "s")
    assert len(store) == 3
    assert store.about()["left_out"]["bad samples left out"] == 2
    listed = lastkd("info", tmp_path / "s", "--details").output
    assert "S001C001P009R001A001: bad: " in listed and "wave: bad: " in listed


def test_strict_stops_at_a_bad_file_and_leaves_nothing(tmp_path: Path) -> None:
    source = raw_folder(tmp_path)
    result = lastkd("prepare", source, "--out", tmp_path / "s", "--strict")
    assert isinstance(result.exception, UserError)
    assert "S001C001P009R001A001.skeleton" in str(result.exception)
    assert list(tmp_path.iterdir()) == [source]


def test_a_source_of_bad_files_alone_says_why(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / f"{NAME}.skeleton").write_text("")
    with pytest.raises(UserError, match=r"holds no clip that can be used .*it is empty"):
        prepare(open_source(str(tmp_path / "raw")), tmp_path / "s")


# ------------------------------------------------------------------------------ what it tells


def test_how_bodies_were_chosen_is_counted_and_listed(tmp_path: Path) -> None:
    from test_formats_skeleton import bodies, skeleton_text, write

    frames = bodies(40, [11, 22, 33])
    for number, frame in enumerate(frames):
        for joints in frame.values():
            joints[1] = joints[2]  # one that is put far away there makes the body wide
        if number >= 20:
            del frame[22]
        if number < 20 or number > 30:
            del frame[33]  # seen for 11 frames: noise
    write(tmp_path / "raw" / f"{NAME}.skeleton", skeleton_text(frames))
    assert lastkd("prepare", tmp_path / "raw", "--out", tmp_path / "s").exit_code == 0
    about = json.loads(lastkd("info", tmp_path / "s", "--json").output)
    assert about["bodies"] == {"actor 1": 1, "actor 2": 1}
    assert about["left_out"] == {"bodies seen in 11 frames or fewer left out": 1}
    listed = lastkd("info", tmp_path / "s", "--details").output
    assert "33, 11 frames: bodies seen in 11 frames or fewer left out" in listed
    assert "11, 40 frames: actor" in listed


def test_an_incomplete_benchmark_is_told_by_its_numbers(tmp_path: Path, raw_zip: Path) -> None:
    output = lastkd("prepare", raw_zip, "--out", tmp_path / "s").output
    assert "NTU RGB+D 60 xsub: 32 training clips, not 40,091" in output
    about = ClipStore.open(tmp_path / "s").about()
    assert len(about["benchmark_differences"]) == 4
    assert NTU_60.sizes["xsub"] == (40_091, 16_487)


def test_the_benchmarks_sizes_add_up() -> None:
    from lastkd.data.ntu import DATASETS, SampleName, missing_samples

    published = {"xsub": 40_320, "xview": 37_920}
    missing = [name for text in missing_samples() if (name := SampleName.parse(text))]
    for split, whole in published.items():
        lost = sum(NTU_60.trains(split, name) for name in missing if NTU_60.has(name))
        assert NTU_60.sizes[split][0] == whole - lost
    for benchmark in DATASETS.values():
        assert {sum(sizes) for sizes in benchmark.sizes.values()} == {benchmark.used}


def test_info_draws_lengths_and_classes(store_path: Path) -> None:
    output = lastkd("info", store_path).output
    lines = output.split("\n")
    assert "frames" in lines and "clips of each class" in lines
    bars = lines[lines.index("frames") + 1 : lines.index("clips of each class") - 1]
    counts = [int(line.split()[1]) for line in bars]
    assert sum(counts) == len(ClipStore.open(store_path))
    longest = max(bars, key=lambda line: line.count("█"))
    assert int(longest.split()[1]) == max(counts)
    about = json.loads(lastkd("info", store_path, "--json").output)
    assert about["frames_histogram"]["clips"] == counts
    assert sum(about["clips_of_class"].values()) == about["clips"]


# ------------------------------------------------------------------------------ memory

PEAK = """
import resource, sys
from pathlib import Path
from lastkd.data.store.prepare import open_source, prepare
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small, large, out = sys.argv[1:]
prepare(open_source(small), Path(out) / "from-small")
before = peak()
prepare(open_source(large), Path(out) / "from-large")
print(peak() - before)
"""


@pytest.mark.parametrize("write", [as_pickle, as_npz])
def test_memory_does_not_grow_with_the_set(tmp_path: Path, write: object) -> None:
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(120, 2, 25, 3)).astype(np.float32)
    clips = [
        Clip(f"S001C001P{i // 90 + 1:03}R{i % 90 + 1:03}A001", 0, joints, i // 90 + 1)
        for i in range(1800)
    ]
    paths = {}
    for name, some in (("small", clips[::10]), ("large", clips)):
        (tmp_path / name).mkdir()
        paths[name] = (
            as_pickle(some, tmp_path / name, np.float32)
            if write is as_pickle
            else as_npz(some, tmp_path / name)
        )
    assert paths["large"].stat().st_size > 120e6
    command = [sys.executable, "-c", PEAK, *map(str, paths.values()), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 30, "MB more for 110 MB more of data"
