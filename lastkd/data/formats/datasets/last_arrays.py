"""Arrays `(N, 3, T, V, M)` of a whole part, and their labels: LAST v2's, ST-GCN's and 2s-AGCN's.

LAST v2 calls them `{train,val}_joint.npy`, ST-GCN `{train,val}_data.npy` and 2s-AGCN
`{train,val}_data_joint.npy`. Only the joints are read: velocity and bone follow from them.
`{train,val}_label.pkl` is a list of class indices or a pair of (names, class indices).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lastkd.data.bodies import IN_ORDER
from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Clip, Part, Splits
from lastkd.data.formats.assemble import Sample, reading_of_slots
from lastkd.data.formats.base import Reading, Source, SourceOptions
from lastkd.data.formats.datasets.pickled import load_pickle
from lastkd.data.formats.npy import NpyRows, open_npy
from lastkd.data.layouts import Layout, get_layout
from lastkd.data.ntu import DATASETS, Benchmark, SampleName, benchmark_of
from lastkd.errors import UserError

_WORDS: dict[str, Part] = {"train": "train", "val": "test", "test": "test"}
_LARGEST_LABEL = 9_999
_LAYOUTS = {18: "coco18", 20: "ucla20"}
"""Of other sets than NTU's that people have in these arrays, by their joints."""


class LastArrays(Source):
    """Clips of one folder, the training part first.

    Clips have the names that the labels give, else `train-00000` and so on. Where all names are
    NTU's, they give performers, cameras, setups, classes and which split it is; else the folder's
    name may be that of the split, and the classes are NTU's where there are exactly 60 or 120.

    Raises:
        UserError: on construction where a file is missing, damaged or not of this form.
    """

    help = "a folder of LAST v2 arrays (train_joint.npy, train_label.pkl, val_...)"
    origin: ClassVar[str] = "LAST v2"
    endings: ClassVar[tuple[str, ...]] = ("_joint.npy",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(cls._joints(path, word) is not None for word in _WORDS)

    @classmethod
    def _joints(cls, folder: Path, word: str) -> Path | None:
        files = (folder / f"{word}{ending}" for ending in cls.endings)
        return next((file for file in files if file.is_file()), None)

    @classmethod
    def _usual_layout(cls, path: Path) -> str:
        return "ntu25"

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> LastArrays:
        layout = get_layout(options.layout or cls._usual_layout(paths[0]))
        return cls(paths[0], layout, options.dataset, keep_bodies=options.keep_bodies)

    def __init__(
        self,
        path: Path,
        layout: Layout,
        dataset: str | None = None,
        *,
        keep_bodies: bool = False,
    ) -> None:
        self.layout = layout
        self._keep_bodies = keep_bodies
        self.counts: dict[str, int] = {}
        self._path = path
        self._parts: list[tuple[Part, NpyRows]] = []
        self._names: list[str] = []
        self._labels: list[int] = []
        self._files: list[Path] = []
        for word, part in _WORDS.items():
            joints = self._joints(path, word)
            if joints is None or part in {known for known, _ in self._parts}:
                continue
            self._parts.append((part, self._array(joints)))
            self._read_labels(path / f"{word}_label.pkl", part, len(self._parts[-1][1]))
        if {part for part, _ in self._parts} != {"train", "test"}:
            raise UserError(
                f"{path}: needs train{self.endings[0]} and val{self.endings[0]}, each with its "
                "_label.pkl"
            )
        if len(set(self._names)) < len(self._names):
            raise UserError(f"{path}: its labels name a clip twice; keep one")
        self._tell_classes(dataset)

    def _array(self, path: Path) -> NpyRows:
        rows = open_npy(path)
        V = self.layout.num_joints
        if len(rows.shape) != 5 or rows.shape[1] != 3 or rows.shape[3] != V:
            raise UserError(
                f"{path}: has shape {rows.shape}, and layout {self.layout.name} needs "
                f"(N, 3, frames, {V}, bodies); name another with --layout"
            )
        self._files.append(path)
        return rows

    def _read_labels(self, path: Path, part: Part, count: int) -> None:
        content = load_pickle(path)
        names: Any = None
        labels: Any = content
        if isinstance(content, tuple | list) and len(content) == 2 and _is_list(content[1]):
            names, labels = content
        if not _is_list(labels) or not all(map(_is_label, labels)):
            raise UserError(
                f"{path}: holds neither a list of class indices nor a pair of (names, indices)"
            )
        if names is None:
            names = [f"{part}-{at:05}" for at in range(count)]
        if not _is_list(names) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: its names aren't a list of text")
        if len(labels) != count or len(names) != count:
            raise UserError(
                f"{path}: has {len(labels)} labels and {len(names)} names for {count} clips"
            )
        self._names += [str(name).removesuffix(".skeleton") for name in names]
        self._labels += map(int, labels)
        self._files.append(path)

    def _tell_classes(self, dataset: str | None) -> None:
        parsed = [SampleName.parse(name) for name in self._names]
        ntu = [name for name in parsed if name is not None]
        named = len(ntu) == len(parsed) and [name.label for name in ntu] == self._labels
        classes = 1 + max(self._labels, default=0)
        benchmark: Benchmark | None = None
        if named:
            benchmark = benchmark_of(ntu)
        elif self.layout.name == "ntu25":
            benchmark = {one.num_classes: one for one in DATASETS.values()}.get(classes)
        if dataset is not None:
            wanted = DATASETS[dataset]
            if classes > wanted.num_classes or self.layout.name != "ntu25":
                raise UserError(f"{self._path}: isn't of {wanted.title}; leave out --dataset")
            benchmark = wanted
        self.benchmark: Benchmark | None = benchmark
        self._ntu = ntu if named else None
        self.kind = f"{self.origin} arrays" + (f" of {benchmark.title}" if benchmark else "")
        self.class_names = benchmark.class_names if benchmark else numbered_classes(classes)
        self._split = self._told_split()

    def _told_split(self) -> str:
        if self._ntu is not None and self.benchmark is not None:
            count = len(self._parts[0][1])
            for split in self.benchmark.splits:
                trains = [self.benchmark.trains(split, name) for name in self._ntu]
                if all(trains[:count]) and not any(trains[count:]):
                    return split
        known = {"xsub", "xview", "xset"}
        return self._path.name if self._path.name in known else "default"

    def __len__(self) -> int:
        return len(self._labels)

    def names(self) -> Sequence[str]:
        return self._names

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        before = 0
        for _, rows in self._parts:
            for at in range(max(start - before, 0), min(stop - before, len(rows))):
                yield self._read(rows, at, before + at)
            before += len(rows)

    def _read(self, rows: NpyRows, at: int, index: int) -> Reading:
        name = self._names[index]
        ntu = self._ntu[index] if self._ntu else None
        who = (ntu.performer, ntu.camera, ntu.setup) if ntu else (-1, -1, -1)
        sample = Sample(name, self._labels[index], f"{rows.where}: clip {at} ({name})", *who)
        joints = rows.read(at, at + 1)[0].transpose(1, 3, 2, 0)
        return reading_of_slots(
            sample, joints, self.layout, rules=IN_ORDER, keep_bodies=self._keep_bodies
        )

    def identity(self) -> str:
        about = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in self._files]
        return repr(about)

    def splits(self, clips: Sequence[Clip]) -> Splits:
        here = {clip.name for clip in clips}
        count = len(self._parts[0][1])
        return {
            self._split: {
                "train": [name for name in self._names[:count] if name in here],
                "test": [name for name in self._names[count:] if name in here],
            }
        }


class StGcnArrays(LastArrays):
    """Clips of a folder of ST-GCN's or 2s-AGCN's arrays.

    The layout is known by the number of joints: NTU's 25, or OpenPose's 18 of Kinetics-Skeleton,
    whose third channel is a score.
    """

    help = "a folder of ST-GCN or 2s-AGCN arrays (train_data.npy, train_data_joint.npy)"
    origin = "ST-GCN"
    endings = ("_data.npy", "_data_joint.npy")

    @classmethod
    def _usual_layout(cls, path: Path) -> str:
        files = (cls._joints(path, word) for word in _WORDS)
        first = next((file for file in files if file is not None), None)
        shape = open_npy(first).shape if first is not None else ()
        return _LAYOUTS.get(shape[3] if len(shape) == 5 else 0, "ntu25")


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _is_label(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and 0 <= int(value) <= _LARGEST_LABEL
