"""What pose estimators write: the part that their formats share.

A format finds its clips among the files and turns a clip's files into frames. From there on it is
the same for all: the joints that belong to the body are kept, people are followed from frame to
frame where the estimator hasn't done it, and labels, performers and splits come from a table
(`--labels`) or from a folder for each class.
"""

from __future__ import annotations

import hashlib
import math
import reprlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import ANY_ORDER
from lastkd.data.clip import Clip, FloatArray, Splits
from lastkd.data.formats.assemble import Sample, body_track, fault, reading_of_tracks
from lastkd.data.formats.base import UNLABELLED, Reading, Source, SourceOptions
from lastkd.data.formats.clip_files import BadClipError, ClipFiles
from lastkd.data.frames import Frame
from lastkd.data.layouts import Layout, get_layout, layout_hint
from lastkd.data.manifest import ManifestRow
from lastkd.data.splits import check_against, only_known, paired_splits
from lastkd.data.tracking import REACH, Tracker
from lastkd.data.unseen import mark_unseen
from lastkd.errors import UserError

MOST_FRAMES = 200_000
"""Between the first and the last frame of a clip: two hours at 30 frames/s."""
USUAL_FPS = 30.0
_LARGEST_SHARE = 4.0
"""Of an image; joints may be guessed a little outside it, and no person is so few pixels wide."""

BODY_OF = {133: 17, 136: 26, 137: 25}
"""Joints of a whole body (COCO-WholeBody, Halpe, OpenPose) -> the body's, which come first."""

_FLAT = {17: "coco17", 18: "coco18", 21: "hand21_image", 25: "body25", 26: "halpe26"}
_FLAT[33] = "mediapipe33_image"
_SPATIAL = {17: "h36m17", 21: "hand21", 25: "ntu25", 33: "mediapipe33"}


class EstimatedClips(Source):
    """Clips of one estimator's files.

    Args:
        root: the folder, or one clip's file.

    Raises:
        UserError: on construction where there is no clip, nobody says the labels, or the first
            clips have no skeleton that the layout fits.
    """

    takes_several = False

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> EstimatedClips:
        return cls(paths[0], options)

    @classmethod
    @abstractmethod
    def find(cls, root: Path) -> list[ClipFiles]:
        """The clips of a folder, or of one file, in a fixed order."""

    @abstractmethod
    def frames(self, clip: ClipFiles) -> list[tuple[int, Frame]]:
        """Each frame that the files hold, with its number in the recording; ascending.

        Raises:
            BadClipError: a file is damaged or of another form.
            OSError: it can't be read.
        """

    def __init__(self, root: Path, options: SourceOptions) -> None:
        self._root = root
        self._options = options
        self.counts: dict[str, int] = {}
        self._clips = self.find(root)
        if not self._clips:
            raise UserError(f"{root}: holds no clip; give the folder that the estimator wrote")
        self.layout = self._find_layout()
        self._tell_labels()

    def _find_layout(self) -> Layout:
        """The layout that was asked for, or the one of the first clip that shows anybody."""
        problem = "shows nobody in its first clips"
        for clip in self._clips[:20]:
            try:
                frames = (frame for _, frame in self.frames(clip))
                shown = (frame.joints for frame in frames if frame.joints is not None)
                joints = next((one for one in shown if one.size), None)
            except (BadClipError, OSError) as error:
                problem = f"clip {clip.name!r} {error}"
                continue
            if joints is not None:
                count = int(joints.shape[1])
                return self._layout_of(BODY_OF.get(count, count), int(joints.shape[2]))
        if self._options.layout is not None:
            return get_layout(self._options.layout)
        raise UserError(f"{self._root}: {problem}; check what the estimator wrote")

    def _layout_of(self, joints: int, dimensions: int) -> Layout:
        known = (_FLAT if dimensions == 2 else _SPATIAL).get(joints)
        asked = self._options.layout or known
        if asked is None:
            raise UserError(
                f"{self._root}: its skeletons have {joints} joints in {dimensions} dimensions, "
                f"for which no layout is known; {layout_hint(joints, dimensions)}"
            )
        layout = get_layout(asked)
        if (layout.num_joints, layout.dimensions) != (joints, dimensions):
            raise UserError(
                f"{self._root}: its skeletons have {joints} joints in {dimensions} dimensions, and "
                f"layout {layout.name} has {layout.num_joints} in {layout.dimensions}; "
                f"{layout_hint(joints, dimensions)}"
            )
        return layout

    def _tell_labels(self) -> None:
        """Labels, class names, performers and splits, by the table or by folders."""
        self._splits: Splits = {}
        manifest = self._options.labels
        names = [clip.name for clip in self._clips]
        if manifest is not None:
            found = {name: manifest.find(name) for name in names}
            if not any(row is not None for row in found.values()):
                raise UserError(
                    f"{manifest.path}: has no line for any clip: it names "
                    f"{reprlib.repr(next(iter(manifest.rows)))}, and clips are called "
                    f"{reprlib.repr(names[0])}; make the names the same"
                )
            self._rows = found
            self._labels = {
                name: row.label if row is not None else None for name, row in found.items()
            }
            self.class_names = manifest.class_names
            if not self._options.replaces_splits:
                labelled = {name: 0 for name, label in self._labels.items() if label is not None}
                lists = manifest.lists([name for name in names if name in labelled])
                self._splits = paired_splits(lists, str(manifest.path))
                check_against(self._splits, labelled, str(manifest.path))
            return
        self._rows = dict.fromkeys(names)
        classes = sorted({clip.group.split("/")[0] for clip in self._clips})
        by_folder = "" not in classes and len(classes) > 1
        if not by_folder and not self._options.labelled:
            self._labels = dict.fromkeys(names, 0)
            self.class_names = ("",)
        elif not by_folder:
            raise UserError(
                f"{self._root}: nobody says the classes of its clips, such as {names[0]!r}; give a "
                "table by --labels labels.csv (file,label,performer,split), or put the clips of "
                "each class into a folder of its own"
            )
        else:
            order = {name: at for at, name in enumerate(classes)}
            self._labels = {clip.name: order[clip.group.split("/")[0]] for clip in self._clips}
            self.class_names = tuple(classes)

    def __len__(self) -> int:
        return len(self._clips)

    def names(self) -> Sequence[str]:
        return [clip.name for clip in self._clips]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for clip in self._clips[start:stop]:
            yield self._read(clip)

    def _read(self, clip: ClipFiles) -> Reading:
        label = self._labels[clip.name]
        if label is None:
            return Reading(clip.name, counts={UNLABELLED: 1})
        row = self._rows[clip.name]
        who = (row.performer, row.camera, row.setup) if row is not None else (-1, -1, -1)
        sample = Sample(clip.name, label, f"{self._root}: clip {clip.name!r}", *who)
        try:
            return self.assemble(clip, sample, row)
        except (BadClipError, OSError) as error:
            return fault(sample, str(error))

    def assemble(self, clip: ClipFiles, sample: Sample, row: ManifestRow | None) -> Reading:
        """A clip from its frames; errors as in `frames`."""
        frames = self.frames(clip)
        scale = self._scale(frames, row.size if row is not None else None)
        bodies = followed(frames, self.layout, scale, row.fps if row is not None else None)
        tracks = [
            body_track(places, joints, name, self.layout)
            for name, (places, joints) in bodies.items()
        ]
        total = 1 + max((int(track.frames[-1]) for track in tracks), default=-1)
        return reading_of_tracks(sample, tracks, total, self.layout, rules=ANY_ORDER)

    def _scale(
        self, frames: Sequence[tuple[int, Frame]], size: tuple[float, float] | None
    ) -> tuple[float, float]:
        """What coordinates are multiplied by, so that x and y have one unit.

        Raises:
            BadClipError: they are shares of an image whose size nobody says.
        """
        largest = max((_largest(f.joints) for _, f in frames if f.joints is not None), default=0.0)
        return self.scale_of(largest, size)

    def scale_of(self, largest: float, size: tuple[float, float] | None) -> tuple[float, float]:
        """The same by the largest coordinate."""
        if self.layout.dimensions == 3 or not 0 < largest < _LARGEST_SHARE:
            return (1.0, 1.0)
        size = size or self._options.image_size
        if size is None:
            raise BadClipError(
                "has coordinates that are shares of an image whose size isn't known; give "
                "--image-size 1920x1080, or columns width and height in --labels"
            )
        return size

    def identity(self) -> str:
        digest = hashlib.sha256()
        for clip in self._clips:
            for file in clip.files:
                about = file.stat()
                digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return only_known(self._splits, (clip.name for clip in clips))


def _largest(joints: NDArray[np.floating]) -> float:
    largest = float(joints[..., :2].max(initial=0.0))
    return float(np.nanmax(joints[..., :2], initial=0.0)) if math.isnan(largest) else largest


Followed = dict[str, tuple[NDArray[np.intp], FloatArray]]
"""Body -> the frames in which it is seen `(N,)` and its joints `(N, V, 3)`, NaN where unseen."""


def followed(
    frames: Sequence[tuple[int, Frame]],
    layout: Layout,
    scale: tuple[float, float] = (1.0, 1.0),
    fps: float | None = None,
) -> Followed:
    """The bodies of a clip, by the estimator's ids or, where it has none, by where they are.

    Args:
        frames: with their numbers, ascending, in a recording that may begin later than at 0.
        layout: its joints are the first ones of each skeleton.
        scale: of x and y.
        fps: frames per second, by which people are expected to move.

    Raises:
        BadClipError: skeletons don't fit the layout, or the frames are too far apart.
    """
    seen = [(number, frame) for number, frame in frames if frame.joints is not None]
    if not seen:
        return {}
    first = seen[0][0]
    # an estimator that looked at every second frame numbers them 0, 2, 4, ...
    stride = math.gcd(*(number - first for number, _ in seen)) or 1
    if (seen[-1][0] - first) // stride > MOST_FRAMES:
        raise BadClipError(f"has frames {first} to {seen[-1][0]}, more than a clip can have")
    V, D = layout.num_joints, layout.dimensions
    pieces = [_of_body(frame, V, D) for _, frame in seen]
    counts = [len(joints) for joints, _ in pieces]
    joints = np.concatenate([joints for joints, _ in pieces]).astype(np.float32)
    scores = np.concatenate([scores for _, scores in pieces])
    joints[..., :2] *= np.array(scale, np.float32)
    marked = mark_unseen(joints[:, None], layout, scores[:, None])[:, 0]
    numbers = np.repeat([(number - first) // stride for number, _ in seen], counts)
    times = numbers / (fps or USUAL_FPS / stride)
    names = _names([frame for _, frame in seen], counts, marked, times)
    bodies: Followed = {}
    for name in dict.fromkeys(names.tolist()):
        rows = np.flatnonzero((names == name) & marked.any(axis=(1, 2)))
        if len(rows):
            bodies[f"person {name}"] = (numbers[rows].astype(np.intp), marked[rows])
    return bodies


def _of_body(frame: Frame, V: int, D: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """A frame's joints `(bodies, V, D)` of the body alone, and their scores."""
    joints = frame.joints
    if joints is None or joints.ndim != 3 or BODY_OF.get(joints.shape[1], joints.shape[1]) != V:
        shape = None if joints is None else joints.shape
        raise BadClipError(f"has skeletons of shape {shape}, where the others have {V} joints")
    if joints.shape[2] < D:
        raise BadClipError(f"has joints in {joints.shape[2]} dimensions, where others have {D}")
    body = joints[:, :V, :D]
    if frame.scores is None:
        return body, np.ones(body.shape[:2], np.float32)
    if frame.scores.shape != joints.shape[:2]:
        raise BadClipError(f"has scores {frame.scores.shape} for joints {joints.shape[:2]}")
    return body, np.nan_to_num(frame.scores[:, :V])


def _names(
    frames: Sequence[Frame],
    counts: Sequence[int],
    marked: FloatArray,
    times: NDArray[np.floating],
) -> NDArray[np.int64]:
    """Who each skeleton is `(N,)`."""
    ids = [frame.ids for frame in frames if frame.ids is not None]
    if len(ids) == len(frames) and all(
        len(set(of.tolist())) == count for of, count in zip(ids, counts, strict=True)
    ):
        return np.concatenate(ids)
    if max(counts) == 1:
        return np.zeros(len(marked), np.int64)
    tracker, names = Tracker(), np.zeros(len(marked), np.int64)
    starts = np.cumsum([0, *counts])
    near = _near_the_one_before(marked)
    for at, count in enumerate(counts):
        rows = slice(starts[at], starts[at + 1])
        # somebody who is alone for a while needs no search, but at its ends
        alone = 0 < at < len(counts) - 1 and counts[at - 1] == count == counts[at + 1] == 1
        if alone and near[rows.start]:
            names[rows] = names[rows.start - 1]
        elif count:
            names[rows] = tracker.assign(marked[rows], float(times[rows.start]))
    return names


def _near_the_one_before(marked: FloatArray) -> NDArray[np.bool_]:
    """`(N,)`: whether a skeleton's middle lies within reach of the one's in the row before."""
    x, y = np.moveaxis(marked[..., :2], -1, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a skeleton of which nothing was seen
        middles = np.stack((np.nanmean(x, axis=1), np.nanmean(y, axis=1)), axis=1)
        heights = np.nanmax(y, axis=1) - np.nanmin(y, axis=1)
    moved = np.linalg.norm(np.diff(middles, axis=0), axis=1)
    near = np.zeros(len(marked), bool)
    near[1:] = moved < REACH * np.minimum(heights[1:], heights[:-1])
    return near
