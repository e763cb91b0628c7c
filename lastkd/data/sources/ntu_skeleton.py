"""A folder of NTU RGB+D `.skeleton` files, as the benchmark's authors publish them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lastkd.data.bodies import choose_bodies
from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.ntu import SampleName, benchmark_of, missing_samples
from lastkd.data.sources.base import Splits
from lastkd.data.sources.skeleton_text import NUM_JOINTS, MalformedError, Recording, parse_skeleton
from lastkd.errors import UserError

MISSING = "missing skeletons left out"
BODILESS = "clips without any body left out"


class NtuSkeletonFolder:
    """Clips of the `.skeleton` files at any depth of a folder, sorted by name.

    Samples on the benchmark's list of missing skeletons are left out unread, clips without any body
    after reading; `counts` has both, and what the body choice dropped (see `choose_bodies`). Hidden
    files are passed over: archives made on a Mac hold `._S001...` twins that are no skeletons.

    Raises:
        UserError: on construction where the folder isn't there, has no such file, a file's name is
            not of the form `S001C001P001R001A001`, or two files have one name; while iterating at
            the first file whose content is malformed.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder; give the one that holds the .skeleton files")
        files = [file for file in path.rglob("*.skeleton") if not file.name.startswith(".")]
        if not files:
            raise UserError(f"{path} has no .skeleton file at any depth; unpack the NTU zips there")
        self._samples: dict[str, tuple[SampleName, Path]] = {}
        for file in sorted(files, key=lambda file: (file.name, file)):
            name = SampleName.parse(file.stem)
            if name is None:
                raise UserError(
                    f"{file} has no NTU name such as S001C001P001R001A001.skeleton; "
                    "rename it or take it out of the folder"
                )
            if file.stem in self._samples:
                raise UserError(
                    f"{file} and {self._samples[file.stem][1]} are the same sample; keep one"
                )
            self._samples[file.stem] = name, file
        self._benchmark = benchmark_of(name for name, _ in self._samples.values())
        self.kind = f"{self._benchmark.title} .skeleton files"
        self.layout = get_layout("ntu25")
        self.class_names = self._benchmark.class_names
        self.counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Clip]:
        self.counts = {}
        missing = missing_samples()
        for stem, (name, file) in self._samples.items():
            if stem in missing:
                self._count(MISSING, 1)
                continue
            recording = read_skeleton(file)
            chosen = choose_bodies(recording.tracks, recording.total_frames, NUM_JOINTS)
            if not len(chosen.joints):
                self._count(BODILESS, 1)
                continue
            for reason, times in chosen.left_out.items():
                self._count(reason, times)
            yield Clip(stem, name.label, chosen.joints, name.performer, name.camera, name.setup)

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return self._benchmark.split_clips(clips)

    def _count(self, what: str, times: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + times


def read_skeleton(path: Path) -> Recording:
    """Reads one file.

    Raises:
        UserError: it can't be read, or it isn't of the form that `skeleton_text` describes.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); mend that first") from None
    try:
        return parse_skeleton(text)
    except MalformedError as error:
        raise UserError(
            f"{path}: {error}; fetch the file again or take it out of the folder"
        ) from None
