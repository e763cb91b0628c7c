"""What pose estimators write: the part that their formats share.

A format finds its clips among the files and turns a clip's files into frames. From there on it is
the same for all: the joints that belong to the body are kept, people are followed from frame to
frame where the estimator hasn't done it, and labels, performers and splits come from a table
(`--labels`) or from a folder for each class.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lastkd.data.bodies import ANY_ORDER
from lastkd.data.clip import USUAL_FPS, Clip, Splits
from lastkd.data.formats.assemble import Sample, body_track, fault, reading_of_tracks
from lastkd.data.formats.base import UNLABELLED, Reading, Source, SourceOptions
from lastkd.data.formats.clip_files import BadClipError, ClipFiles
from lastkd.data.formats.people import BODY_OF, People, followed
from lastkd.data.layouts import Layout, get_layout, layout_hint
from lastkd.data.manifest import ManifestRow
from lastkd.data.splits import check_against, only_known, paired_splits
from lastkd.errors import UserError

_LOOKED_AT, _MOST_LOOKED_AT = 5, 20
"""Clips that decide on the layout, and among how many they are looked for."""
_LARGEST_SHARE = 4.0
"""Of an image; joints may be guessed a little outside it, and no person is so few pixels wide."""

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
    has_slots = False

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> EstimatedClips:
        return cls(paths[0], options)

    @classmethod
    @abstractmethod
    def find(cls, root: Path) -> list[ClipFiles]:
        """The clips of a folder, or of one file, in a fixed order."""

    @abstractmethod
    def people(self, clip: ClipFiles) -> People:
        """Everybody that the files show.

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
        """The layout that was asked for, or that of most of the first clips that show anybody."""
        problem = "shows nobody in its first clips"
        found: Counter[tuple[int, int]] = Counter()
        for clip in self._clips[:_MOST_LOOKED_AT]:
            try:
                joints = self.people(clip).joints
            except (BadClipError, OSError) as error:
                problem = f"clip {clip.name!r} {error}"
                continue
            if joints.ndim == 3 and joints.size:
                count = int(joints.shape[1])
                found[BODY_OF.get(count, count), int(joints.shape[2])] += 1
                if found.total() == _LOOKED_AT:
                    break
        if found:
            return self._layout_of(*found.most_common(1)[0][0])
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
                f"{layout_hint(joints, dimensions, self._options.layout)}"
            )
        return layout

    def _tell_labels(self) -> None:
        """Labels, class names, performers and splits, by the table or by folders."""
        self._splits: Splits = {}
        manifest = self._options.labels
        names = [clip.name for clip in self._clips]
        if manifest is not None:
            found = manifest.rows_of(names)
            self.remarks = manifest.remarks(found)
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
        """A clip from its people; errors as in `people`."""
        people = self.people(clip)
        scale = self._scale(people, row.size if row is not None else None)
        fps = self.fps_of(row) or people.fps or 0.0
        if len(people.numbers):
            sample = sample._replace(fps=fps / people.stride)
        bodies = followed(people, self.layout, scale, fps or USUAL_FPS)
        tracks = [
            body_track(places, joints, name, self.layout)
            for name, (places, joints) in bodies.items()
        ]
        total = 1 + max((int(track.frames[-1]) for track in tracks), default=-1)
        return reading_of_tracks(sample, tracks, total, self.layout, rules=ANY_ORDER)

    def fps_of(self, row: ManifestRow | None) -> float:
        """Frames per second of a clip's video, by the table or for all; 0 where nobody says it."""
        return (row.fps if row is not None else None) or self._options.fps or 0.0

    def _scale(self, people: People, size: tuple[float, float] | None) -> tuple[float, float]:
        """What coordinates are multiplied by, so that x and y have one unit.

        Raises:
            BadClipError: they are shares of an image whose size nobody says.
        """
        # the largest that is no NaN, which fmax passes over
        largest = float(np.fmax.reduce(people.joints[..., :2], axis=None, initial=0.0))
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
                about = Path(file).stat()
                digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return only_known(self._splits, (clip.name for clip in clips))
