"""CTR-GCN's npz: `x_train`, `x_test` `(N, 300, 150)`, zero padded, and one-hot `y_train`, `y_test`.

The 150 values of a frame are two bodies of 25 joints of x, y, z. A file is one split of one of the
benchmarks (`NTU60_CS.npz`, `NTU60_CV.npz`, `NTU120_CSub.npz`, `NTU120_CSet.npz`), and its clips
have no names.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import IN_ORDER
from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Clip, Part, Splits
from lastkd.data.formats.assemble import Sample, fault, reading_of_slots
from lastkd.data.formats.base import Reading, Source, SourceOptions
from lastkd.data.formats.npy import NpyStream, open_member, read_header, read_rows
from lastkd.data.layouts import Layout, get_layout
from lastkd.data.ntu import DATASETS, Benchmark
from lastkd.errors import UserError

PARTS: tuple[Part, Part] = ("train", "test")
_SPLIT_WORDS = {"_cs.": "xsub", "_csub.": "xsub", "_cv.": "xview", "_cset.": "xset"}
_MOST_CLASSES = 10_000
_MOST_CLIPS = 2_000_000
_LABELS_AT_A_TIME = 4096


class CtrGcnNpz(Source):
    """Clips of one file, the training part first, named `train-00000` and so on.

    The split is known from the file's name or from the numbers of its clips; otherwise it is
    `default`. With 60 or 120 classes of 25 joints the classes are NTU's.

    Raises:
        UserError: on construction where the file is damaged or not of this form.
    """

    help = "a CTR-GCN npz (NTU60_CS.npz)"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.suffix != ".npz" or not path.is_file():
            return False
        try:
            with zipfile.ZipFile(path) as archive:
                names = [f"x_{part}.npy" for part in PARTS]
                first = next((name for name in names if name in archive.namelist()), None)
                if first is None:
                    return False
                with archive.open(first) as file:
                    shape, _ = read_header(file, first)
                return len(shape) == 3 and shape[2] % 3 == 0
        except Exception:  # whatever the fields of a damaged directory happen to say
            return True

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> CtrGcnNpz:
        layout = get_layout(options.layout or "ntu25")
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
        try:
            with zipfile.ZipFile(path) as archive:
                members = {one.filename: one for one in archive.infolist()}
                lacking = [
                    f"{axis}_{part}"
                    for part in PARTS
                    for axis in "xy"
                    if f"{axis}_{part}.npy" not in members
                ]
                if lacking:
                    raise UserError(
                        f"{path}: has no {lacking[0]}; give an npz in CTR-GCN's form, with "
                        "x_train, y_train, x_test, y_test"
                    )
                arrays = {part: open_member(path, members[f"x_{part}.npy"]) for part in PARTS}
                self._labels = {
                    part: _labels(archive, members[f"y_{part}.npy"], path) for part in PARTS
                }
                self._identity = " ".join(
                    f"{one.filename} {one.CRC} {one.file_size}" for one in members.values()
                )
        except UserError:
            raise
        # a damaged archive ends in whatever zipfile, zlib and struct say
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path}: is damaged or no npz ({reason}); fetch it again") from None
        self._arrays = arrays
        self.sequential = any(isinstance(array, NpyStream) for array in arrays.values())
        for part in PARTS:
            self._check(part)
        self._split = next(
            (split for word, split in _SPLIT_WORDS.items() if word in path.name.lower()), None
        )
        self._tell_classes(dataset)

    def __len__(self) -> int:
        return sum(len(labels) for labels in self._labels.values())

    def _check(self, part: Part) -> None:
        shape, labels = self._arrays[part].shape, self._labels[part]
        joints = self.layout.num_joints
        if len(shape) != 3 or shape[2] not in (3 * joints, 6 * joints):
            raise UserError(
                f"{self._path}: x_{part} has shape {shape}, and layout {self.layout.name} needs "
                f"(N, frames, {6 * joints}); name another with --layout"
            )
        if shape[0] != len(labels):
            raise UserError(
                f"{self._path}: has {shape[0]} clips in x_{part} and {len(labels)} labels"
            )

    def _tell_classes(self, dataset: str | None) -> None:
        classes = max(labels.classes for labels in self._labels.values())
        is_ntu = self.layout.name == "ntu25"
        by_classes = {one.num_classes: one for one in DATASETS.values()} if is_ntu else {}
        self.benchmark: Benchmark | None = by_classes.get(classes)
        if dataset is not None and self.benchmark is not DATASETS[dataset]:
            raise UserError(
                f"{self._path}: has {classes} classes of {self.layout.num_joints} joints, which "
                f"aren't those of {dataset}; leave out --dataset"
            )
        self.kind = "CTR-GCN npz"
        if self.benchmark is None:
            self.class_names = numbered_classes(classes)
            return
        self.class_names = self.benchmark.class_names
        sizes = (len(self._labels["train"]), len(self._labels["test"]))
        by_size = {size: split for split, size in self.benchmark.sizes.items()}
        self._split = self._split or by_size.get(sizes)
        self.kind = f"CTR-GCN npz of {self.benchmark.title}"

    def names(self) -> Sequence[str]:
        return [f"{part}-{at:05}" for part in PARTS for at in range(len(self._labels[part]))]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        before = 0
        for part in PARTS:
            count = len(self._labels[part])
            first, last = max(start - before, 0), min(stop - before, count)
            for at in range(first, last):
                yield self._read(part, at)
            before += count

    def _read(self, part: Part, at: int) -> Reading:
        name = f"{part}-{at:05}"
        row = self._arrays[part].read(at, at + 1)[0]
        label = int(self._labels[part].of[at])
        sample = Sample(name, label, f"{self._path}: clip {at} of x_{part}")
        if label < 0:
            return fault(sample, f"has a row of y_{part} that isn't one-hot")
        bodies = row.shape[1] // (3 * self.layout.num_joints)
        joints = row.reshape(len(row), bodies, self.layout.num_joints, 3)
        return reading_of_slots(
            sample, joints, self.layout, rules=IN_ORDER, keep_bodies=self._keep_bodies
        )

    def identity(self) -> str:
        return self._identity

    def splits(self, clips: Sequence[Clip]) -> Splits:
        parts: dict[Part, list[str]] = {
            part: [clip.name for clip in clips if clip.name.startswith(part)] for part in PARTS
        }
        return {self._split or "default": parts}


class _Labels:
    """Class indices, -1 where a row isn't one-hot."""

    def __init__(self, of: NDArray[np.int64], classes: int) -> None:
        self.of = of
        self.classes = classes

    def __len__(self) -> int:
        return len(self.of)


def _labels(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> _Labels:
    """`y_train` or `y_test`: one-hot rows, or plain class indices."""
    where = f"{path}: {member.filename}"
    with archive.open(member) as file:
        shape, dtype = read_header(file, where)
        width = shape[1] if len(shape) == 2 else 1
        if len(shape) > 2 or not 0 < width <= _MOST_CLASSES or shape[0] > _MOST_CLIPS:
            raise UserError(f"{where}: has shape {shape}; it should be one-hot (N, classes)")
        found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for start in range(0, shape[0], _LABELS_AT_A_TIME):
            rows = read_rows(file, min(_LABELS_AT_A_TIME, shape[0] - start), (width,), dtype, where)
            if len(shape) == 1:
                found.append(_whole_numbers(rows[:, 0], where))
            else:
                one_hot = (rows != 0).sum(axis=1) == 1
                found.append(np.where(one_hot, (rows != 0).argmax(axis=1), -1))
    labels = np.concatenate(found)
    classes = width if len(shape) == 2 else 1 + max(int(labels.max(initial=0)), 0)
    return _Labels(labels, int(classes))


def _whole_numbers(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    if not ((values >= 0) & (values < _MOST_CLASSES) & (values == np.floor(values))).all():
        raise UserError(f"{where}: holds a label that is no class index; mend it")
    return values.astype(np.int64)
