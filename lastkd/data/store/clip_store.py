"""The packed clip store: all frames of all clips in one array, opened in milliseconds.

A store is a folder with `clips.safetensors`, `store.json` and `details.jsonl`. The rows of `joints`
are body-frames:
clip i with F frames and M bodies owns M * F rows from `offsets[i]`, body 0's frames first. A body
that is absent from the whole clip has no rows, so nothing is spent on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from lastkd.data.bodies import KEPT
from lastkd.data.clip import USUAL_FPS
from lastkd.data.layouts import Layout
from lastkd.data.ntu import DATASETS, Benchmark
from lastkd.errors import UserError, nearest
from lastkd.files.json_text import parse_json

FORMAT = 1
CLIPS_FILE = "clips.safetensors"
ABOUT_FILE = "store.json"
DETAILS_FILE = "details.jsonl"
CHANNELS = 3
AUTO_SPLIT = "auto"
"""In place of a split's name: the only one, or the one that is meant."""
FPS = "fps"
"""The column of frame rates, in stores in which any is known."""
COLUMNS = ("offsets", "frames", "bodies", "labels", "performers", "cameras", "setups")


def holds_store(folder: Path) -> bool:
    """Whether a folder is a prepared store."""
    return (folder / ABOUT_FILE).is_file() and (folder / CLIPS_FILE).is_file()


class Duplicates(BaseModel):
    """The test clips of a split that equal a training clip in every number."""

    model_config = ConfigDict(frozen=True)

    clips: int
    of_class: dict[str, int] = Field(description="class name -> how many of them")
    example: tuple[str, str] = Field(description="a test clip and the training clip it equals")


class StoreAbout(BaseModel):
    """`store.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: int
    source: str
    layout: Layout
    class_names: tuple[str, ...]
    counts: dict[str, int] = Field(description="what was left out -> how often")
    bodies: dict[str, int] = Field({}, description="what the kept bodies became -> how often")
    benchmark: str | None = Field(None, description="title of the benchmark, where there is one")
    content_hash: str
    names: tuple[str, ...]
    name: str = Field("", description="what people call the set")
    duplicates: dict[str, Duplicates] = Field(
        {}, description="split -> its test clips that equal a training clip"
    )
    equal_clips: int = Field(0, description="clips that equal an earlier one in every number")


@dataclass(frozen=True)
class ClipStore:
    """An opened store; `joints` stays on disk until it is read.

    Attributes:
        fps: each clip's frames per second, `(N,)` float64, 0 where it isn't known.
    """

    path: Path
    layout: Layout
    class_names: tuple[str, ...]
    source: str
    counts: dict[str, int]
    body_choice: dict[str, int]
    benchmark: Benchmark | None
    content_hash: str
    names: tuple[str, ...]
    frames: NDArray[np.int64]
    bodies: NDArray[np.int64]
    labels: NDArray[np.int64]
    offsets: NDArray[np.int64]
    performers: NDArray[np.int64]
    cameras: NDArray[np.int64]
    setups: NDArray[np.int64]
    fps: NDArray[np.float64]
    splits: dict[str, dict[str, NDArray[np.int64]]]
    duplicates: dict[str, Duplicates] = field(default_factory=dict)
    equal_clips: int = 0
    name: str = ""

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
            text = (folder / ABOUT_FILE).read_bytes()
            version = parse_json(text)["format"]
            if version != FORMAT:
                raise UserError(
                    f"{folder}: is a store of format {str(version)[:20]}, and this lastkd reads "
                    f"{FORMAT}; prepare it again"
                )
            about = StoreAbout.model_validate_json(text)
            with safe_open(folder / CLIPS_FILE, "np") as file:
                columns = {name: file.get_tensor(name) for name in COLUMNS}
                splits: dict[str, dict[str, NDArray[np.int64]]] = {}
                for key in sorted(file.keys()):
                    if key.startswith("split."):
                        _, split, part = key.split(".")
                        splits.setdefault(split, {})[part] = file.get_tensor(key)
                fps = np.zeros(len(about.names))
                if FPS in file.keys():  # noqa: SIM118 (a file, and no mapping)
                    fps = file.get_tensor(FPS)
                slices = {name: file.get_slice(name) for name in ("joints", "present")}
                shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
                kinds = {name: one.get_dtype() for name, one in slices.items()}
                if kinds != {"joints": "F32", "present": "U8"}:
                    raise ValueError(f"its arrays are {kinds}")
            _check(about, columns, splits, shapes)
            _check_fps(fps, len(about.names))
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{folder}: is not a whole store ({reason}); prepare it again"
            ) from None
        titles = {one.title: one for one in DATASETS.values()}
        return cls(
            path=folder,
            layout=about.layout,
            class_names=about.class_names,
            source=about.source,
            counts=about.counts,
            body_choice=about.bodies,
            benchmark=titles.get(about.benchmark or ""),
            content_hash=about.content_hash,
            names=about.names,
            fps=fps,
            splits=splits,
            duplicates=about.duplicates,
            equal_clips=about.equal_clips,
            name=about.name or about.source,
            **columns,
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def places(self) -> dict[str, int]:
        """Each clip's number by its name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def max_bodies(self) -> int:
        return int(self.bodies.max())

    @property
    def keeps_bodies(self) -> bool:
        """Whether bodies are in the source's slots, absent or not (`--keep-bodies`)."""
        return any(fate in KEPT for fate in self.body_choice)

    def split_name(self, asked: str = AUTO_SPLIT, preferred: str | None = None) -> str:
        """The name of a split as the store has it.

        Args:
            asked: a name, in which capitals, blanks, `-` and `_` don't matter (`fold1` is
                `fold 1`); `auto` for the preferred split, the store's only one, or `xsub`.
            preferred: what `auto` means where the store has it.

        Raises:
            UserError: there is no such split, or several to choose from.
        """
        if not self.splits:
            raise UserError(
                f"{self.path}: has no split; prepare it again with --split-by performer, or "
                "'share 0.8'"
            )
        if asked == AUTO_SPLIT and asked not in self.splits:
            if preferred in self.splits:
                return str(preferred)
            if len(self.splits) == 1:
                return next(iter(self.splits))
            if "xsub" in self.splits:
                return "xsub"
            raise UserError(
                f"{self.path}: has the splits {', '.join(map(repr, self.splits))}; choose one by "
                "--split"
            )
        if asked in self.splits:
            return asked
        same = [name for name in self.splits if _plain(name) == _plain(asked)]
        if len(same) == 1:
            return same[0]
        raise UserError(f"{self.path}: has no split {asked!r}; {nearest(asked, self.splits)}")

    def split(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Clip indices of a split's training and test parts.

        Raises:
            UserError: the store has no such split, or a part of it is empty.
        """
        parts = self.splits[self.split_name(name)]
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

    def present(self) -> NDArray[np.bool_]:
        """Whether the body of each body-frame is there, `(R,)` in the order of the rows."""
        with safe_open(self.path / CLIPS_FILE, "np") as file:
            present: NDArray[np.uint8] = file.get_tensor("present")
        return present.astype(bool)

    def frames_per_second(
        self, clips: NDArray[np.int64], otherwise: float = USUAL_FPS
    ) -> NDArray[np.float64]:
        """The frame rates of clips `(N,)`, those that aren't known being `otherwise`."""
        known: NDArray[np.float64] = self.fps[clips]
        return np.where(known > 0, known, otherwise)

    def about(self) -> dict[str, Any]:
        """What the store holds, as plain values (the `--json` of `lastkd info`)."""
        lengths, edges = np.histogram(self.frames, bins=_bins(self.frames))
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
            "frames_per_second": self._frame_rates(),
            "frames_histogram": {"edges": edges.tolist(), "clips": lengths.tolist()},
            "clips_of_class": dict(zip(self.class_names, self._class_counts(), strict=True)),
            "two_body_share": round(float((self.bodies > 1).mean()), 4),
            "layout": self.layout.name,
            "name": self.name,
            "source": self.source,
            "subjects": len(set(self.performers.tolist()) - {-1}),
            "cameras": len(set(self.cameras.tolist()) - {-1}),
            "setups": len(set(self.setups.tolist()) - {-1}),
            "benchmark": self.benchmark.title if self.benchmark else None,
            "benchmark_differences": self.differences(),
            "bodies": self.body_choice,
            "left_out": self.counts,
            "equal_clips": self.equal_clips,
            "duplicates": {
                split: found.model_dump(mode="json") for split, found in self.duplicates.items()
            },
            "content_hash": self.content_hash,
        }

    def _frame_rates(self) -> dict[str, float | None]:
        """The lowest and the highest known frame rate, and of how many clips none is."""
        known = self.fps[self.fps > 0]
        low, high = (float(known.min()), float(known.max())) if len(known) else (None, None)
        return {"min": low, "max": high, "unknown": len(self) - len(known)}

    def _class_counts(self) -> list[int]:
        counts: list[int] = np.bincount(self.labels, minlength=self.num_classes).tolist()
        return counts

    def differences(self) -> list[str]:
        """Where the numbers of clips aren't the benchmark's; empty also where there is none."""
        if self.benchmark is None:
            return []
        if not self.splits.keys() & self.benchmark.sizes.keys():
            here = f"only {', '.join(self.splits)}" if self.splits else "none at all"
            return [
                f"{self.benchmark.title}: nothing to compare with its numbers, since of its splits "
                f"{' and '.join(self.benchmark.splits)} the store has neither, but {here}"
            ]
        return [
            f"{self.benchmark.title} {split}: {len(parts[part]):,} {word} clips, not {published:,}"
            for split, sizes in self.benchmark.sizes.items()
            if (parts := self.splits.get(split)) is not None
            for part, word, published in zip(
                ("train", "test"), ("training", "test"), sizes, strict=True
            )
            if len(parts[part]) != published
        ]

    def details(self) -> Iterator[dict[str, Any]]:
        """What became of clips that had several bodies, weren't taken or couldn't be read.

        Each has `clip` (its name) and either `bodies` (`[id, frames, fate]` each), `left_out` (the
        reasons) or `bad` (a sentence).
        """
        path = self.path / DETAILS_FILE
        if not path.is_file():
            return
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    detail = _Detail.model_validate_json(line)
                except ValidationError:
                    raise UserError(f"{path}: line {number} is damaged; prepare it again") from None
                yield detail.model_dump(exclude_none=True)


class _Detail(BaseModel):
    """A line of `details.jsonl`."""

    clip: str
    bodies: list[tuple[str, int, str]] | None = None
    left_out: list[str] | None = None
    bad: str | None = None


def _plain(name: str) -> str:
    """A split's name without capitals and what separates its words."""
    return re.sub(r"[\s_\-]+", "", name).lower()


def _bins(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges of at most about 16 bins of equal, round width that hold all lengths."""
    low, high = int(frames.min()), int(frames.max())
    width = next(w for w in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 10**9) if high - low <= 15 * w)
    first = low // width * width
    return np.arange(first, high + width + 1, width)


def _check(
    about: StoreAbout,
    columns: dict[str, NDArray[np.int64]],
    splits: dict[str, dict[str, NDArray[np.int64]]],
    shapes: dict[str, tuple[int, ...]],
) -> None:
    """
    Raises:
        ValueError: the parts of a store contradict one another.
    """
    count, rows = len(about.names), shapes["joints"][0] if shapes["joints"] else 0
    if not count:
        raise ValueError("there is no clip in it")
    indices = {f"split {key} {part}": of for key, two in splits.items() for part, of in two.items()}
    for name, column in {**columns, **indices}.items():
        if column.dtype != np.int64 or column.ndim != 1:
            raise ValueError(f"{name} is no list of whole numbers")
    if shapes["joints"] != (rows, about.layout.num_joints, CHANNELS) or shapes["present"] != (
        rows,
    ):
        raise ValueError(f"joints are {shapes['joints']} and present is {shapes['present']}")
    if any(len(column) != count for column in columns.values()):
        raise ValueError(f"there are {count} names, and columns of another length")
    sizes = columns["frames"] * columns["bodies"]
    limits = {
        "frames": (columns["frames"], 1, rows),
        "bodies": (columns["bodies"], 1, 2),
        "labels": (columns["labels"], 0, len(about.class_names) - 1),
        "offsets": (columns["offsets"], 0, rows),
        **{name: (of, 0, count - 1) for name, of in indices.items()},
    }
    for name, (values, low, high) in limits.items():
        if len(values) and (values.min() < low or values.max() > high):
            raise ValueError(f"{name} has a value outside {low} to {high}")
    if not np.array_equal(columns["offsets"], np.cumsum(sizes) - sizes) or sizes.sum() != rows:
        raise ValueError("offsets don't lead from clip to clip")
    for split, parts in splits.items():
        if parts.keys() - {"validation"} != {"train", "test"}:
            raise ValueError(f"split {split} has the parts {', '.join(parts)}")


def _check_fps(fps: NDArray[np.float64], count: int) -> None:
    """
    Raises:
        ValueError: the frame rates aren't those of so many clips.
    """
    if fps.dtype != np.float64 or fps.shape != (count,):
        raise ValueError(f"fps is {fps.dtype} of shape {fps.shape}, for {count} clips")
    if not (np.isfinite(fps).all() and (fps >= 0).all()):
        raise ValueError("fps has a value that is no frame rate")
