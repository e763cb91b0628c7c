"""What a reader of one format offers, whatever the format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lastkd.data.bodies import BodyFate
from lastkd.data.clip import Clip, Splits
from lastkd.data.layouts import Layout
from lastkd.errors import UserError

if TYPE_CHECKING:
    from lastkd.data.ntu import Benchmark


BAD = "bad samples left out"
BODILESS = "clips without any body left out"


@dataclass(frozen=True)
class Reading:
    """What came of one sample: a clip, or the reason why there is none.

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


class Source(ABC):
    """Samples of one origin, by their index. Other processes get a copy by pickling.

    Attributes:
        kind: the format in words, as `lastkd info` shows it.
        layout: of every clip.
        class_names: by label.
        counts: filled while iterating, what was left out or chosen and how often
            (`{"missing skeletons left out": 302}`).
        benchmark: whose samples these are, where the names or the file tell it.
        unit: what its samples are, in words.
        sequential: a range is best read after the one before it, in one process.
    """

    kind: str
    layout: Layout
    class_names: tuple[str, ...]
    counts: dict[str, int]
    benchmark: Benchmark | None = None
    unit: str = "clips"
    sequential: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are, the ones left out included."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Of all samples."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Iterator[Reading]:
        """The samples of a range, one reading each, in order; a bad one is a `fault`."""

    @abstractmethod
    def identity(self) -> str:
        """A word that differs where anything else would be read."""

    @abstractmethod
    def splits(self, clips: Sequence[Clip]) -> Splits:
        """The benchmark's splits of these clips (their `joints` may be empty)."""

    def __iter__(self) -> Iterator[Clip]:
        """All clips; `counts` starts anew.

        Raises:
            UserError: at the first bad sample.
        """
        counts: Counter[str] = Counter()
        self.counts = counts
        for reading in self.read(0, len(self)):
            if reading.fault is not None:
                raise UserError(reading.fault)
            counts.update(reading.counts)
            if reading.clip is not None:
                yield reading.clip
