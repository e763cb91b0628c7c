"""AlphaPose's results: `alphapose-results.json`, one list for a whole video.

Each entry is a person in a frame: `image_id` (`42.jpg`), `keypoints` (x, y and a score of COCO's 17
joints, Halpe's 26, or 136 of a whole body), `score`, and `idx` where people were tracked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.formats.clip_files import (
    BadClipError,
    ClipFiles,
    clip_a_file,
    decode,
    heads,
    read_limited,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.people import People, people_of_frames
from lastkd.data.frames import Frame

RESULTS = "alphapose-results.json"
_DIGITS = re.compile(r"(\d{1,18})\D*$")


class AlphaPoseJson(EstimatedClips):
    """A folder of AlphaPose's results, or those of one video."""

    help = "AlphaPose's results (alphapose-results.json of each video, COCO or Halpe)"
    kind = "AlphaPose JSON"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(
            b'"image_id"' in head and b'"keypoints"' in head and head.lstrip()[:1] == b"["
            for head in heads(path, ".json")
        )

    def find(self, root: Path) -> list[ClipFiles]:
        return clip_a_file(root, ".json", (RESULTS,))

    def people(self, clip: ClipFiles) -> People:
        entries = decode(read_limited(clip.files[0]))
        if not isinstance(entries, list):
            raise BadClipError("has a file that isn't a list of AlphaPose's results")
        people: dict[int, list[Mapping[str, Any]]] = {}
        places: dict[str, int] = {}
        for entry in entries:
            if not isinstance(entry, dict) or "image_id" not in entry:
                raise BadClipError("has an entry without an image_id")
            image = str(entry["image_id"])
            if image not in places:
                digits = _DIGITS.search(image.rsplit(".", 1)[0])
                places[image] = int(digits[1]) if digits else len(places)
            people.setdefault(places[image], []).append(entry)
        return people_of_frames([(number, _frame(people[number])) for number in sorted(people)])


def _frame(people: list[Mapping[str, Any]]) -> Frame:
    try:
        rows = np.array([person["keypoints"] for person in people], np.float32)
        rows = rows.reshape(len(people), -1, 3)
        ids = [_id(person.get("idx")) for person in people]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise BadClipError("has a person whose keypoints aren't x, y and a score each") from None
    known = np.array([one for one in ids if one is not None], np.int64)
    return Frame(rows[..., :2], scores=rows[..., 2], ids=known if len(known) == len(ids) else None)


def _id(idx: Any) -> int | None:
    if isinstance(idx, list):
        idx = idx[0] if len(idx) == 1 else None
    return None if idx is None else int(idx)
