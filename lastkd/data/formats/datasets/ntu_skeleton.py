"""NTU RGB+D's `.skeleton` texts, as the benchmark's authors publish them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from lastkd.data.bodies import KINECT
from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.archives import (
    SUFFIX,
    Archive,
    BadSampleError,
    SkeletonFolder,
    SkeletonZip,
    digest,
    holds_skeletons,
    is_skeleton,
)
from lastkd.data.formats.assemble import Sample, fault, reading_of_tracks
from lastkd.data.formats.base import BAD, UNLABELLED, Reading, Source, SourceOptions
from lastkd.data.formats.datasets.skeleton_arrays import parse_skeleton_arrays
from lastkd.data.formats.datasets.skeleton_text import (
    NUM_JOINTS,
    MalformedError,
    Recording,
    parse_skeleton,
)
from lastkd.data.formats.npy import NPY
from lastkd.data.layouts import Layout, get_layout, layout_hint
from lastkd.data.manifest import Manifest
from lastkd.data.ntu import (
    DATASETS,
    KINECT_FPS,
    Benchmark,
    SampleName,
    benchmark_of,
    missing_samples,
)
from lastkd.data.splits import paired_splits
from lastkd.errors import UserError

MISSING = "missing skeletons left out"
ELSEWHERE = "samples of another set left out"
_LOOKED_AT = 5
"""Texts that decide on the layout."""
_LAYOUTS = {25: "ntu25", 20: "kinect20", 32: "azure32"}
"""By the number of joints of a text."""


class NtuSkeletons(Source):
    """Clips of the `.skeleton` texts of one or more places, sorted by name.

    Samples on the benchmark's list of missing skeletons are left out unread, clips without any body
    after reading; `counts` has both, and what the body choice dropped (see `choose_bodies`).

    Args:
        places: folders and zips; a sample may be in one of them alone.
        benchmark: decides splits and classes; by default the one that the names belong to. Samples
            that it doesn't have are left out and counted.
        layout: of the texts; by default the one of the first text's number of joints.
        labels: a table of the texts, whose names then needn't be NTU's.

    Raises:
        UserError: on construction where no text has a name of the form `S001C001P001R001A001` or is
            in the table, or two have one name.
    """

    help = (
        "NTU's raw .skeleton or .skeleton.npy files (a folder, or the published zips as they are)"
    )
    takes_several = True
    reads_labels = True
    unit = "files"
    fps = KINECT_FPS
    has_slots = False

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return any(is_skeleton(file.name) for file in path.rglob(f"*{SUFFIX}*"))
        return path.is_file() and (is_skeleton(path.name) or holds_skeletons(path))

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> NtuSkeletons:
        benchmark = DATASETS[options.dataset] if options.dataset else None
        places = [
            SkeletonFolder(path) if path.is_dir() or is_skeleton(path.name) else SkeletonZip(path)
            for path in paths
        ]
        return cls(
            places,
            benchmark,
            layout=options.layout,
            labels=options.labels,
            labelled=options.labelled,
        )

    def __init__(
        self,
        places: Sequence[Archive],
        benchmark: Benchmark | None = None,
        *,
        layout: str | Layout | None = None,
        labels: Manifest | None = None,
        labelled: bool = True,
    ) -> None:
        self._places = list(places)
        self._labels = labels
        self._labelled = labelled
        found = sorted(
            (stem, where, number)
            for number, place in enumerate(places)
            for stem, where in place.texts()
        )
        self._samples = found
        for index in range(1, len(found)):
            if found[index][0] == found[index - 1][0]:
                raise UserError(
                    f"{self._shown(index - 1)} and {self._shown(index)} are the same sample; "
                    "keep one"
                )
        self.counts: dict[str, int] = {}
        self.layout = self._find_layout(layout)
        zips = sum(isinstance(place, SkeletonZip) for place in places)
        inside = f" in {zips} zip{'s' * (zips > 1)}" if zips else ""
        names = [name for stem, _, _ in found if (name := SampleName.parse(stem)) is not None]
        self.benchmark: Benchmark | None = None
        if labels is not None:
            self._rows = labels.rows_of([stem for stem, _, _ in found])
            self.remarks = labels.remarks(self._rows)
            self.kind = f".skeleton files{inside}"
            self.class_names = labels.class_names
        elif names:
            self.benchmark = benchmark or benchmark_of(names)
            self.kind = f"{self.benchmark.title} .skeleton files{inside}"
            self.class_names = self.benchmark.class_names
        elif labelled:
            raise UserError(
                f"{self._shown(0)} has no NTU name such as S001C001P001R001A001.skeleton; rename "
                "it, take it out, or give a table of all by --labels"
            )
        else:
            self.kind = f".skeleton files{inside}"
            self.class_names = ("",)

    def _find_layout(self, asked: str | Layout | None) -> Layout:
        """The layout that was asked for, or that of most of the first texts with a body."""
        found: Counter[int] = Counter()
        for _, where, number in self._samples[:_LOOKED_AT]:
            try:
                recording = _recording(self._places[number].read(where))
            except (BadSampleError, MalformedError):
                continue
            if recording.tracks:
                found[recording.num_joints] += 1
        count = found.most_common(1)[0][0] if found else NUM_JOINTS
        layout = get_layout(asked or _LAYOUTS[count])
        if layout.num_joints != count:
            raise UserError(
                f"{self._shown(0)}: has {count} joints, and layout {layout.name} has "
                f"{layout.num_joints}; {layout_hint(count, 3, asked)}"
            )
        return layout

    def __len__(self) -> int:
        return len(self._samples)

    def names(self) -> Sequence[str]:
        return [stem for stem, _, _ in self._samples]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for index in range(start, stop):
            sample = self._sample(index)
            yield self._read(sample, index) if isinstance(sample, Sample) else sample

    def _sample(self, index: int) -> Sample | Reading:
        """What is known of a text before it is read, or why it won't be."""
        stem, _, _ = self._samples[index]
        where = self._shown(index)
        if self._labels is not None:
            row = self._rows[stem]
            if row is None or row.label is None:
                return Reading(stem, counts={UNLABELLED: 1})
            who = (row.performer, row.camera, row.setup)
            return Sample(stem, row.label, where, *who, row.fps or 0.0)
        name = SampleName.parse(stem)
        if not self._labelled:
            return Sample(stem, name.label if name is not None else 0, where)
        if name is None or self.benchmark is None:
            problem = (
                f"{where} has no NTU name such as S001C001P001R001A001.skeleton; rename it or take "
                "it out"
            )
            return Reading(stem, counts={BAD: 1}, fault=problem)
        elsewhere = not self.benchmark.has(name)
        if elsewhere or stem in missing_samples():
            return Reading(stem, counts={ELSEWHERE if elsewhere else MISSING: 1})
        return Sample(stem, name.label, where, name.performer, name.camera, name.setup)

    def _read(self, sample: Sample, index: int) -> Reading:
        _, where, number = self._samples[index]
        try:
            recording = _recording(self._places[number].read(where))
        except BadSampleError as error:
            return Reading(sample.name, counts={BAD: 1}, fault=str(error))
        except MalformedError as error:
            problem = f"{sample.where}: {error}; fetch the file again or take it out"
            return Reading(sample.name, counts={BAD: 1}, fault=problem)
        if recording.tracks and recording.num_joints != self.layout.num_joints:
            return fault(sample, f"has {recording.num_joints} joints, not {self.layout.num_joints}")
        return reading_of_tracks(
            sample, recording.tracks, recording.total_frames, self.layout, rules=KINECT
        )

    def _shown(self, index: int) -> str:
        _, where, number = self._samples[index]
        place = self._places[number]
        return f"{place.path}: {where}" if isinstance(place, SkeletonZip) else where

    def identity(self) -> str:
        return digest(word for place in self._places for word in place.identity())

    def splits(self, clips: Sequence[Clip]) -> Splits:
        if self.benchmark is not None:
            return self.benchmark.split_clips(clips)
        if self._labels is None:
            return {}
        names = [clip.name for clip in clips]
        return paired_splits(self._labels.lists(names), str(self._labels.path))


def _recording(content: bytes) -> Recording:
    """The bodies of a text, or of the arrays made of it.

    Raises:
        MalformedError: it is neither.
    """
    if content.startswith(NPY):
        return parse_skeleton_arrays(content)
    return parse_skeleton(content)


def read_skeleton(path: Path) -> Recording:
    """Reads one file.

    Raises:
        UserError: it can't be read, or it isn't of the form that `skeleton_text` describes.
    """
    try:
        return _recording(SkeletonFolder(path).read(str(path)))
    except BadSampleError as error:
        raise UserError(str(error)) from None
    except MalformedError as error:
        raise UserError(
            f"{path}: {error}; fetch the file again or take it out of the folder"
        ) from None
