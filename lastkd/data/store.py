"""The packed clip store: all frames of all clips in one array, opened in milliseconds.

A store is a folder with `clips.safetensors` and `store.json`. The rows of `joints` are body-frames:
clip i with F frames and M bodies owns M * F rows from `offsets[i]`, body 0's frames first. A body
that is absent from the whole clip has no rows, so nothing is spent on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lastkd.data.clip import Clip
from lastkd.data.layouts import Layout
from lastkd.data.sources.base import Splits
from lastkd.errors import UserError, nearest

FORMAT = 1
CLIPS_FILE = "clips.safetensors"
ABOUT_FILE = "store.json"
CHANNELS = 3
_HEADER_SPACE = 4096  # room for the header, which is known only after the last clip
_PER_CLIP = ("offsets", "frames", "bodies", "labels", "performers", "cameras", "setups")


class StoreWriter:
    """Writes clips one after the other; the folder appears at `finish`, whole or not at all."""

    def __init__(self, out: Path, layout: Layout) -> None:
        """
        Raises:
            UserError: `out` exists already, or its parent can't be written.
        """
        if out.exists():
            raise UserError(f"{out}: exists already; remove it or choose another --out")
        self.out = out
        self.layout = layout
        self.rows = 0
        self._columns: dict[str, list[int]] = {name: [] for name in _PER_CLIP}
        self._names: dict[str, int] = {}
        self._present: list[NDArray[np.uint8]] = []
        self._digest = hashlib.sha256(layout.model_dump_json().encode())
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        except OSError as error:
            raise UserError(
                f"{out}: cannot be made ({error.strerror}); choose another --out"
            ) from None
        self._file = (self._folder / CLIPS_FILE).open("wb")
        self._file.write(b" " * _HEADER_SPACE)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._names)

    def add(self, clip: Clip) -> None:
        """Appends a clip; bodies that are absent throughout take no room.

        Raises:
            UserError: its name is taken, its coordinates aren't finite, or its shape doesn't fit.
        """
        T, M, V, C = clip.joints.shape
        if self.layout.num_joints != V or C != CHANNELS or T == 0:
            raise UserError(
                f"clip {clip.name}: shape {clip.joints.shape} doesn't fit layout "
                f"{self.layout.name} of {self.layout.num_joints} joints"
            )
        if clip.name in self._names:
            raise UserError(f"clip {clip.name}: occurs twice; names must be unique")
        if not np.isfinite(clip.joints).all():
            raise UserError(f"clip {clip.name}: holds a coordinate that isn't a finite number")
        present: NDArray[np.bool_] = np.any(clip.joints, axis=(2, 3))
        kept = [m for m in range(M) if m == 0 or present[:, m].any()]
        rows = np.ascontiguousarray(clip.joints[:, kept].swapaxes(0, 1), dtype="<f4")
        about = (T, len(kept), clip.label, clip.performer, clip.camera, clip.setup)
        for column, value in zip(_PER_CLIP, (self.rows, *about), strict=True):
            self._columns[column].append(value)
        self._names[clip.name] = len(self._names)
        self._present.append(present[:, kept].T.reshape(-1).astype(np.uint8))
        self._digest.update(f"{clip.name} {about}".encode())
        self._digest.update(rows.data)
        self._write(rows.data)
        self.rows += T * len(kept)

    def _write(self, data: Any) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise UserError(
                f"{self.out}: cannot be written ({error.strerror}); nothing was left behind"
            ) from None

    def finish(
        self,
        *,
        class_names: Sequence[str],
        splits: Splits,
        source: str,
        counts: Mapping[str, int],
    ) -> None:
        """Puts the folder in its place.

        Args:
            class_names: by label.
            splits: split -> `train` and `test` -> clip names; names without a clip are passed over.
            source: where the clips came from, in words.
            counts: what was left out and why.

        Raises:
            UserError: there are no clips, or a label has no class name.
        """
        if not self._names:
            raise UserError(f"{self.out}: the source holds no clip that can be used")
        largest = max(self._columns["labels"])
        if largest >= len(class_names):
            raise UserError(f"label {largest} has no name: there are {len(class_names)} classes")
        tensors: dict[str, NDArray[Any]] = {
            "present": np.concatenate(self._present),
            **{name: np.asarray(values, "<i8") for name, values in self._columns.items()},
        }
        for split, parts in splits.items():
            for part, names in parts.items():
                found = [self._names[name] for name in names if name in self._names]
                tensors[f"split.{split}.{part}"] = np.asarray(found, "<i8")
                self._digest.update(f"{split} {part} {found}".encode())
        header: dict[str, Any] = {}
        end = self.rows * self.layout.num_joints * CHANNELS * 4
        header["joints"] = {
            "dtype": "F32",
            "shape": [self.rows, self.layout.num_joints, CHANNELS],
            "data_offsets": [0, end],
        }
        # the bytes of `present` go last: the format asks for whole numbers at aligned offsets
        for name in sorted(tensors, key=lambda name: name == "present"):
            array = tensors[name]
            self._write(array.tobytes())
            kind = "U8" if array.dtype == np.uint8 else "I64"
            span = [end, end + array.nbytes]
            header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": span}
            end += array.nbytes
        packed = json.dumps(header, separators=(",", ":")).encode()
        if len(packed) > _HEADER_SPACE - 8:
            raise UserError(f"{self.out}: more splits than the store's header holds")
        self._file.seek(0)
        self._write(struct.pack("<Q", _HEADER_SPACE - 8) + packed.ljust(_HEADER_SPACE - 8))
        about = {
            "format": FORMAT,
            "source": source,
            "layout": self.layout.model_dump(mode="json"),
            "class_names": list(class_names),
            "counts": dict(counts),
            "content_hash": self._digest.hexdigest(),
            "names": list(self._names),
        }
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            (self._folder / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
            self._folder.chmod(0o755)  # made private as every temporary folder
            self._folder.rename(self.out)
        except OSError as error:
            raise UserError(f"{self.out}: cannot be written ({error.strerror})") from None


@dataclass(frozen=True)
class ClipStore:
    """An opened store; `joints` stays on disk until it is read."""

    path: Path
    layout: Layout
    class_names: tuple[str, ...]
    source: str
    counts: dict[str, int]
    content_hash: str
    names: tuple[str, ...]
    frames: NDArray[np.int64]
    bodies: NDArray[np.int64]
    labels: NDArray[np.int64]
    offsets: NDArray[np.int64]
    performers: NDArray[np.int64]
    splits: dict[str, dict[str, NDArray[np.int64]]]

    @classmethod
    def open(cls, path: str | Path) -> ClipStore:
        """
        Raises:
            UserError: the folder is missing or holds no (whole) store.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise UserError(f"{folder}: no such store; make one with lastkd prepare SOURCE --out")
        try:
            about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise UserError(
                    f"{folder}: is a store of format {about['format']}, and this lastkd reads "
                    f"{FORMAT}; prepare it again"
                )
            with safe_open(folder / CLIPS_FILE, "np") as file:
                keys = set(file.keys())
                columns = {name: file.get_tensor(name) for name in _PER_CLIP}
                splits: dict[str, dict[str, NDArray[np.int64]]] = {}
                for key in sorted(keys):
                    if key.startswith("split."):
                        _, split, part = key.split(".")
                        splits.setdefault(split, {})[part] = file.get_tensor(key)
            return cls(
                path=folder,
                layout=Layout.model_validate(about["layout"]),
                class_names=tuple(about["class_names"]),
                source=about["source"],
                counts=about["counts"],
                content_hash=about["content_hash"],
                names=tuple(about["names"]),
                frames=columns["frames"],
                bodies=columns["bodies"],
                labels=columns["labels"],
                offsets=columns["offsets"],
                performers=columns["performers"],
                splits=splits,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(
                f"{folder}: is not a whole store ({' '.join(str(error).split())}); prepare it again"
            ) from None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def max_bodies(self) -> int:
        return int(self.bodies.max())

    def split(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clip indices of a split's training and test parts.

        Raises:
            UserError: the store has no such split, or a part of it is empty.
        """
        if name not in self.splits:
            hint = nearest(name, self.splits) if self.splits else "it has none"
            raise UserError(f"{self.path}: has no split {name!r}; {hint}")
        parts = self.splits[name]
        for part in ("train", "test"):
            if len(parts[part]) == 0:
                raise UserError(f"{self.path}: the {part} part of split {name!r} is empty")
        return parts["train"], parts["test"]

    def clip(self, index: int) -> NDArray[np.float32]:
        """One clip's joints, `(T, M, V, 3)`, centred and scaled."""
        T, M = int(self.frames[index]), int(self.bodies[index])
        start = int(self.offsets[index])
        with safe_open(self.path / CLIPS_FILE, "np") as file:
            rows: NDArray[np.float32] = file.get_slice("joints")[start : start + M * T]
        shape = (M, T, self.layout.num_joints, CHANNELS)
        joints: NDArray[np.float32] = rows.reshape(shape).swapaxes(0, 1)
        return joints

    def about(self) -> dict[str, Any]:
        """What the store holds, as plain values (the `--json` of `lastkd info`)."""
        return {
            "clips": len(self),
            "classes": self.num_classes,
            "splits": {
                name: {part: len(clips) for part, clips in parts.items()}
                for name, parts in self.splits.items()
            },
            "frames": {
                "min": int(self.frames.min()),
                "median": float(np.median(self.frames)),
                "max": int(self.frames.max()),
            },
            "two_body_share": round(float((self.bodies > 1).mean()), 4),
            "layout": self.layout.name,
            "source": self.source,
            "subjects": len(set(self.performers.tolist())),
            "left_out": self.counts,
            "content_hash": self.content_hash,
        }
