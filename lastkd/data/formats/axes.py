"""Joints in whatever nesting and order of axes they were written, as `(T, M, V, C)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.clip import FloatArray
from lastkd.data.layouts import Layout, get_layout, layout_names
from lastkd.errors import UserError

MOST_BODIES = 32
"""Larger axes aren't those of bodies."""
LARGEST_CLIP = 2**24
"""Numbers in one clip; uneven lists that would fill up to more are no clip."""
_DEEPEST = 6
USUAL = "TMVC"
JOINTS = (
    *("joints", "keypoints", "keypoint", "skeletons", "skeleton", "poses", "pose"),
    *("coords", "data"),
)
SCORES = ("scores", "score", "keypoint_scores", "keypoint_score", "confidence")
"""What people call the arrays of a clip."""
_AXES = {"T": "frames", "M": "bodies", "V": "joints", "C": "channels"}
_ORDERS = {
    4: ("TMVC", "MTVC", "CTVM", "TVCM", "CTMV", "CMTV"),
    3: ("TVC", "CTV", "TCV", "VCT", "VTC", "CVT"),
}


class AxesError(ValueError):
    """Why an array can't be read as a clip, in words that follow the clip's name."""


def dense(value: Any) -> FloatArray:
    """Numbers nested in lists and object arrays as one array.

    None stands for what wasn't seen, at any depth, and shorter lists (frames with fewer bodies) are
    filled up: both become NaN.

    Raises:
        AxesError: it holds anything but numbers, or is beyond what a clip can hold.
    """
    if not isinstance(value, np.ndarray) and hasattr(value, "__array__"):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return value
    if isinstance(value, list | tuple):
        try:
            array = np.array(value)
        except ValueError:  # uneven, or None inside
            array = np.empty(0, object)
        if array.dtype.kind in "fiu":
            return array.astype(np.float32)
    made = _filled(value, 0)
    if made is None:
        raise AxesError("holds no number")
    return made


def _filled(value: Any, depth: int) -> FloatArray | None:
    if value is None:
        return None
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return np.array(value, np.float32)
    if not isinstance(value, np.ndarray) and hasattr(value, "__array__"):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        return value.astype(np.float32)
    if depth > _DEEPEST or not isinstance(value, list | tuple | np.ndarray):
        raise AxesError(f"holds a {type(value).__name__} where numbers should be")
    parts = [_filled(one, depth + 1) for one in value]
    inner = {part.ndim for part in parts if part is not None and part.size}
    if not inner:
        return None
    if len(inner) > 1:
        raise AxesError("is nested unevenly")
    ndim = inner.pop()
    shapes = [part.shape for part in parts if part is not None and part.ndim == ndim]
    shape = tuple(max(sizes) for sizes in zip(*shapes, strict=True))
    if len(parts) * int(np.prod(shape, dtype=object)) > LARGEST_CLIP:
        raise AxesError("is larger than a clip can be")
    out = np.full((len(parts), *shape), np.nan, np.float32)
    for at, part in enumerate(parts):
        if part is not None and part.size and part.ndim == ndim:
            inside: tuple[Any, ...] = (at, *map(slice, part.shape))
            out[inside] = part
    return out


def arrange(
    array: NDArray[Any], layout: Layout, *, usual: str = USUAL, frames: int | None = None
) -> NDArray[Any]:
    """An array as `(T, M, V, C)`.

    The axes of joints and channels are recognised by their sizes; the others are frames and bodies.
    The usual order is taken if it makes sense, another one only if it is the only one that does.

    Args:
        array: `(T, M, V, C)` in any order, or without M, or `(T, M * V * C)`.
        layout: of the joints.
        usual: the order that the format is documented to have.
        frames: T at least, where the format says so apart.

    Raises:
        AxesError: it reads as no clip of this layout, or as two.
    """
    if array.ndim == 2:
        return _unfolded(array, layout)
    fitting, plausible = _orders(array.shape, layout, usual, frames)
    if not plausible:
        raise AxesError(_no_reading(array.shape, fitting, layout))
    if len(plausible) > 1 and not _is_usual(plausible[0], usual):
        readings = " or ".join(
            f"({', '.join(_AXES[axis] for axis in order)})" for order in plausible[:3]
        )
        raise AxesError(f"of shape {array.shape} may be {readings}; give frames first")
    order = plausible[0]
    if "M" not in order:
        array, order = array[..., None], order + "M"
    arranged: NDArray[Any] = array.transpose([order.index(axis) for axis in "TMVC"])
    return arranged


def _orders(
    shape: tuple[int, ...], layout: Layout, usual: str, frames: int | None
) -> tuple[list[str], list[str]]:
    """The orders in which joints and channels have the right sizes, and those that make sense."""
    fitting = [
        order
        for order in sorted(_ORDERS.get(len(shape), ()), key=lambda one: not _is_usual(one, usual))
        if _fits(dict(zip(order, shape, strict=True)), layout)
    ]
    return fitting, [
        order for order in fitting if _plausible(dict(zip(order, shape, strict=True)), frames)
    ]


def _is_usual(order: str, usual: str) -> bool:
    return order in (usual, usual.replace("M", ""))


def common_order(arrays: Iterable[NDArray[Any]], layout: Layout) -> str:
    """The order of axes in which some clips of a set make sense, for `usual` of the others.

    A clip with as many frames as joints may be read in two ways; its neighbours tell which.
    """
    shared: set[str] = set()
    for array in arrays:
        plausible = set(_orders(array.shape, layout, USUAL, None)[1])
        shared = (shared & plausible or shared) if shared else plausible
    return shared.pop() if len(shared) == 1 else USUAL


def fits(array: NDArray[Any], layout: Layout) -> bool:
    """Whether an array reads as a clip of a layout."""
    try:
        arrange(array, layout)
    except AxesError:
        return False
    return True


def unsaid_layout(where: str, fitting: Callable[[Layout], bool]) -> UserError:
    """What to say where nothing says which joints an array holds.

    Args:
        fitting: whether the clips read as clips of a layout.
    """
    names = [name for name in layout_names() if fitting(get_layout(name))]
    known = f"use --layout {' or '.join(names)}, if one has your joints, or " if names else ""
    return UserError(
        f"{where}: nothing in its files says which joints these are; {known}describe them in a "
        ".yaml file and give it by --layout"
    )


def channels_of(layout: Layout) -> tuple[int, ...]:
    """The numbers of channels that a layout's clips may have, without and with a score."""
    return (2, 3) if layout.dimensions == 2 else (3, 4)


def with_scores(joints: NDArray[Any], layout: Layout) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Coordinates `(T, M, V, D)` and the scores `(T, M, V)` that follow them, if any."""
    D = layout.dimensions
    return joints[..., :D], joints[..., D] if joints.shape[-1] > D else None


def joined(joints: NDArray[Any], scores: NDArray[Any] | None) -> NDArray[Any]:
    """Joints with the scores beside them, if there are any, as their last channel.

    Raises:
        AxesError: the two don't fit.
    """
    if scores is None:
        return joints
    if scores.shape == (*joints.shape[:-1], 1):
        scores = scores[..., 0]
    if scores.shape != joints.shape[:-1]:
        raise AxesError(f"has scores of shape {scores.shape} for joints {joints.shape}")
    return np.concatenate((joints, scores[..., None]), axis=-1)


def _fits(sizes: dict[str, int], layout: Layout) -> bool:
    return sizes["V"] == layout.num_joints and sizes["C"] in channels_of(layout)


def _plausible(sizes: dict[str, int], frames: int | None) -> bool:
    T, M = sizes["T"], sizes.get("M", 1)
    if frames is not None and frames > T:
        return False
    return M <= MOST_BODIES and (max(T, 2) >= M or frames == T)


def _unfolded(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    T, width = array.shape
    for channels in channels_of(layout):
        bodies, rest = divmod(width, layout.num_joints * channels)
        if not rest and 0 < bodies <= 2:
            return array.reshape(T, bodies, layout.num_joints, channels)
    raise AxesError(_no_reading(array.shape, [], layout))


def _no_reading(shape: Sequence[int], fitting: Sequence[str], layout: Layout) -> str:
    if fitting:
        return f"of shape {tuple(shape)} would be {_words(fitting[0], shape)}, which is no clip"
    V, *more = layout.num_joints, *channels_of(layout)
    return (
        f"has shape {tuple(shape)}, and layout {layout.name} needs (frames, bodies, {V}, {more[0]} "
        f"or {more[1]})"
    )


def _words(order: str, shape: Sequence[int]) -> str:
    sizes = dict(zip(order, shape, strict=True))
    return f"{sizes.get('M', 1)} bodies in {sizes['T']} frames"
