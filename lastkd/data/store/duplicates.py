"""Clips that equal one another in every number, whatever they are called."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from lastkd.data.clip import FloatArray, Part
from lastkd.data.store.clip_store import Duplicates
from lastkd.data.store.packing import ClipRow, Packed, keep_clips

EQUAL = "clips that equal an earlier one left out"


class ContentIndex:
    """The clips of a store by their content."""

    def __init__(self) -> None:
        self._first_of: dict[bytes, int] = {}  # content -> the first clip that has it
        self._first: dict[int, int] = {}  # later clip -> the first one of its content
        self._names: dict[str, int] = {}
        self._clips: list[ClipRow] = []

    def add(self, clip: ClipRow, rows: FloatArray) -> None:
        """Takes the next clip, with its body-frames `(R, V, 3)`."""
        index = len(self._clips)
        self._names[clip.name] = index
        self._clips.append(clip)
        first = self._first_of.setdefault(_content(clip, rows), index)
        if first != index:
            self._first[index] = first

    @property
    def equal_clips(self) -> int:
        """How many clips equal an earlier one."""
        return len(self._first)

    def without_known(self, packed: Packed) -> Packed:
        """What was packed, without the clips that equal one taken before or earlier in it."""
        here: dict[bytes, str] = {}  # content -> the clip of `packed` that has it
        kept: list[int] = []
        details = list(packed.details)
        start = 0
        for at, clip in enumerate(packed.clips):
            stop = start + clip.frames * clip.bodies
            content = _content(clip, packed.rows[start:stop])
            first = self._first_of.get(content)
            equal = here.get(content) if first is None else self._clips[first].name
            if equal is not None:
                details.append({"clip": clip.name, "left_out": [f"{EQUAL} ({equal})"]})
            else:
                here[content] = clip.name
                kept.append(at)
            start = stop
        if len(kept) == len(packed.clips):
            return packed
        counts = packed.counts + Counter({EQUAL: len(packed.clips) - len(kept)})
        return keep_clips(packed, kept, counts=counts, details=details)

    def leaks(
        self, parts: Mapping[Part, Sequence[str]], class_names: Sequence[str]
    ) -> Duplicates | None:
        """The test clips of a split that equal a training clip; None where none does."""
        if not self._first:
            return None
        train: dict[int, str] = {}
        for name in parts["train"]:
            if name in self._names:
                train.setdefault(self._content_of(name), name)
        same = [
            name
            for name in parts["test"]
            if name in self._names and self._content_of(name) in train
        ]
        if not same:
            return None
        labels = Counter(class_names[self._clips[self._names[name]].label] for name in same)
        example = (same[0], train[self._content_of(same[0])])
        return Duplicates(clips=len(same), of_class=dict(labels), example=example)

    def _content_of(self, name: str) -> int:
        """The first clip that has the content of this one."""
        index = self._names[name]
        return self._first.get(index, index)


def _content(clip: ClipRow, rows: FloatArray) -> bytes:
    """A clip's content in a few bytes: equal for clips that are equal in every number."""
    shape = f"{clip.frames} {clip.bodies}".encode()
    return hashlib.blake2b(np.ascontiguousarray(rows).data, digest_size=16, key=shape).digest()
