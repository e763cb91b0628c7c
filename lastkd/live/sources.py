"""Where frames come from: recorded clips, a folder that is being written, JSON lines."""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lastkd.data.frames import BROKEN, Frame, parse_line
from lastkd.live.window import Bodies

POLL_S = 0.02
PATIENCE_S = 1.0
"""For how long a file that isn't whole is looked at again."""
LONGEST_LINE = 1 << 22
"""Bytes of a line; what is longer is no frame of anybody's."""


_DIGITS = re.compile(r"(\d+)")
_NaturalKey: TypeAlias = "tuple[tuple[str | int, ...], str]"


class FrameSource(ABC):
    """Frames one after the other.

    Attributes:
        name: as it is shown.
        bodies: how its bodies come, as in `StreamPredictor`.
        paced: frames are there already and are played at their own rate.
    """

    name: str
    bodies: Bodies = "tracked"
    paced: bool = False

    @abstractmethod
    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        """The frames, from the first one on each time; None where there is none yet.

        Args:
            stop: set from outside to end them.
        """


class RecordedClip(FrameSource):
    """A clip that is in memory.

    Args:
        joints: `(T, M, V, 2 or 3)`, zeros where a body is absent.
        rate: frames per second.
    """

    bodies = "given"
    paced = True

    def __init__(self, name: str, joints: NDArray[np.floating], rate: float) -> None:
        self.name, self.rate = name, rate
        self._joints = joints

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for number, joints in enumerate(self._joints):
            yield Frame(joints, number / self.rate)


class RecordedBodies(FrameSource):
    """A Kinect's raw recording, whose bodies have ids: an NTU `.skeleton` file.

    Args:
        bodies: for each frame its joints `(bodies, V, 3)` and ids.
        rate: frames per second.
    """

    bodies = "kinect"
    paced = True

    def __init__(
        self,
        name: str,
        bodies: list[tuple[NDArray[np.floating], NDArray[np.int64]]],
        rate: float,
    ) -> None:
        self.name, self.rate = name, rate
        self._frames = bodies

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for number, (joints, ids) in enumerate(self._frames):
            yield Frame(joints if len(ids) else None, number / self.rate, ids=ids)


class JsonLines(FrameSource):
    """One JSON value a line, as they come.

    Args:
        stream: opened for bytes.
        dimensions: of the model's skeleton.
        rate: frames per second of a file whose lines don't say their time; None where such lines
            are of the moment at which they come.
    """

    def __init__(
        self, name: str, stream: BinaryIO, dimensions: int, rate: float | None = None
    ) -> None:
        self.name, self.paced = name, rate is not None
        self._stream, self._dimensions, self._rate = stream, dimensions, rate

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        if self.paced:
            self._stream.seek(0)
        number = 0
        while not stop.is_set():
            line = self._stream.readline(LONGEST_LINE)
            if not line:
                return
            if not line.endswith(b"\n") and len(line) == LONGEST_LINE:
                while (rest := self._stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                    pass
                yield Frame(fault=BROKEN)
                continue
            if not line.strip():
                continue
            frame = parse_line(line, dimensions=self._dimensions)
            if frame.fault is None and frame.time is None and self._rate is not None:
                frame = Frame(frame.joints, number / self._rate, frame.scores, frame.ids)
            number += 1
            yield frame


class GrowingFolder(FrameSource):
    """A folder into which an estimator writes one JSON file a frame.

    Files are taken by name, numbers in it as such: `frame_10` after `frame_9`. Their frame is the
    last number (`clip_000000000042_keypoints`), else their place in the order. One that isn't whole
    yet is waited for.

    Args:
        rate: frames per second.
        dimensions: of the model's skeleton.
        wait_s: ends when nothing new came for so long; None to wait for ever.
    """

    paced = True

    def __init__(
        self, folder: Path, rate: float, dimensions: int, wait_s: float | None = None
    ) -> None:
        self.name = folder.name
        self._folder, self._rate = folder, rate
        self._dimensions, self._wait_s = dimensions, wait_s

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        last: _NaturalKey = ((), "")
        place = 0
        news = time.monotonic()
        while not stop.is_set():
            files = (path for path in self._folder.iterdir() if path.suffix == ".json")
            keys = (_natural(path.name) for path in files)
            fresh = sorted(key for key in keys if key > last)
            for last in fresh:
                yield self._read(self._folder / last[1], place, stop)
                place, news = place + 1, time.monotonic()
            if not fresh:
                if self._wait_s is not None and time.monotonic() - news > self._wait_s:
                    return
                yield None
                stop.wait(POLL_S)

    def _read(self, path: Path, place: int, stop: threading.Event) -> Frame:
        found = re.search(r"(\d+)\D*$", path.stem)
        number = int(found[1]) if found else place
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                frame = parse_line(path.read_bytes(), dimensions=self._dimensions)
            except OSError:
                return Frame(fault=BROKEN)
            if frame.fault != BROKEN or time.monotonic() > until or stop.is_set():
                break
            stop.wait(POLL_S)  # its writer isn't done
        return Frame(frame.joints, number / self._rate, frame.scores, frame.ids, frame.fault)


def _natural(name: str) -> _NaturalKey:
    """A key that orders names by the numbers in them, text and number in turn, and the name."""
    parts = enumerate(_DIGITS.split(name))
    return tuple(int(part) if at % 2 else part for at, part in parts), name
