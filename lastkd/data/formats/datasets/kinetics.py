"""Kinetics-skeleton's JSON, in which people keep sets of their own for ST-GCN, too: a file a clip.

A file has `data`, a list of `{"frame_index": 1, "skeleton": [{"pose": [x, y, ...], "score":
[...]}]}`, and `label` and `label_index`. Coordinates are shares of the image; a joint at (0, 0)
wasn't found. `kinetics_train_label.json` beside the folder `kinetics_train` has the labels of all
its clips (Yan et al., "Spatial Temporal Graph Convolutional Networks", AAAI 2018).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lastkd.data.class_names import numbered_classes
from lastkd.data.formats.clip_files import (
    BadClipError,
    ClipFiles,
    clip_a_file,
    decode,
    heads,
    read_limited,
)
from lastkd.data.formats.estimated import EstimatedClips
from lastkd.data.formats.labelled_clips import Labels
from lastkd.data.formats.people import People, frame_number, people_of_frames
from lastkd.data.frames import Frame
from lastkd.errors import UserError

_BESIDE = "_label.json"
_INDEX = re.compile(rb'"label_index"\s*:\s*(-?\d{1,6})\b')
_NAME = re.compile(rb'"label"\s*:\s*("(?:[^"\\]|\\.){0,200}")')
_ENDS = 1 << 10
"""Bytes at both ends of a file, where its label is."""
_LARGEST_LABEL = 9_999


class KineticsJson(EstimatedClips):
    """A folder of such files, with those of the training and the validation part in one each."""

    help = "Kinetics-skeleton's or ST-GCN's JSON (kinetics_train/*.json, each with its label)"
    kind = "Kinetics-skeleton JSON"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return any(
            b'"frame_index"' in head and b'"skeleton"' in head for head in heads(path, ".json")
        )

    def find(self, root: Path) -> list[ClipFiles]:
        return [clip for clip in clip_a_file(root, ".json") if not _is_beside(clip.files[0])]

    def people(self, clip: ClipFiles) -> People:
        content = decode(read_limited(clip.files[0]))
        frames = content.get("data") if isinstance(content, dict) else None
        if not isinstance(frames, list):
            raise BadClipError("has no list of frames called data")
        try:
            numbered = [
                (frame_number(frame["frame_index"], "frame_index"), _frame(frame["skeleton"]))
                for frame in frames
            ]
        except BadClipError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError):
            raise BadClipError("has a frame without frame_index, pose and score") from None
        return people_of_frames(sorted(numbered, key=lambda pair: pair[0]))

    def own_labels(self) -> Labels | None:
        labels: dict[str, int | None] = {}
        names: dict[int, str] = {}
        for clip, index, name in self._labelled():
            if index is None or not 0 <= index <= _LARGEST_LABEL:
                labels[clip] = None
                continue
            labels[clip] = index
            known = names.setdefault(index, name)
            if name and known and name != known:
                raise UserError(
                    f"{self._root}: label {index} is {known!r} and, of clip {clip!r}, {name!r}; "
                    "number the classes in one way, or give --labels"
                )
            names[index] = known or name
        if not names:
            return None
        classes = list(numbered_classes(1 + max(names)))
        for index, name in names.items():
            classes[index] = name or classes[index]
        return Labels(labels, tuple(classes))

    def _labelled(self) -> Iterator[tuple[str, int | None, str]]:
        """Name, number of the class and its name, of each clip."""
        tables: dict[Path, Any] = {}
        for clip in self._clips:
            file = Path(clip.files[0])
            if file.parent not in tables:
                tables[file.parent] = _table_beside(file.parent)
            row = tables[file.parent].get(file.stem)
            if isinstance(row, dict):
                index, name = row.get("label_index"), row.get("label")
                yield clip.name, index if isinstance(index, int) else None, str(name or "")
            else:
                yield clip.name, *_label_within(file)


def _frame(skeletons: Any) -> Frame:
    if not skeletons:
        return Frame()
    poses = np.array([one["pose"] for one in skeletons], np.float32)
    joints = poses.reshape(len(poses), -1, 2)
    scores = np.array([one["score"] for one in skeletons], np.float32)
    return Frame(joints, scores=scores.reshape(joints.shape[:2]))


def _is_beside(file: str) -> bool:
    path = Path(file)
    return path.name.endswith(_BESIDE) and path.with_name(path.name[: -len(_BESIDE)]).is_dir()


def _table_beside(folder: Path) -> dict[str, Any]:
    """The labels of a folder's clips that lie beside it; nothing where there are none."""
    path = folder.resolve().with_name(folder.resolve().name + _BESIDE)
    if not path.is_file():
        return {}
    try:
        table = decode(read_limited(str(path)))
    except (BadClipError, OSError) as error:
        raise UserError(f"{path}: {error}; mend it, or give --labels") from None
    if not isinstance(table, dict):
        raise UserError(f"{path}: isn't an object with the label of each clip; mend it")
    return table


def _label_within(file: Path) -> tuple[int | None, str]:
    """The label that a file says itself, read without its frames."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_ENDS)
            opened.seek(max(file.stat().st_size - _ENDS, len(text)))
            text += b"\n" + opened.read()
    except OSError:
        return None, ""
    index, name = _INDEX.search(text), _NAME.search(text)
    try:
        return int(index[1]) if index else None, str(decode(name[1])) if name else ""
    except BadClipError:  # text that isn't UTF-8
        return None, ""
