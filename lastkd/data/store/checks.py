"""What may spoil a training without a word: looked for in a finished store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lastkd.data.class_names import numbered_classes
from lastkd.data.layouts import Layout, get_layout, layout_names
from lastkd.data.store.clip_store import ClipStore

_LOOKED_AT = 64
"""Clips that the skeleton is judged by, evenly spaced over the store."""
_SHORTER = 0.85
"""Another layout fits better if its bones are shorter than this share of the chosen one's, ..."""
_AS_STEADY = 1.15
"""... and vary by no more than this many times as much."""
_UPRIGHT = 0.5
"""Mean share of the trunk's length that is along y, below which bodies lie."""
_MOST_OF_A_CLIP = 0.5
"""Share of its frames in which body 0 is expected, where bodies keep their slots."""

Points = NDArray[np.float32]


def warnings_of(store: ClipStore) -> list[str]:
    """What to look at before training on a store, a sentence each with the way out."""
    sample = _sample(store)
    return [
        *_split_warnings(store),
        *_duplicate_warnings(store),
        *_label_warnings(store),
        *_body_warnings(store),
        *(list(_layout_warnings(store.layout, sample)) or _axis_warnings(store.layout, sample)),
    ]


def _sample(store: ClipStore) -> list[Points]:
    """Body 0 `(T, V, D)` of some clips, in the frames in which it is there."""
    count = min(len(store), _LOOKED_AT)
    clips = (store.clip(int(at)) for at in np.linspace(0, len(store) - 1, count))
    bodies = (clip[:, 0, :, : store.layout.dimensions] for clip in clips)
    return [body[body.any(axis=(1, 2))] for body in bodies]


def _split_warnings(store: ClipStore) -> Iterator[str]:
    if not store.splits:
        yield (
            "there is no split, and training needs one: prepare again with --split-by performer, "
            "'share 0.8' or 'list train.txt test.txt'"
        )
    for name, parts in store.splits.items():
        for part in ("train", "test"):
            if not len(parts[part]):
                yield (
                    f"the {part} part of split {name!r} is empty: nothing can be compared on it; "
                    "prepare again with --split-by"
                )


def _duplicate_warnings(store: ClipStore) -> Iterator[str]:
    for split, found in store.duplicates.items():
        test, train = found.example
        yield (
            f"{found.clips:,} of {len(store.splits[split]['test']):,} test clips of split "
            f"{split!r} equal a training clip in every number ({test} is {train}): prepare again "
            "with --drop-duplicates"
        )


def _label_warnings(store: ClipStore) -> Iterator[str]:
    counts = np.bincount(store.labels, minlength=store.num_classes)
    numbered = store.num_classes > 1 and store.class_names == numbered_classes(store.num_classes)
    if numbered and counts[0] == 0 and (counts[1:] > 0).all():
        yield (
            "no clip has the label 0, and every other label is there: the labels seem to count "
            "from 1; subtract 1 from each"
        )


def _body_warnings(store: ClipStore) -> Iterator[str]:
    """Whether slots that were kept leave a model of one body without anybody to look at."""
    if not store.keeps_bodies:
        return
    seen = np.concatenate(([0], np.cumsum(store.present())))
    of_first = seen[store.offsets + store.frames] - seen[store.offsets]
    hidden = int((of_first < _MOST_OF_A_CLIP * store.frames).sum())
    if hidden:
        yield (
            f"body 0 is absent from most of {hidden:,} of {len(store):,} clips, and LAST-E, the "
            "student, looks at body 0 alone: make one skeleton of both bodies (docs/data.md), or "
            "prepare again without --keep-bodies"
        )


def _layout_warnings(layout: Layout, bodies: Sequence[Points]) -> Iterator[str]:
    """Whether another layout's bones are shorter and keep their length as well or better.

    In the wrong order of joints, bones join ends that are far apart and move on their own.
    """
    if layout.dimensions == 2:  # where a bone's length changes with the body's heading
        return
    chosen = _measure_bones(layout, bodies)
    others = {}
    for name in layout_names():
        other = get_layout(name)
        alike = (other.num_joints, other.dimensions) == (layout.num_joints, layout.dimensions)
        if alike and set(other.bones) != set(layout.bones):
            others[name] = _measure_bones(other, bodies)
    if not others:
        return
    best, (length, variation) = min(others.items(), key=lambda item: item[1])
    if length < _SHORTER * chosen[0] and variation <= _AS_STEADY * chosen[1]:
        yield (
            f"the joints seem to be in the order of layout {best}, not {layout.name}: its bones "
            f"have {100 * length:.0f} % of the body's size and vary by {100 * variation:.1f} %, "
            f"those of {layout.name} {100 * chosen[0]:.0f} and {100 * chosen[1]:.1f} %; prepare "
            f"again with --layout {best}"
        )


def _measure_bones(layout: Layout, bodies: Sequence[Points]) -> tuple[float, float]:
    """A bone's mean length and the standard deviation of its length within a clip.

    Both are means over all bones and clips, in units of the body's size: the root mean square
    distance of its joints from their middle.
    """
    child, parent = np.array(layout.bones).T
    measured = []
    for points in bodies:
        from_middle = points - points.mean(axis=1, keepdims=True)
        size = float(np.sqrt(np.square(from_middle).sum(axis=-1).mean())) if len(points) else 0.0
        if size:
            lengths = np.linalg.norm(points[:, child] - points[:, parent], axis=-1) / size
            measured.append((float(lengths.mean()), float(lengths.std(axis=0).mean())))
    length, variation = np.mean(measured, axis=0) if measured else (0.0, 0.0)
    return float(length), float(variation)


def _axis_warnings(layout: Layout, bodies: Sequence[Points]) -> Iterator[str]:
    """Whether trunks stand along y: up in space, down in an image."""
    if layout.torso is None or not any("hip" in joint for joint in layout.joints):
        return
    upper, lower = (list(group) for group in layout.torso)
    flat = layout.dimensions == 2
    ups = [np.zeros(0)]
    for points in bodies:
        trunk = points[:, upper].mean(axis=1) - points[:, lower].mean(axis=1)
        seen = np.all(np.any(points[:, upper + lower], axis=-1), axis=1) | (not flat)
        length = np.linalg.norm(trunk, axis=-1)
        seen &= length > 0
        ups.append(trunk[seen, 1] / length[seen])
    up = np.concatenate(ups) * (-1 if flat else 1)  # in an image y points down
    if not len(up):
        return
    if np.abs(up).mean() < _UPRIGHT and not flat:
        yield (
            "the bodies lie: y should point up, since clips are turned about it; prepare again "
            "with --up z, or whichever way is up"
        )
    elif up.mean() < -_UPRIGHT:
        wanted = "down; prepare again with --up y" if flat else "up; prepare again with --up -y"
        yield f"the bodies stand upside down: y should point {wanted}"
