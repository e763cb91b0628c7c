"""The pickle of pyskl and MMAction2: `{"split": {name: [frame_dir]}, "annotations": [{...}]}`.

Each annotation has `frame_dir` (its name), `label`, `total_frames` and `keypoint` `(M, T, V, C)`;
sets in the image plane add `keypoint_score` `(M, T, V)`. `ntu60_3danno.pkl` and its kin are such
files.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Clip, FloatArray, Splits
from lastkd.data.formats.actors import kept_actors
from lastkd.data.formats.base import BAD, BODILESS, Reading, Source, SourceOptions
from lastkd.data.formats.pickled import StoredArray, load_pickle
from lastkd.data.layouts import Layout, get_layout, layout_names
from lastkd.data.ntu import DATASETS, SampleName, benchmark_of
from lastkd.errors import UserError

FRAMELESS = "clips without any frame left out"
UNKNOWN = "names in splits without a clip left out"

LARGEST_LABEL = 9_999
"""A larger one is no class index; a name for each class up to it would fill the memory."""

_SPLIT = re.compile(r"(?:(?P<name>.+)_)?(?P<part>train|val|test)(?P<fold>\d*)")


class PysklPickle(Source):
    """Clips of one pickle, in its order; their arrays stay in the file until they are read.

    Bodies that are all zeros are dropped; of more than two the two that move most are kept, the
    one that moves more first. Frames beyond `total_frames` are padding and go. In a 2-D layout the
    third channel is the score: the file's own, 1 where it has none, 0 for a joint at (0, 0).

    Splits `xsub_train` and `xsub_val` (or `xsub_test`, which goes before a `_val`) become `xsub`;
    a plain `train` and `val` become `default`, `train1` and `test1` `fold 1`.

    Where all names are NTU's and say the same as the labels, they give the performers, cameras,
    setups and class names; otherwise classes are `class 0` and so on.

    Raises:
        UserError: on construction where the pickle isn't of this form, holds anything but data,
            doesn't fit the layout, or has a split without its counterpart.
    """

    help = "a pyskl or MMAction2 pickle (ntu60_3danno.pkl, or of any other skeleton: --layout)"
    kind = "pyskl pickle"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.suffix in (".pkl", ".pickle") and path.is_file()

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> PysklPickle:
        return cls(paths[0], get_layout(options.layout or "ntu25"), options.dataset)

    def __init__(self, path: Path, layout: Layout, dataset: str | None = None) -> None:
        self.layout = layout
        self.counts: dict[str, int] = {}
        self._path = path
        content = load_pickle(path, lazily=True)
        if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
            raise UserError(
                f"{path} has no list under 'annotations'; give a pickle in pyskl's form, "
                "{'split': ..., 'annotations': [...]}"
            )
        self._annotations = self._checked(content["annotations"])
        self._splits = self._paired(content.get("split") or {})

        self._names = list(self._annotations)
        named = {one for two in self._splits.values() for part in two.values() for one in part}
        self._unknown = len(named - self._annotations.keys())

        names = {text: SampleName.parse(text) for text in self._annotations}
        self._ntu = {text: name for text, name in names.items() if name is not None}
        ntu_labels = all(
            name is not None and name.label == self._annotations[text]["label"]
            for text, name in names.items()
        )
        if ntu_labels:
            told = benchmark_of(self._ntu.values())
            self.benchmark = DATASETS[dataset] if dataset else told
            if self.benchmark.num_classes < told.num_classes:
                raise UserError(f"{path}: holds samples of {told.title}; leave out --dataset")
            self.class_names = self.benchmark.class_names
        elif dataset:
            raise UserError(f"{path}: its names and labels aren't NTU's; leave out --dataset")
        else:
            classes = 1 + max(int(one["label"]) for one in self._annotations.values())
            self.class_names = numbered_classes(classes)

    def __len__(self) -> int:
        return len(self._annotations)

    def names(self) -> Sequence[str]:
        return self._names

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for index in range(start, stop):
            name = self._names[index]
            reading = self._read(name, self._annotations[name])
            if index == 0 and self._unknown:  # said once for the whole file
                reading = replace(reading, counts={**reading.counts, UNKNOWN: self._unknown})
            yield reading

    def identity(self) -> str:
        about = self._path.stat()
        return f"{self._path.name} {about.st_size} {about.st_mtime_ns}"

    def splits(self, clips: Sequence[Clip]) -> Splits:
        here = {clip.name for clip in clips}
        return {
            split: {
                "train": [name for name in parts["train"] if name in here],
                "test": [name for name in parts["test"] if name in here],
            }
            for split, parts in self._splits.items()
        }

    def _checked(self, annotations: list[Any]) -> dict[str, dict[str, Any]]:
        """The annotations by name, once their form is known to be right."""
        if not annotations:
            raise UserError(f"{self._path} has no annotation; give a pickle that holds clips")
        by_name: dict[str, dict[str, Any]] = {}
        for index, one in enumerate(annotations):
            name = one.get("frame_dir") if isinstance(one, dict) else None
            if not isinstance(name, str):
                raise UserError(
                    f"{self._path}: annotation {index} has no 'frame_dir' with its name; add one"
                )
            if name in by_name:
                raise self._fault(name, "is there twice", "keep one")
            label = one.get("label")
            if not _is_count(label) or label > LARGEST_LABEL:
                way_out = f"use whole numbers from 0 to {LARGEST_LABEL}"
                raise self._fault(name, f"has the label {reprlib.repr(label)}", way_out)
            self._check_keypoints(name, one)
            by_name[name] = one
        return by_name

    def _check_keypoints(self, name: str, annotation: Mapping[str, Any]) -> None:
        keypoint: Any = annotation.get("keypoint")
        layout = self.layout
        if not _is_real(keypoint) or keypoint.ndim != 4:
            raise self._fault(name, "has no 'keypoint' of numbers (M, T, V, C)", "add it")
        joints, channels = keypoint.shape[2:]
        if joints != layout.num_joints:
            fitting = [other for other in layout_names() if get_layout(other).num_joints == joints]
            way_out = f"use --layout {' or '.join(fitting)}" if fitting else "write a layout for it"
            raise self._fault(
                name, f"has {joints} joints, where the layout {layout.name} has "
                f"{layout.num_joints}", way_out,
            )  # fmt: skip
        if channels not in {2, 3} or (channels == 2 and layout.dimensions == 3):
            flat = [other for other in layout_names() if get_layout(other).dimensions == 2]
            raise self._fault(
                name, f"has {channels} channels, where the layout {layout.name} has "
                f"{layout.dimensions} dimensions",
                f"use a layout that fits (in the image plane: {', '.join(flat)})",
            )  # fmt: skip
        total = annotation.get("total_frames", keypoint.shape[1])
        if not _is_count(total):
            raise self._fault(
                name, f"has total_frames {reprlib.repr(total)}", "use whole numbers from 0"
            )
        score: Any = annotation.get("keypoint_score")
        if channels == 2 and score is not None and (
            not _is_real(score) or score.shape != keypoint.shape[:3]
        ):  # fmt: skip
            raise self._fault(name, "has a 'keypoint_score' that isn't (M, T, V)", "mend it")

    def _read(self, name: str, annotation: Mapping[str, Any]) -> Reading:
        try:
            keypoint = annotation["keypoint"].read()
            score = annotation.get("keypoint_score")
            score = score.read() if isinstance(score, StoredArray) else None
        except (OSError, ValueError) as error:
            fault = f"{self._path}: clip {name!r} can't be read ({error}); fetch the file again"
            return Reading(name, counts={BAD: 1}, fault=fault)
        frames = min(int(annotation.get("total_frames", keypoint.shape[1])), keypoint.shape[1])
        if not frames:
            return Reading(name, counts={FRAMELESS: 1})
        with np.errstate(over="ignore"):  # what a float32 doesn't hold becomes infinite
            joints = keypoint[:, :frames].astype(np.float32)
            if self.layout.dimensions == 2:
                joints = _with_score(joints, score)
        if not np.isfinite(joints).all():
            told = self._fault(name, "has a position that is not a finite number", "mend it")
            return Reading(name, counts={BAD: 1}, fault=str(told))
        actors = kept_actors(joints.transpose(1, 0, 2, 3), self.layout.dimensions)
        if actors.joints is None:
            return Reading(name, counts={BODILESS: 1})
        ntu = self._ntu.get(name)
        where = (ntu.performer, ntu.camera, ntu.setup) if ntu else (-1, -1, -1)
        clip = Clip(name, int(annotation["label"]), actors.joints, *where)
        return Reading(name, clip, actors.counts, actors.fates)

    def _paired(self, split: Any) -> dict[str, dict[str, list[str]]]:
        """`{"xsub": {"train": [...], "test": [...]}}` from pyskl's flat names."""
        if not isinstance(split, dict) or not all(
            isinstance(name, str)
            and isinstance(names, list | tuple)
            and all(isinstance(one, str) for one in names)
            for name, names in split.items()
        ):
            raise UserError(
                f"{self._path}: 'split' must hold lists of names, {{'xsub_train': [...], ...}}"
            )
        parts: dict[str, dict[str, list[str]]] = {}
        for key, names in split.items():
            match = _SPLIT.fullmatch(key)
            if match is None:
                raise UserError(
                    f"{self._path}: split {key!r} ends neither in _train nor in _val or _test; "
                    "rename it"
                )
            fold = match["fold"] and f"fold {match['fold']}"
            title = " ".join(part for part in (match["name"], fold) if part) or "default"
            parts.setdefault(title, {})[match["part"]] = list(names)
        paired = {}
        for title, found in parts.items():
            test = found.get("test", found.get("val"))
            if test is None or "train" not in found:
                lack = "_val or _test" if test is None else "_train"
                raise UserError(f"{self._path}: split {title!r} has no {lack} part; add it")
            both = set(found["train"]) & set(test)
            if both:
                raise UserError(
                    f"{self._path}: split {title!r} has {min(both)!r} in both of its parts; "
                    "take it out of one"
                )
            paired[title] = {"train": found["train"], "test": test}
        return paired

    def _fault(self, name: str, what: str, way_out: str) -> UserError:
        return UserError(f"{self._path}: clip {name!r} {what}; {way_out}")


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and int(value) >= 0


def _is_real(value: Any) -> bool:
    return isinstance(value, StoredArray) and value.dtype.kind in "fiu"


def _with_score(joints: FloatArray, score: NDArray[Any] | None) -> FloatArray:
    """`(M, T, V, 3)` x, y, score from `(M, T, V, 2 or 3)`; a joint at (0, 0) wasn't seen."""
    seen = joints[..., :2].any(axis=-1)
    if joints.shape[-1] == 2:
        own = (
            np.ones(joints.shape[:3], np.float32) if score is None else score[:, : joints.shape[1]]
        )
        joints = np.concatenate([joints, own[..., None].astype(np.float32)], axis=-1)
    joints[..., 2] *= seen
    return joints
