"""What a reader of one format offers, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

from lastkd.data.clip import Clip
from lastkd.data.layouts import Layout

Part = Literal["train", "test"]
Splits = Mapping[str, Mapping[Part, Sequence[str]]]
"""Split name (`xsub`, ...) -> `train` and `test` -> clip names."""


class Source(Protocol):
    """Clips of one origin, read one after the other.

    Attributes:
        kind: the format in words, as `lastkd info` shows it.
        layout: of every clip.
        class_names: by label.
        counts: filled while iterating, what was left out or chosen and how often
            (`{"missing skeletons left out": 302}`).
    """

    kind: str
    layout: Layout
    class_names: tuple[str, ...]
    counts: dict[str, int]

    def __len__(self) -> int:
        """How many samples will be visited, the ones left out included."""

    def __iter__(self) -> Iterator[Clip]:
        """Clips with their bodies chosen, in the source's own coordinates (not yet centred)."""

    def splits(self, clips: Sequence[Clip]) -> Splits:
        """The benchmark's splits of these clips (their `joints` may be empty)."""
