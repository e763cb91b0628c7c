"""NTU RGB+D's `.skeleton` texts, as the benchmark's authors publish them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lastkd.data.bodies import choose_bodies
from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.archives import (
    SUFFIX,
    Archive,
    BadSampleError,
    SkeletonFolder,
    SkeletonZip,
    digest,
    holds_skeletons,
)
from lastkd.data.formats.base import BAD, BODILESS, Reading, Source, SourceOptions
from lastkd.data.formats.skeleton_text import NUM_JOINTS, MalformedError, Recording, parse_skeleton
from lastkd.data.layouts import get_layout
from lastkd.data.ntu import DATASETS, Benchmark, SampleName, benchmark_of, missing_samples
from lastkd.errors import UserError

MISSING = "missing skeletons left out"
ELSEWHERE = "samples of another set left out"


class NtuSkeletons(Source):
    """Clips of the `.skeleton` texts of one or more places, sorted by name.

    Samples on the benchmark's list of missing skeletons are left out unread, clips without any body
    after reading; `counts` has both, and what the body choice dropped (see `choose_bodies`).

    Args:
        places: folders and zips; a sample may be in one of them alone.
        benchmark: whose splits and classes are meant; told by the names where it is left out.
            Samples that it doesn't have are left out and counted.

    Raises:
        UserError: on construction where no text has a name of the form `S001C001P001R001A001`, or
            two have one name.
    """

    help = "NTU's raw .skeleton files (a folder at any depth, or the published zips as they are)"
    takes_several = True
    unit = "files"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_dir():
            return any(not file.name.startswith(".") for file in path.rglob(f"*{SUFFIX}"))
        return path.is_file() and (path.suffix == SUFFIX or holds_skeletons(path))

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> NtuSkeletons:
        if options.layout not in (None, "ntu25"):
            raise UserError(
                f"{paths[0]}: .skeleton files are of layout ntu25, not {options.layout}"
            )
        benchmark = DATASETS[options.dataset] if options.dataset else None
        places = [
            SkeletonFolder(path) if path.is_dir() or path.suffix == SUFFIX else SkeletonZip(path)
            for path in paths
        ]
        return cls(places, benchmark)

    def __init__(self, places: Sequence[Archive], benchmark: Benchmark | None = None) -> None:
        self._places = list(places)
        found = sorted(
            (stem, where, number)
            for number, place in enumerate(places)
            for stem, where in place.texts()
        )
        self._samples = found
        names = [name for stem, _, _ in found if (name := SampleName.parse(stem)) is not None]
        if not names:
            raise UserError(
                f"{self._shown(0)} has no NTU name such as S001C001P001R001A001.skeleton; "
                "rename it or take it out"
            )
        for index in range(1, len(found)):
            if found[index][0] == found[index - 1][0]:
                raise UserError(
                    f"{self._shown(index - 1)} and {self._shown(index)} are the same sample; "
                    "keep one"
                )
        self.benchmark: Benchmark = benchmark or benchmark_of(names)
        zips = sum(isinstance(place, SkeletonZip) for place in places)
        inside = f" in {zips} zip{'s' * (zips > 1)}" if zips else ""
        self.kind = f"{self.benchmark.title} .skeleton files{inside}"
        self.layout = get_layout("ntu25")
        self.class_names = self.benchmark.class_names
        self.counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def names(self) -> Sequence[str]:
        return [stem for stem, _, _ in self._samples]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        missing = missing_samples()
        for index in range(start, stop):
            stem, where, number = self._samples[index]
            name = SampleName.parse(stem)
            if name is None:
                fault = (
                    f"{self._shown(index)} has no NTU name such as S001C001P001R001A001.skeleton; "
                    "rename it or take it out"
                )
                yield Reading(stem, counts={BAD: 1}, fault=fault)
            elif not self.benchmark.has(name):
                yield Reading(stem, counts={ELSEWHERE: 1})
            elif stem in missing:
                yield Reading(stem, counts={MISSING: 1})
            else:
                yield self._read(name, self._places[number], where, index)

    def _read(self, name: SampleName, place: Archive, where: str, index: int) -> Reading:
        stem = str(name)
        try:
            recording = parse_skeleton(place.read(where))
        except BadSampleError as error:
            return Reading(stem, counts={BAD: 1}, fault=str(error))
        except MalformedError as error:
            fault = f"{self._shown(index)}: {error}; fetch the file again or take it out"
            return Reading(stem, counts={BAD: 1}, fault=fault)
        chosen = choose_bodies(recording.tracks, recording.total_frames, NUM_JOINTS)
        if not len(chosen.joints):
            return Reading(stem, counts={BODILESS: 1}, fates=chosen.fates)
        clip = Clip(stem, name.label, chosen.joints, name.performer, name.camera, name.setup)
        return Reading(stem, clip, chosen.left_out, chosen.fates)

    def _shown(self, index: int) -> str:
        _, where, number = self._samples[index]
        place = self._places[number]
        return f"{place.path}: {where}" if isinstance(place, SkeletonZip) else where

    def identity(self) -> str:
        return digest(word for place in self._places for word in place.identity())

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return self.benchmark.split_clips(clips)


def read_skeleton(path: Path) -> Recording:
    """Reads one file.

    Raises:
        UserError: it can't be read, or it isn't of the form that `skeleton_text` describes.
    """
    try:
        return parse_skeleton(SkeletonFolder(path).read(str(path)))
    except BadSampleError as error:
        raise UserError(str(error)) from None
    except MalformedError as error:
        raise UserError(
            f"{path}: {error}; fetch the file again or take it out of the folder"
        ) from None
