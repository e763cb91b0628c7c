"""Writing a store: clips are appended, and the folder takes its place when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import struct
import tempfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from lastkd.data.clip import Clip, Splits
from lastkd.data.layouts import Layout
from lastkd.data.store.clip_store import (
    ABOUT_FILE,
    CHANNELS,
    CLIPS_FILE,
    COLUMNS,
    DETAILS_FILE,
    FORMAT,
    FPS,
)
from lastkd.data.store.duplicates import ContentIndex
from lastkd.data.store.packing import ClipRow, Packed, pack_clips, presence
from lastkd.errors import UserError
from lastkd.files.json_text import parse_json
from lastkd.files.lock import lock

JOURNAL_FILE = "parts.jsonl"
_LOCK_FILE = ".lock"
_KINDS = {"u": "U8", "i": "I64", "f": "F64"}
_HEADER_SPACE = 4096  # room for the header, which is known only after the last clip


def part_folder(out: Path) -> Path:
    """Where a store is while it isn't whole."""
    return out.with_name(f"{out.name}.part")


class StoreWriter:
    """Writes clips one after the other; the folder appears at `finish`, whole or not at all.

    With an `identity`, what is there when the writer is stopped stays in `<out>.part`, and the next
    writer of the same identity goes on after it: a journal has a line with a checksum for each
    `Packed` that was taken. Without one nothing is left behind.

    Attributes:
        samples: taken so far, by this writer and those before it.
        clips: what is known of each clip so far.
        counts, bodies, faults: summed over what was taken (see `Packed`).
    """

    def __init__(
        self,
        out: Path,
        layout: Layout,
        *,
        identity: str | None = None,
        source: str = "",
        drop_duplicates: bool = False,
    ) -> None:
        """
        Args:
            drop_duplicates: clips that equal an earlier one in every number are left out.
            identity: of the source and of all that decides what is written.
            source: the same in words.

        Raises:
            UserError: `out` exists already or can't be made, or `<out>.part` was begun from another
                source or is being written by another process.
        """
        if out.exists():
            raise UserError(f"{out}: exists already; remove it or choose another --out")
        self.out = out
        self.layout = layout
        self.samples = 0
        self._taken = False  # true before the account is, which an interrupt may prevent
        self.rows = 0
        self.clips: list[ClipRow] = []
        self.counts: Counter[str] = Counter()
        self.bodies: Counter[str] = Counter()
        self.faults: list[str] = []
        self._details: list[dict[str, Any]] = []
        self._names: dict[str, int] = {}
        self._present: list[NDArray[np.uint8]] = []
        self._drop_duplicates = drop_duplicates
        self._contents = ContentIndex()
        self._digest = hashlib.sha256(layout.model_dump_json().encode())
        self._begun = {"format": FORMAT, "identity": identity, "source": source}
        self._keep = identity is not None
        self._lock: FileLock | None = None
        self._file: IO[bytes]
        self._journal: IO[bytes]
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            if identity is None:
                self._folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
                self._begin()
            else:
                self._folder = part_folder(out)
                self._claim()
                self._go_on()
        except UserError:
            self._release()
            raise
        except OSError as error:
            raise UserError(
                f"{out}: cannot be made ({error.strerror}); choose another --out"
            ) from None

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (self._file, self._journal):
            with contextlib.suppress(OSError):  # a full disk was reported by the write before
                file.close()
        self._release()
        if not self._keep or not self._taken:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.clips)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def discard(self) -> None:
        """Nothing of what was taken is to stay when the writer is left."""
        self._keep = False

    def add(self, clip: Clip) -> None:
        """Appends one clip; bodies that are absent throughout take no room.

        Raises:
            UserError: its name is taken, its coordinates aren't finite, or its shape doesn't fit.
        """
        self.take(pack_clips([clip], self.layout))

    def take(self, packed: Packed) -> None:
        """Appends what was packed.

        Raises:
            UserError: a name is taken, or the disk is full.
        """
        if self._drop_duplicates:
            packed = self._contents.without_known(packed)
        fresh: set[str] = set()
        for clip in packed.clips:
            if clip.name in self._names or clip.name in fresh:
                raise UserError(f"clip {clip.name}: occurs twice; names must be unique")
            fresh.add(clip.name)
        try:
            self._file.write(packed.rows.data)
            self._file.flush()
            self._taken = True
            if self._keep:
                self._journal.write(_journal_line(packed))
                self._journal.flush()
        except OSError as error:
            self._failed(error)
        self._account(packed)

    def _account(self, packed: Packed) -> None:
        self._taken = True
        start = 0
        for clip in packed.clips:
            stop = start + clip.frames * clip.bodies
            self._names[clip.name] = len(self._names)
            self._digest.update(repr(clip.hashed).encode())
            self._digest.update(packed.rows[start:stop].data)
            self._contents.add(clip, packed.rows[start:stop])
            start = stop
        self.samples += packed.samples
        self.rows += len(packed.rows)
        self.clips += packed.clips
        self.counts.update(packed.counts)
        self.bodies.update(packed.bodies)
        self.faults += packed.faults
        self._details += packed.details
        self._present.append(packed.present)

    def _failed(self, error: OSError) -> NoReturn:
        left = (
            f"free some space and start again, it goes on from {self.samples:,} samples"
            if self._keep and self.samples
            else "nothing was left behind"
        )
        raise UserError(f"{self.out}: cannot be written ({error.strerror}); {left}") from None

    def _begin(self) -> None:
        self._file = (self._folder / CLIPS_FILE).open("wb")
        self._file.write(b" " * _HEADER_SPACE)
        self._journal = (self._folder / JOURNAL_FILE).open("wb")
        self._journal.write(json.dumps(self._begun).encode() + b"\n")

    def _claim(self) -> None:
        self._lock = lock(
            self._folder / _LOCK_FILE,
            taken=f"{self._folder}: another process is writing it; wait for it to end",
            advice="choose another --out",
        )

    def _go_on(self) -> None:
        """Takes up what an earlier writer left, as far as it is whole."""
        journal = self._folder / JOURNAL_FILE
        if not journal.exists() and {file.name for file in self._folder.iterdir()} - {_LOCK_FILE}:
            raise UserError(
                f"{self._folder}: is in the way and no begun store; move it or choose another --out"
            )
        lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
        begun = _parsed(lines[0]) if lines else None
        if begun is None or len(lines) == 1:
            self._begin()
            return
        if begun != self._begun:
            raise UserError(
                f"{self._folder}: was begun from another source or version "
                f"({begun.get('source')}); remove it or choose another --out"
            )
        self._file = (self._folder / CLIPS_FILE).open("rb+")
        self._file.seek(_HEADER_SPACE)
        whole = len(lines[0]) + 1
        for line in lines[1:]:
            packed = self._packed_of(line)
            if packed is None:
                break
            self._account(packed)
            whole += len(line) + 1
        end = _HEADER_SPACE + self.rows * self.layout.num_joints * CHANNELS * 4
        self._file.truncate(end)
        self._file.seek(end)
        self._journal = journal.open("rb+")
        self._journal.truncate(whole)
        self._journal.seek(whole)

    def _packed_of(self, line: bytes) -> Packed | None:
        """What a journal's line stands for; None where it or its rows aren't whole."""
        entry = _parsed(line)
        if entry is None:
            return None
        clips = [ClipRow(*clip) for clip in entry["clips"]]
        shape = (sum(c.frames * c.bodies for c in clips), self.layout.num_joints, CHANNELS)
        data = self._file.read(4 * shape[0] * shape[1] * shape[2])
        if zlib.crc32(data) != entry["crc"]:
            return None
        rows = np.frombuffer(data, "<f4").reshape(shape)
        return Packed(
            entry["samples"], clips, rows, presence(rows), Counter(entry["counts"]),
            Counter(entry["bodies"]), entry["details"], entry["faults"],
        )  # fmt: skip

    def finish(
        self,
        *,
        class_names: Sequence[str],
        splits: Splits,
        source: str,
        counts: Mapping[str, int],
        benchmark: str | None = None,
        name: str = "",
        fps: float = 0.0,
    ) -> None:
        """Puts the folder in its place.

        Args:
            class_names: by label.
            splits: split -> `train` and `test` -> clip names; names without a clip are passed over.
            source: where the clips came from, in words.
            counts: what was left out and why.
            benchmark: title of the benchmark whose samples these are.
            name: what people call the set.
            fps: frames per second of the clips that don't say their own; 0 if unknown.

        Raises:
            UserError: there are no clips, or a label has no class name.
        """
        if not self.clips:
            self.discard()  # or it would stand in the way of a mended source
            reasons = [
                *self.faults[:1],
                *(f"{what}: {number:,}" for what, number in counts.items()),
            ]
            why = f" ({'; '.join(reasons)})" if reasons else ""
            raise UserError(f"{self.out}: the source holds no clip that can be used{why}")
        largest = max(clip.label for clip in self.clips)
        if largest >= len(class_names):
            raise UserError(f"label {largest} has no name: there are {len(class_names)} classes")
        about = {
            "format": FORMAT,
            "source": source,
            "layout": self.layout.model_dump(mode="json"),
            "class_names": list(class_names),
            "counts": dict(counts),
            "bodies": dict(sorted(self.bodies.items())),
            "benchmark": benchmark,
            "name": name,
            "equal_clips": self._contents.equal_clips,
            "duplicates": {
                split: found.model_dump(mode="json")
                for split, parts in splits.items()
                if (found := self._contents.leaks(parts, class_names)) is not None
            },
        }
        try:
            self._write_columns(splits, fps)
            about |= {"content_hash": self._digest.hexdigest(), "names": list(self._names)}
            with (self._folder / DETAILS_FILE).open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(one) + "\n" for one in self._details)
            (self._folder / ABOUT_FILE).write_text(json.dumps(about), encoding="utf-8")
            self._file.close()
            self._journal.close()
            for file_name in (CLIPS_FILE, DETAILS_FILE, ABOUT_FILE):
                with (self._folder / file_name).open("rb+") as file_:
                    os.fsync(file_.fileno())
            (self._folder / JOURNAL_FILE).unlink()
            if self._keep:
                self._release()
                (self._folder / _LOCK_FILE).unlink(missing_ok=True)
            self._folder.chmod(0o755)  # made private as every temporary folder
            self._folder.rename(self.out)
        except OSError as error:
            self._failed(error)

    def _write_columns(self, splits: Splits, fps: float) -> None:
        sizes = np.array([clip.frames * clip.bodies for clip in self.clips], "<i8")
        columns = {"offsets": np.cumsum(sizes) - sizes}
        fields = zip(*(clip.hashed[1:] for clip in self.clips), strict=True)
        columns |= {
            name: np.array(values, "<i8") for name, values in zip(COLUMNS[1:], fields, strict=True)
        }
        tensors: dict[str, NDArray[Any]] = dict(columns)
        rates = np.array([clip.fps or fps for clip in self.clips], "<f8")
        if rates.any():
            tensors[FPS] = rates
        for split, parts in splits.items():
            for part, names in parts.items():
                found = [self._names[name] for name in names if name in self._names]
                tensors[f"split.{split}.{part}"] = np.asarray(found, "<i8")
                self._digest.update(f"{split} {part} {found}".encode())
        # the bytes of `present` go last: the format asks for whole numbers at aligned offsets
        tensors = dict(sorted(tensors.items())) | {"present": np.concatenate(self._present)}

        header: dict[str, Any] = {}
        end = self.rows * self.layout.num_joints * CHANNELS * 4
        header["joints"] = {
            "dtype": "F32",
            "shape": [self.rows, self.layout.num_joints, CHANNELS],
            "data_offsets": [0, end],
        }
        for name, array in tensors.items():
            self._file.write(array.tobytes())
            kind = _KINDS[array.dtype.kind]
            span = [end, end + array.nbytes]
            header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": span}
            end += array.nbytes
        packed = json.dumps(header, separators=(",", ":")).encode()
        if len(packed) > _HEADER_SPACE - 8:
            raise UserError(f"{self.out}: more splits than the store's header holds")
        self._file.seek(0)
        self._file.write(struct.pack("<Q", _HEADER_SPACE - 8) + packed.ljust(_HEADER_SPACE - 8))


def _journal_line(packed: Packed) -> bytes:
    entry = {
        "samples": packed.samples,
        "clips": packed.clips,
        "crc": zlib.crc32(packed.rows.data),
        "counts": packed.counts,
        "bodies": packed.bodies,
        "details": packed.details,
        "faults": packed.faults,
    }
    return json.dumps(entry).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
