"""New clips for a model, in every form that `lastkd prepare` takes and as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.bodies import IN_ORDER
from lastkd.data.clip import FloatArray
from lastkd.data.contents import describe_path
from lastkd.data.formats.assemble import Sample, reading_of_slots
from lastkd.data.formats.axes import AxesError, arrange, with_scores
from lastkd.data.formats.base import BODILESS, Reading
from lastkd.data.layouts import Layout
from lastkd.data.open_source import format_of, open_source
from lastkd.data.store.clip_store import holds_store
from lastkd.errors import UserError


class RawClip(NamedTuple):
    """A clip as it was recorded: `joints` `(T, M, V, 3)`, actor 1 first, not yet centred."""

    name: str
    joints: FloatArray


def clip_of_array(
    name: str, array: NDArray[Any], layout: Layout, *, keep_bodies: bool = False
) -> RawClip:
    """A clip from an array of joints, by the same steps as `lastkd prepare` takes.

    Args:
        name: as an error names it.
        array: `(T, M, V, C)` or `(T, V, C)`, or in another order of axes that can't be mistaken; x
            and y alone in a flat layout, or with a score; x, y and z in a 3-D one, or with a score;
            with y up (in an image down), whichever way is up in files of this layout.
        layout: of the joints.
        keep_bodies: bodies stay in their slots, absent or not.

    Raises:
        UserError: the array reads as no clip of this layout, or holds nobody.
    """
    if array.dtype.kind not in "fiu":
        raise UserError(f"{name}: holds {array.dtype} and no numbers; give joints")
    try:
        joints, scores = with_scores(arrange(array, layout), layout)
    except AxesError as error:
        raise UserError(f"{name}: {error}") from None
    sample = Sample(name, 0, name)
    return _clip(
        reading_of_slots(
            sample, joints, layout, scores=scores, rules=IN_ORDER, keep_bodies=keep_bodies
        )
    )


def clips_of_path(
    path: Path,
    layout: Layout,
    *,
    image_size: tuple[float, float] | None = None,
    keep_bodies: bool = False,
) -> Iterator[RawClip]:
    """The clips of a file or folder: of any format of `lastkd prepare`.

    Args:
        layout: that the clips must have.
        image_size: width and height in pixels, where coordinates are shares of them.
        keep_bodies: bodies stay in their slots, absent or not.

    Raises:
        UserError: there is no such file, it is of no known format, or a clip of it can't be read,
            has another skeleton or shows nobody.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    if holds_store(path):
        raise UserError(f"{path}: is a prepared store; give --data {path} and its clips' names")
    if format_of(path) is not None:
        reader = open_source(
            str(path),
            layout=layout,
            labelled=False,
            image_size=image_size,
            keep_bodies=keep_bodies,
        )
        alone = len(reader) == 1
        for reading in reader.readings(0, len(reader)):
            clip = _clip(reading, str(path) if alone else f"{path}: {reading.name}")
            yield clip._replace(name=path.name) if alone else clip
        return
    raise UserError(
        f"{path}: {describe_path(path)}; give an array or table of joints or whatever lastkd "
        "prepare reads, or for a store's clips --data DIR and their names"
    )


def _clip(reading: Reading, where: str | None = None) -> RawClip:
    """
    Raises:
        UserError: the reading is no clip.
    """
    where = where or reading.name
    if reading.fault is not None:
        text = reading.fault
        raise UserError(text if text.startswith(where) else f"{where}: {text}")
    if reading.clip is None:
        if BODILESS in reading.counts:
            raise UserError(f"{where}: holds no body in any frame")
        raise UserError(f"{where}: can't be used: {', '.join(reading.counts)}")
    return RawClip(reading.name, np.ascontiguousarray(reading.clip.joints, np.float32))
