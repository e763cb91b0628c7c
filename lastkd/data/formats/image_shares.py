"""Flat coordinates that are shares of an image, brought to pixels: x and y then have one unit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.formats.clip_files import BadClipError

Size = tuple[float, float]
"""Width and height."""

_LARGEST_SHARE = 4.0
"""Of an image; joints may be guessed a little outside it, and no person is so few pixels wide."""
_MOST_NEGATIVE = 0.1
"""Of a clip's coordinates."""


def scale_of(largest: float, size: Size | None) -> Size:
    """What x and y are multiplied by: 1 where they are in pixels already.

    Args:
        largest: coordinate of the clip.
        size: of its image; None where nobody says it.

    Raises:
        BadClipError: they are shares of an image whose size nobody says.
    """
    if not 0 < largest < _LARGEST_SHARE:
        return (1.0, 1.0)
    if size is None:
        raise BadClipError(
            "has coordinates that are shares of an image whose size isn't known; give "
            "--image-size 1920x1080, or columns width and height in --labels"
        )
    return size


def are_centred(places: NDArray[Any]) -> bool:
    """Whether somebody has centred joints `(..., 2)`: many are negative then.

    A joint that is guessed a little outside its image makes none of that.
    """
    seen = _seen(places)
    return bool(seen.any()) and float(np.mean(places[seen] < 0)) > _MOST_NEGATIVE


def in_pixels(places: NDArray[Any], size: Size | None) -> NDArray[Any]:
    """Joints `(..., 2)` in pixels, or as they are where they are no shares of an image.

    Joints that somebody has centred have a unit of their own.

    Raises:
        BadClipError: as in `scale_of`.
    """
    seen = _seen(places)
    if not seen.any() or are_centred(places):
        return places
    scale = np.array(scale_of(float(places[seen].max()), size), np.float32)
    return np.where(seen, places * scale, places)


def _seen(places: NDArray[Any]) -> NDArray[np.bool_]:
    seen: NDArray[np.bool_] = np.isfinite(places) & (places != -1)  # at (-1, -1) nothing was seen
    return seen
