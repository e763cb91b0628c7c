"""What a reader of one format offers, whatever the format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from lastkd.data.bodies import BodyFate
from lastkd.data.clip import Clip, FloatArray, Splits
from lastkd.data.layouts import Layout
from lastkd.errors import UserError

if TYPE_CHECKING:
    from lastkd.data.manifest import Manifest
    from lastkd.data.ntu import Benchmark
    from lastkd.data.synthetic.settings import SyntheticSettings


BAD = "bad samples left out"
BODILESS = "clips without any body left out"
UNLABELLED = "clips without a label left out"


@dataclass(frozen=True)
class Reading:
    """The outcome of reading one sample: a clip, or the reason why there is none.

    Attributes:
        name: of the sample.
        clip: with its bodies chosen, in the source's own coordinates (not yet centred).
        counts: what was left out, of the clip or with it -> how often.
        fates: of the bodies that there were to choose from.
        fault: what is wrong with the sample, in a sentence that names the file.
    """

    name: str
    clip: Clip | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    fates: Sequence[BodyFate] = ()
    fault: str | None = None


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about a source beside its paths.

    Attributes:
        layout: the skeleton layout, by its name or YAML file; None where the format decides.
        dataset: `ntu60` or `ntu120`, where the names leave it open.
        keep_bodies: the slots of a clip's bodies mean something, such as left and right hand, and
            bodies stay in them.
        replaces_splits: the source's own splits aren't wanted, and their faults don't matter.
        labels: a table that says the labels, performers and splits of clips.
        image_size: width and height in pixels, where coordinates are shares of them.
        fps: frames per second, where neither the table nor the files say it.
        labelled: clips need labels; without, as for predictions, those unknown are 0.
        synthetic: size and difficulty of the synthetic set.
    """

    layout: str | Layout | None = None
    dataset: str | None = None
    keep_bodies: bool = False
    replaces_splits: bool = False
    labels: Manifest | None = None
    image_size: tuple[float, float] | None = None
    fps: float | None = None
    labelled: bool = True
    synthetic: SyntheticSettings | None = None

    def identity(self) -> str:
        """The options that decide what is read."""
        table = self.labels.digest if self.labels is not None else ""
        layout = self.layout.name if isinstance(self.layout, Layout) else self.layout
        return f"{layout} {self.dataset} {self.keep_bodies} {table} {self.image_size} {self.fps}"


def turned(joints: FloatArray, turn: FloatArray) -> FloatArray:
    """Joints `(..., C)` with their first D coordinates turned by `(D, D)`; zeros stay zeros."""
    out = joints.copy()
    out[..., : len(turn)] = joints[..., : len(turn)] @ turn + np.float32(0)  # no negative zero
    return out


class Source(ABC):
    """The samples of one source, by index; the base class of every format's reader.

    A new format is one subclass with `help`, `recognises` and `open` beside the abstract methods:
    it goes into the table of `lastkd.data.open_source`, or is named by
    `--format package.module:Reader`. Worker processes receive a copy by pickling.

    Attributes:
        help: one line for `lastkd prepare --help`: what a user gives.
        takes_several: whether paths of this format may be given together.
        reads_labels: it applies a table of labels itself, since its files say no labels.
        kind: the format in words, as `lastkd info` shows it.
        layout: of every clip.
        class_names: by label.
        counts: filled while iterating, what was left out or chosen and how often
            (`{"missing skeletons left out": 302}`).
        benchmark: whose samples these are, where the names or the file say so.
        unit: what its samples are, in words.
        knows_up: its coordinates have y up (in an image down) whatever they were in the files, so
            that the layout's `up` doesn't count.
        has_slots: the bodies of a clip lie in slots, which may mean something.
        sequential: a range is best read right after the one before it, in one process.
        fps: frames per second of the clips that don't say their own; 0 where nobody knows it.
        name: what people may call the set: by default the name of its file or folder.
        choices: the options that decide what is read, beside what `identity` says.
        remarks: what is odd about the source as a whole, a sentence each.
    """

    help: ClassVar[str] = ""
    takes_several: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False

    kind: str
    layout: Layout
    class_names: tuple[str, ...]
    counts: dict[str, int]
    benchmark: Benchmark | None = None
    unit: str = "clips"
    knows_up: ClassVar[bool] = False
    has_slots: bool = True
    sequential: bool = False
    fps: float = 0.0
    name: str = ""
    choices: str = ""
    remarks: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a path looks like this format, judged by its name and first bytes."""

    @classmethod
    @abstractmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> Source:
        """The reader for one path, or for several where the format takes them together.

        Raises:
            UserError: a file is damaged, or it doesn't fit the options.
        """

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples, including those that will be left out."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of all samples."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[Reading]:
        """The samples of a range in order, one reading each; a bad one has a `fault`."""

    def readings(self, start: int, stop: int) -> Iterator[Reading]:
        """As `read`, with y up; in an image y points down."""
        turn = None if self.knows_up else self.layout.turn
        for reading in self.read(start, stop):
            clip = reading.clip
            if clip is None or turn is None:
                yield reading
            else:
                yield replace(reading, clip=replace(clip, joints=turned(clip.joints, turn)))

    @abstractmethod
    def identity(self) -> str:
        """A string that changes when anything that would be read changes."""

    @abstractmethod
    def splits(self, clips: Sequence[Clip]) -> Splits:
        """The splits of these clips (their `joints` may be empty)."""

    def __iter__(self) -> Iterator[Clip]:
        """All clips; `counts` starts anew.

        Raises:
            UserError: at the first bad sample.
        """
        counts: Counter[str] = Counter()
        self.counts = counts
        for reading in self.readings(0, len(self)):
            if reading.fault is not None:
                raise UserError(reading.fault)
            counts.update(reading.counts)
            if reading.clip is not None:
                yield reading.clip
