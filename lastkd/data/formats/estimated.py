"""What pose estimators write: the part that their formats share.

A format turns a clip's files into frames. From there on it is the same for all: the joints that
belong to the body are kept, and people are followed from frame to frame where the estimator hasn't
done it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter

import numpy as np

from lastkd.data.bodies import ANY_ORDER
from lastkd.data.clip import USUAL_FPS, FloatArray
from lastkd.data.formats.assemble import Sample, body_track, reading_of_tracks
from lastkd.data.formats.base import Reading
from lastkd.data.formats.clip_files import BadClipError, ClipFiles
from lastkd.data.formats.image_shares import Size, scale_of
from lastkd.data.formats.labelled_clips import LabelledClips
from lastkd.data.formats.people import BODY_OF, People, followed
from lastkd.data.layouts import Layout, get_layout, layout_hint
from lastkd.data.manifest import ManifestRow
from lastkd.errors import UserError

_LOOKED_AT, _MOST_LOOKED_AT = 5, 20
"""Clips that decide on the layout, and among how many they are looked for."""
_FLAT = {17: "coco17", 18: "coco18", 21: "hand21_image", 25: "body25", 26: "halpe26"}
_FLAT[33] = "mediapipe33_image"
_SPATIAL = {17: "h36m17", 21: "hand21", 25: "ntu25", 32: "azure32", 33: "mediapipe33"}


class EstimatedClips(LabelledClips):
    """Clips of one estimator's files."""

    has_slots = False

    @abstractmethod
    def people(self, clip: ClipFiles) -> People:
        """Everybody that the files show.

        Raises:
            BadClipError: a file is damaged or of another form.
            OSError: it can't be read.
        """

    def find_layout(self) -> Layout:
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

    def scale(self, joints: FloatArray, size: Size | None) -> Size:
        """What x and y of a clip's flat joints are multiplied by.

        Raises:
            BadClipError: they are shares of an image whose size nobody says.
        """
        # the largest that is no NaN, which fmax passes over
        return scale_of(float(np.fmax.reduce(joints, axis=None, initial=0.0)), size)

    def assemble(self, clip: ClipFiles, sample: Sample, row: ManifestRow | None) -> Reading:
        people = self.people(clip)
        scale = (1.0, 1.0)
        if self.layout.dimensions == 2:
            scale = self.scale(people.joints[..., :2], self.image_size_of(row))
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
