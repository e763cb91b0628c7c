"""A whole set in arrays, as people keep it for scripts of their own.

Either a folder of `.npy` files or one `.npz` or pickle, with `X` or `data`, `joints`, `skeletons`,
`keypoints`, `poses` for a part (`X_train`) or for the whole set, and beside it `y` or `labels`
`(N,)`, numbers from 0 or names, or one-hot `(N, K)`. `subjects` or `performers` `(N,)` may say who
it shows. The joints are one array `(N, ...)`, or a list or an object array of clips of any length.
Or clips by their names, in an `.npz`, a pickle or an `.npy` of objects (see `set_objects`).

Each clip is `(T, M, V, C)`, in another order of axes if it can't be mistaken, without bodies, or
`(T, M * V * C)`; zeros at its end are padding.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import IN_ORDER
from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.assemble import Sample, fault, reading_of_slots
from lastkd.data.formats.axes import (
    AxesError,
    arrange,
    common_order,
    fits,
    unsaid_layout,
    with_scores,
)
from lastkd.data.formats.base import Reading, Source, SourceOptions
from lastkd.data.formats.clip_files import BadClipError
from lastkd.data.formats.datasets.pickled import load_npy, load_pickle
from lastkd.data.formats.image_shares import Size, in_pixels
from lastkd.data.formats.npy import NpyStream, holds_objects
from lastkd.data.formats.own.set_objects import names_clips, parts_of_clips, parts_of_object
from lastkd.data.formats.own.set_parts import (
    SetPart,
    StackedClips,
    names_a_set,
    parts_of_files,
)
from lastkd.data.formats.tabled import TabledSource
from lastkd.data.layouts import Layout, get_layout
from lastkd.data.manifest import Manifest, manifest_of
from lastkd.data.splits import only_known, paired_splits
from lastkd.errors import UserError

_LARGEST_LABEL = 9_999
_LOOKED_AT = 8
"""Clips that tell the order of axes."""


class SetArrays(Source):
    """Clips of such a set without their labels; those without a name are `train-00000` and so on.

    Raises:
        UserError: on construction where an array is missing, damaged or of another form.
    """

    help = "arrays of a set of your own (X_train.npy, y_train.npy, ..., an npz or pickle of them)"
    kind = "arrays of a whole set"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.suffix == ".npy":
            return holds_objects(path)
        try:
            return (path.is_dir() or path.suffix == ".npz") and (
                names_a_set(path) or names_clips(path)
            )
        except Exception:  # whatever a damaged zip happens to say
            return False

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> Source:
        return cls.with_labels(paths[0], _parts(paths[0]), options)

    @classmethod
    def with_labels(
        cls, path: Path, parts: Mapping[str, SetPart], options: SourceOptions
    ) -> Source:
        """The clips with the labels, performers and splits that the parts say.

        Raises:
            UserError: as on construction, or nobody says the labels.
        """
        source = cls(path, parts, options)
        if options.labels is not None:
            return source  # the table goes before
        return TabledSource(source, source.own_table(), options)

    def __init__(self, path: Path, parts: Mapping[str, SetPart], options: SourceOptions) -> None:
        self._path = path
        self._options = options
        self.counts: dict[str, int] = {}
        self._parts = [part.clips for part in parts.values()]
        self._says = []
        for title, part in parts.items():
            for at, said in enumerate(part.says):
                self._says.append({"file": f"{title or 'clip'}-{at:05}"} | said)
        self._names = [said["file"] for said in self._says]
        if not self._names:
            raise UserError(f"{path}: holds no clip; give a set that has some")
        self._rows = options.labels.rows_of(self._names) if options.labels is not None else {}
        self.sequential = any(
            isinstance(clips, StackedClips) and isinstance(clips.rows, NpyStream)
            for clips in self._parts
        )
        self.layout = self._find_layout()
        self._order = common_order(self._first_clips(), self.layout)

    def own_table(self) -> Manifest:
        """What the set says of its clips, as if a table of labels said it.

        Raises:
            UserError: it says no labels, and they are needed, or one can't be any.
        """
        if self._options.labelled and not any("label" in said for said in self._says):
            raise UserError(
                f"{self._path}: nobody says the classes of its clips, such as {self._names[0]!r}; "
                "give a table by --labels labels.csv (file,label,performer,split), or save their "
                "labels beside them"
            )
        for said in self._says:
            label = said.get("label", "")
            if label.lstrip("-").isdecimal() and not -1 <= int(label) <= _LARGEST_LABEL:
                raise UserError(
                    f"{self._path}: has {label[:40]!r} for a label; give numbers from 0, or names"
                )
        digest = hashlib.sha256(repr(self._says).encode()).hexdigest()
        return manifest_of(self._path, list(enumerate(self._says, start=1)), digest)

    def _first_clips(self) -> Iterator[NDArray[Any]]:
        for clips in self._parts:
            for at in range(min(len(clips), _LOOKED_AT)):
                with contextlib.suppress(AxesError):
                    yield clips[at]

    def _first_problem(self) -> str:
        """What is wrong with the first clip, where none can be read."""
        try:
            return f"has shape {self._parts[0][0].shape}"
        except AxesError as error:
            return str(error)

    def _find_layout(self) -> Layout:
        shapes = {shape for clips in self._parts for shape in clips.shapes}
        shapes = shapes or {clip.shape for clip in self._first_clips()}
        clips = [np.broadcast_to(np.float32(0), shape) for shape in sorted(shapes)]
        if self._options.layout is None:
            raise unsaid_layout(str(self._path), lambda one: any(fits(clip, one) for clip in clips))
        layout = get_layout(self._options.layout)
        problems = []
        for clip in clips:
            try:
                arrange(clip, layout, usual=common_order(clips, layout))
            except AxesError as error:
                problems.append(str(error))
        # of many lengths, one may happen to be the number of joints
        if 2 * len(problems) >= len(clips):
            raise UserError(f"{self._path}: each clip {(*problems, self._first_problem())[0]}")
        return layout

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> Sequence[str]:
        return self._names

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        before = 0
        for clips in self._parts:
            for at in range(max(start - before, 0), min(stop - before, len(clips))):
                yield self._read(clips, at, self._names[before + at])
            before += len(clips)

    def _read(self, clips: Any, at: int, name: str) -> Reading:
        sample = Sample(name, 0, f"{self._path}: clip {name!r}", fps=self._options.fps or 0.0)
        try:
            joints = arrange(clips[at], self.layout, usual=self._order)
            places, scores = with_scores(joints, self.layout)
            if self.layout.dimensions == 2:
                places = in_pixels(places, self._size_of(name))
        except (AxesError, BadClipError) as error:
            return fault(sample, str(error))
        return reading_of_slots(
            sample,
            places,
            self.layout,
            scores=scores,
            rules=IN_ORDER,
            keep_bodies=self._options.keep_bodies,
        )

    def _size_of(self, name: str) -> Size | None:
        row = self._rows.get(name)
        return (row.size if row is not None else None) or self._options.image_size

    def identity(self) -> str:
        files = [self._path] if self._path.is_file() else sorted(self._path.glob("*.npy"))
        about = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return repr(about)

    def splits(self, clips: Sequence[Clip]) -> Splits:
        lists: dict[str, list[str]] = {}
        for said in self._says:
            if said.get("split:"):
                lists.setdefault(said["split:"], []).append(said["file"])
        paired = {} if self._options.replaces_splits else paired_splits(lists, str(self._path))
        return only_known(paired, (clip.name for clip in clips))


def _parts(path: Path) -> dict[str, SetPart]:
    """
    Raises:
        UserError: it isn't such a set, or a part of it is damaged.
    """
    if path.suffix in (".npy", ".pkl", ".pickle", ".p"):
        content = load_npy(path) if path.suffix == ".npy" else load_pickle(path, lazily=True)
        parts = parts_of_object(content, str(path))
        if parts is None:
            raise UserError(f"{path}: holds no list of clips; save them as a list by pickle.dump")
        return parts
    return parts_of_files(path) if names_a_set(path) else parts_of_clips(path)
