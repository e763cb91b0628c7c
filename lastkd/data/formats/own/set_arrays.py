"""A whole set in arrays, as people keep it for scripts of their own: `X_train`, `y_train`, ...

Either a folder of `.npy` files or one `.npz`, with `X` or `data`, `joints`, `skeletons`,
`keypoints`, `poses` `(N, ...)` for a part or for the whole set, and beside it `y` or `labels`
`(N,)`, numbers from 0 or names, or one-hot `(N, K)`. Each clip is `(T, M, V, C)`, in another order
of axes if it can't be mistaken, without bodies, or `(T, M * V * C)`, zero padded. `subjects` or
`performers` `(N,)` may say who it shows.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.bodies import IN_ORDER
from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.assemble import Sample, fault, reading_of_slots
from lastkd.data.formats.axes import AxesError, arrange, fits, unsaid_layout, with_scores
from lastkd.data.formats.base import UNLABELLED, Reading, Source, SourceOptions
from lastkd.data.formats.clip_files import BadClipError
from lastkd.data.formats.image_shares import in_pixels
from lastkd.data.formats.npy import (
    NUMBERS,
    NUMBERS_OR_TEXT,
    NpyRows,
    NpyStream,
    open_member,
    open_npy,
)
from lastkd.data.layouts import Layout, get_layout
from lastkd.data.splits import only_known, paired_splits
from lastkd.errors import UserError

_PART = "train|training|val|valid|validation|test"
_WHAT = {
    "joints": "x|data|joints?|skeletons?|keypoints?|poses?",
    "labels": "y|labels?|targets?",
    "performers": "subjects?|performers?|persons?",
}
_NAME = re.compile(
    rf"((?P<before>{_PART})[_-]?)?"
    + "("
    + "|".join(f"(?P<{what}>{names})" for what, names in _WHAT.items())
    + rf")([_-]?(?P<after>{_PART}))?",
    re.IGNORECASE,
)
_LARGEST_LABEL = 9_999
_MOST_CLIPS = 2_000_000

Rows = NpyRows | NpyStream
Named = dict[str, dict[str, Callable[[], Rows]]]
"""Part ('' for the whole set) -> joints, labels, performers -> what opens them."""


class SetArrays(Source):
    """Clips of one folder or `.npz`, named `train-00000` and so on.

    Raises:
        UserError: on construction where an array is missing, damaged or of another form.
    """

    help = "arrays of a set of your own (X_train.npy, y_train.npy, ..., or an npz of them)"
    kind = "arrays of a whole set"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        try:
            return any(
                {"joints", "labels"} <= set(arrays) and (path.is_dir() or arrays["labels"]().shape)
                for arrays in _named(path).values()
            )
        except Exception:  # a single clip's label, or whatever a damaged zip happens to say
            return False

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> SetArrays:
        return cls(paths[0], options)

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._path = path
        self._options = options
        self.counts: dict[str, int] = {}
        self._joints: dict[str, Rows] = {}
        self._names: list[str] = []
        parts: dict[str, list[str]] = {}
        labels: list[Any] = []
        performers: list[Any] = []
        for part, arrays in _named(path).items():
            for what in ("joints", "labels"):
                if what not in arrays:
                    raise UserError(
                        f"{path}: has no {what} of the part {part or 'without a name'}; give each "
                        "X_train its y_train"
                    )
            rows = self._joints[part] = arrays["joints"]()
            parts[part] = [f"{part or 'clip'}-{at:05}" for at in range(len(rows))]
            self._names += parts[part]
            labels += self._of_each(arrays["labels"](), part, len(rows))
            who = arrays.get("performers")
            performers += self._of_each(who(), part, len(rows)) if who else [-1] * len(rows)
        self.sequential = any(isinstance(rows, NpyStream) for rows in self._joints.values())
        self._labels, self.class_names = self._classes(labels)
        self._performers = _numbered(performers)
        self.layout = self._find_layout()
        whole = options.replaces_splits or set(parts) == {""}
        self._splits: Splits = {} if whole else paired_splits(parts, str(path))

    def _of_each(self, rows: Rows, part: str, count: int) -> list[Any]:
        """A label or performer a clip; a row that isn't one-hot becomes -1."""
        if len(rows) != count or len(rows.shape) > 2 or count > _MOST_CLIPS:
            raise UserError(
                f"{self._path}: has {count} clips in {part or 'the set'} and labels or performers "
                f"of shape {rows.shape}; give one a clip"
            )
        values = rows.read(0, count)
        if values.ndim == 2 and values.shape[1] > 1:
            one_hot = (values != 0).sum(axis=1) == 1
            values = np.where(one_hot, (values != 0).argmax(axis=1), -1)
        values = values.reshape(-1)
        if values.dtype.kind == "f" and np.array_equal(values, np.floor(values)):
            values = values.astype(np.int64)
        return values.tolist()

    def _classes(self, labels: list[Any]) -> tuple[list[int], tuple[str, ...]]:
        """Each clip's class and the names of all; names become numbers as the alphabet has them."""
        if labels and all(isinstance(one, str) for one in labels):
            names = sorted(set(labels))
            order = {name: at for at, name in enumerate(names)}
            return [order[one] for one in labels], tuple(names)
        wrong = next((one for one in labels if not _is_label(one)), None)
        if wrong is not None:
            raise UserError(
                f"{self._path}: has {str(wrong)[:40]!r} for a label; give numbers from 0, or names"
            )
        return labels, numbered_classes(1 + max(labels, default=0))

    def _find_layout(self) -> Layout:
        shapes = {rows.shape[1:] for rows in self._joints.values() if len(rows)}
        clips = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
        if self._options.layout is None:
            raise unsaid_layout(str(self._path), lambda one: all(fits(clip, one) for clip in clips))
        layout = get_layout(self._options.layout)
        for clip in clips:
            try:
                arrange(clip, layout)
            except AxesError as error:
                raise UserError(f"{self._path}: each clip {error}") from None
        return layout

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> Sequence[str]:
        return self._names

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        before = 0
        for rows in self._joints.values():
            for at in range(max(start - before, 0), min(stop - before, len(rows))):
                yield self._read(rows, at, before + at)
            before += len(rows)

    def _read(self, rows: Rows, at: int, index: int) -> Reading:
        name, label = self._names[index], self._labels[index]
        if label < 0:
            return Reading(name, counts={UNLABELLED: 1})
        where = f"{self._path}: clip {name!r}"
        sample = Sample(name, label, where, self._performers[index], fps=self._options.fps or 0.0)
        try:
            joints = arrange(rows.read(at, at + 1)[0], self.layout)
            places, scores = with_scores(joints, self.layout)
            if self.layout.dimensions == 2:
                places = in_pixels(places, self._options.image_size)
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

    def identity(self) -> str:
        files = [self._path] if self._path.is_file() else sorted(self._path.glob("*.npy"))
        about = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return repr(about)

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return only_known(self._splits, (clip.name for clip in clips))


def _named(path: Path) -> Named:
    """The arrays of a folder or an `.npz` whose names say what they are."""
    opens: dict[str, Callable[[str], Rows]] = {}
    if path.is_dir():
        for file in sorted(path.glob("*.npy")):
            opens[file.stem] = partial(open_npy, file)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                opens[member.filename.removesuffix(".npy")] = partial(open_member, path, member)
    named: Named = {}
    for name, opener in opens.items():
        match = _NAME.fullmatch(name)
        if match is None or (match["before"] and match["after"]):
            continue
        part = (match["before"] or match["after"] or "").lower()
        what = next(what for what in _WHAT if match[what])
        kinds = NUMBERS if what == "joints" else NUMBERS_OR_TEXT
        named.setdefault(part, {})[what] = partial(opener, kinds)
    order = ["", *_PART.split("|")]
    return dict(sorted(named.items(), key=lambda pair: order.index(pair[0])))


def _is_label(value: Any) -> bool:
    """-1 stands for a clip without one."""
    return isinstance(value, int) and -1 <= value <= _LARGEST_LABEL


def _numbered(performers: list[Any]) -> list[int]:
    """Performers' numbers; names count from 1, as the alphabet has them."""
    names = sorted({one for one in performers if isinstance(one, str)})
    order = {name: 1 + at for at, name in enumerate(names)}
    return [order[one] if isinstance(one, str) else int(one) for one in performers]
