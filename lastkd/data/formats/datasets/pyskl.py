"""The pickle of pyskl and MMAction2: `{"split": {name: [frame_dir]}, "annotations": [{...}]}`.

Each annotation has `frame_dir` (its name), `label`, `total_frames` and `keypoint` `(M, T, V, C)`;
sets in the image plane add `keypoint_score` `(M, T, V)`. `ntu60_3danno.pkl` and its kin are such
files. Scripts that write them differ in many small ways: a bare list of annotations, the training
and the test part in a file of its own, keypoints as lists or without a body's axis, labels as
arrays or one-hot, splits as sets. All of these are read.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import ANY_ORDER, IN_ORDER
from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Clip, Splits
from lastkd.data.contents import describe_value
from lastkd.data.formats.assemble import Sample, reading_of_slots
from lastkd.data.formats.axes import AxesError, arrange, channels_of, dense, with_scores
from lastkd.data.formats.base import BAD, Reading, Source, SourceOptions
from lastkd.data.formats.datasets.pickled import StoredArray, load_pickle
from lastkd.data.formats.own.set_arrays import SetArrays
from lastkd.data.formats.own.set_objects import parts_of_object
from lastkd.data.layouts import get_layout, layout_hint
from lastkd.data.ntu import DATASETS, SampleName, benchmark_of
from lastkd.data.splits import check_against, name_list, only_known, paired_splits
from lastkd.errors import UserError

FRAMELESS = "clips without any frame left out"
UNKNOWN = "names in splits without a clip left out"

LARGEST_LABEL = 9_999
"""A larger one is no class index; a name for each class up to it would fill the memory."""
_LOOKED_AT = 8
"""Clips in which the third channel of a flat layout is checked for being a score."""

Annotation = Mapping[str, Any]


class PysklPickle(Source):
    """Clips of one pickle, or of several with a part each; arrays stay in the file until read.

    Splits `xsub_train` and `xsub_val` (or `xsub_test`, which wins over a `_val`) become `xsub`; see
    `paired_splits`. Of several files, those without a split of their own are the training or test
    part that their name says.

    Where all names are NTU's and agree with the labels, they give the performers, cameras, setups
    and class names; otherwise classes are `class 0` and so on.

    Raises:
        UserError: on construction where a pickle isn't of this form, holds anything but data, fits
            the layout with none of its clips, or has a split without its counterpart.
    """

    help = "a pyskl or MMAction2 pickle (ntu60_3danno.pkl; of another skeleton: --layout)"
    takes_several = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.suffix.lower() in (".pkl", ".pickle", ".p") and path.is_file()

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> Source:
        """Such a pickle, or one that holds a set in another form."""
        contents = [load_pickle(path, lazily=True) for path in paths]
        if len(paths) == 1 and not _holds_annotations(contents[0]):
            parts = parts_of_object(contents[0], str(paths[0]))
            if parts is not None:
                return SetArrays.with_labels(paths[0], parts, options)
        return cls(paths, contents, options)

    def __init__(
        self, paths: Sequence[Path], contents: Sequence[Any], options: SourceOptions
    ) -> None:
        self.kind = "pyskl pickle" if len(paths) == 1 else f"{len(paths)} pyskl pickles"
        self._asked = options.layout
        self.layout = get_layout(options.layout or "ntu25")
        self.counts: dict[str, int] = {}
        self._keep_bodies = options.keep_bodies
        # a table says the labels, whatever they are in the file
        self._labelled = options.labelled and options.labels is None
        self._paths = list(paths)
        self._annotations: list[Annotation] = []
        self._names: list[str] = []
        self._faults: dict[int, str] = {}
        self._files: list[Path] = []
        lists: dict[str, list[str]] = {}
        for path, content in zip(paths, contents, strict=True):
            self._add_file(path, content, lists)
        self._check_all()
        clips = {name: at for at, name in enumerate(self._names) if at not in self._faults}
        where = ", ".join(map(str, paths))
        self._splits: Splits = {}
        if not options.replaces_splits and options.labelled:
            self._splits = paired_splits(lists, where)
            check_against(self._splits, clips, where)
        named = {
            name for parts in self._splits.values() for names in parts.values() for name in names
        }
        self._unknown = len(named - set(self._names))
        self._tell_classes(options)

    def _add_file(self, path: Path, content: Any, lists: dict[str, list[str]]) -> None:
        """Takes up the annotations of one file, and its splits into `lists`."""
        annotations: Any = content
        split: Any = {}
        if isinstance(content, dict):
            annotations, split = content.get("annotations"), content.get("split") or {}
        if isinstance(annotations, StoredArray) and annotations.dtype.kind == "O":
            annotations = annotations.read().reshape(-1).tolist()
        if isinstance(annotations, list | tuple) and not annotations:
            raise UserError(f"{path}: its list of annotations is empty; add each clip's")
        if not isinstance(annotations, list | tuple):
            raise UserError(
                f"{path}: has no list of annotations, it holds {describe_value(content)}; give a "
                "pickle in pyskl's form, {'split': ..., 'annotations': [...]}"
            )
        first = len(self._names)
        known = set(self._names)
        for annotation in annotations:
            at = len(self._names)
            name, problem = self._name(annotation, at - first)
            if problem is None and name in known:
                problem = "is there twice; keep one"
            known.add(name)
            self._names.append(name)
            self._files.append(path)
            self._annotations.append(annotation if isinstance(annotation, dict) else {})
            problem = problem or self._problem(annotation)
            if problem is not None:
                self._faults[at] = f"{path}: clip {name!r} {problem}"
        self._add_splits(path, split, self._names[first:], lists)

    def _add_splits(
        self, path: Path, split: Any, names: Sequence[str], lists: dict[str, list[str]]
    ) -> None:
        order = {name: at for at, name in enumerate(names)}
        if not isinstance(split, dict):
            raise UserError(
                f"{path}: 'split' must hold lists of names, {{'xsub_train': [...], ...}}"
            )
        if not split and len(self._paths) > 1:
            part = next((p for p in ("train", "val", "test") if p in path.stem.lower()), None)
            if part is None:
                raise UserError(
                    f"{path}: has no split, and its name says neither train nor val or test; "
                    "rename it, or make a split by --split-by"
                )
            split = {part: list(names)}
        for key, value in split.items():
            stored = value.read() if isinstance(value, StoredArray) else value
            listed = name_list(stored, order)
            if listed is None or not isinstance(key, str):
                raise UserError(
                    f"{path}: 'split' must hold lists of names, {{'xsub_train': [...], ...}}"
                )
            lists.setdefault(key, []).extend(listed)

    def _check_all(self) -> None:
        """
        Raises:
            UserError: no clip has the right form, or the layout is of another dimension.
        """
        if len(self._faults) == len(self._names):
            raise UserError(self._faults[0])
        if self.layout.dimensions == 2:
            good = (at for at in range(len(self._names)) if at not in self._faults)
            for at, _ in zip(good, range(_LOOKED_AT), strict=False):
                self._check_third_channel(at)

    def _check_third_channel(self, at: int) -> None:
        keypoint = self._annotations[at]["keypoint"]
        if not isinstance(keypoint, StoredArray) or keypoint.shape[-1] != 3:
            return
        values = keypoint.read()
        seen = ~(values[..., :2] == -1).all(axis=-1)
        lowest = float(np.nanmin(values[seen][:, 2], initial=0.0))
        if lowest < 0:
            hint = layout_hint(self.layout.num_joints, 3, self._asked)
            raise UserError(
                f"{self._files[at]}: clip {self._names[at]!r} has {lowest:.3g} for a score, so its "
                f"third channel is a coordinate; {hint}"
            )

    def _tell_classes(self, options: SourceOptions) -> None:
        parsed = {name: SampleName.parse(name) for name in self._names}
        self._ntu = {text: name for text, name in parsed.items() if name is not None}
        labels = {
            self._names[at]: _label(annotation)
            for at, annotation in enumerate(self._annotations)
            if at not in self._faults
        }
        where = self._paths[0]
        if all(
            text in self._ntu and self._ntu[text].label == label for text, label in labels.items()
        ):
            smallest = benchmark_of(self._ntu.values())
            self.benchmark = DATASETS[options.dataset] if options.dataset else smallest
            if self.benchmark.num_classes < smallest.num_classes:
                raise UserError(f"{where}: holds samples of {smallest.title}; leave out --dataset")
            self.class_names = self.benchmark.class_names
        elif options.dataset:
            raise UserError(f"{where}: its names and labels aren't NTU's; leave out --dataset")
        else:
            self.class_names = numbered_classes(1 + max(label or 0 for label in labels.values()))

    def __len__(self) -> int:
        return len(self._names)

    def names(self) -> Sequence[str]:
        return self._names

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for at in range(start, stop):
            reading = self._read(at)
            if at == 0 and self._unknown:  # once for the whole file
                reading = replace(reading, counts={**reading.counts, UNKNOWN: self._unknown})
            yield reading

    def identity(self) -> str:
        about = [(path, path.stat()) for path in self._paths]
        return " ".join(f"{path.name} {one.st_size} {one.st_mtime_ns}" for path, one in about)

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return only_known(self._splits, (clip.name for clip in clips))

    @staticmethod
    def _name(annotation: Any, index: int) -> tuple[str, str | None]:
        """An annotation's name, and what is wrong with it."""
        if not isinstance(annotation, dict):
            return f"annotation {index}", f"is {describe_value(annotation)}, no annotation; mend it"
        name = annotation.get("frame_dir", annotation.get("filename"))
        if not isinstance(name, str):
            return f"annotation {index}", "has no 'frame_dir' with its name; add one"
        return name, None

    def _problem(self, annotation: Annotation) -> str | None:
        """What is wrong with an annotation, as far as that shows without reading its arrays."""
        if self._labelled and _label(annotation) is None:
            label = reprlib.repr(annotation.get("label"))
            return f"has the label {label}; use whole numbers from 0 to {LARGEST_LABEL}"
        keypoint = annotation.get("keypoint")
        if isinstance(keypoint, StoredArray) and keypoint.dtype.kind in "fiu":
            problem = self._wrong_shape(keypoint.shape)
            if problem is not None:
                return problem
        elif not isinstance(keypoint, list | tuple) and not _is_objects(keypoint):
            return "has no 'keypoint' of numbers (M, T, V, C); add it"
        total = annotation.get("total_frames", 0)
        if not _is_count(total):
            return f"has total_frames {reprlib.repr(total)}; use whole numbers from 0"
        return None

    def _wrong_shape(self, shape: tuple[int, ...]) -> str | None:
        layout = self.layout
        if len(shape) not in (3, 4):
            return f"has a 'keypoint' of shape {shape}, not (M, T, V, C); mend it"
        joints, channels = shape[-2:]
        fits = channels_of(layout)
        if layout.num_joints not in shape or not set(fits) & set(shape):
            dimensions = 2 if channels == 2 else 3
            if joints != layout.num_joints:
                problem = (
                    f"has {joints} joints, where the layout {layout.name} has {layout.num_joints}"
                )
            else:
                problem = (
                    f"has {channels} channels, where the layout {layout.name} has "
                    f"{layout.dimensions} dimensions"
                )
            return f"{problem}; {layout_hint(joints, dimensions, self._asked)}"
        return None

    def _read(self, at: int) -> Reading:
        name, annotation = self._names[at], self._annotations[at]
        if at in self._faults:
            return Reading(name, counts={BAD: 1}, fault=self._faults[at])
        total = annotation.get("total_frames")
        total = int(total) if total is not None else None
        if total == 0:
            return Reading(name, counts={FRAMELESS: 1})
        try:
            keypoint = dense(_content(annotation["keypoint"]))
            frames = None if total is None else min(total, max(keypoint.shape[:-2], default=0))
            joints = arrange(keypoint, self.layout, usual="MTVC"[-keypoint.ndim :], frames=frames)
            joints, scores = with_scores(joints, self.layout)
            own_scores = annotation.get("keypoint_score")
            if own_scores is not None:
                scores = self._scores(dense(_content(own_scores)), joints.shape)
        except (OSError, ValueError) as error:
            fault = f"{self._files[at]}: clip {name!r} {error}; mend it"
            return Reading(name, counts={BAD: 1}, fault=fault)
        if total is not None:
            joints, scores = joints[:total], None if scores is None else scores[:total]
        ntu = self._ntu.get(name)
        who = (ntu.performer, ntu.camera, ntu.setup) if ntu else (-1, -1, -1)
        label = _label(annotation)
        return reading_of_slots(
            Sample(name, label or 0, f"{self._files[at]}: clip {name!r}", *who),
            joints,
            self.layout,
            scores=scores,
            rules=IN_ORDER if self.benchmark is not None else ANY_ORDER,
            keep_bodies=self._keep_bodies,
            padded=total is None,
        )

    @staticmethod
    def _scores(scores: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Scores `(M, T, V)` or `(T, V)`, with or without a last axis of 1, as `(T, M, V)`.

        Raises:
            AxesError: they are of another shape than the joints `(T, M, V, D)`.
        """
        if scores.ndim > 2 and scores.shape[-1] == 1:
            scores = scores[..., 0]
        if scores.ndim == 2:
            scores = scores[None]
        T, M, V = shape[:3]
        if scores.shape == (M, T, V):
            return np.swapaxes(scores, 0, 1)
        if scores.shape == (T, M, V):
            return scores
        raise AxesError(
            f"has a 'keypoint_score' of shape {scores.shape} for {M} bodies, {T} frames and {V} "
            "joints"
        )


def _holds_annotations(content: Any) -> bool:
    if isinstance(content, dict):
        return "annotations" in content
    if isinstance(content, StoredArray) and content.dtype.kind == "O":
        content = content.read().reshape(-1).tolist()
    first = content[0] if isinstance(content, list | tuple) and content else None
    return isinstance(first, dict) and "keypoint" in first


def _content(value: Any) -> Any:
    return value.read() if isinstance(value, StoredArray) else value


def _label(annotation: Annotation) -> int | None:
    """A label as a number, from a number, an array of one, or a one-hot row; None if it is none."""
    label: Any = annotation.get("label")
    if isinstance(label, StoredArray):
        label = label.read()
    if isinstance(label, np.ndarray):
        label = label.reshape(-1).tolist()
    if isinstance(label, list | tuple):
        if len(label) == 1:
            label = label[0]
        elif list(label).count(1) == 1 and all(value in (0, 1) for value in label):
            label = list(label).index(1)
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if _is_count(label) and int(label) <= LARGEST_LABEL:
        return int(label)
    return None


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and int(value) >= 0


def _is_objects(value: Any) -> bool:
    return isinstance(value, StoredArray) and value.dtype.kind == "O"
