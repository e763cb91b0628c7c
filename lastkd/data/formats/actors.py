"""Which bodies of a clip are kept where its format has chosen and ordered them already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lastkd.data.bodies import ACTORS, BodyFate, motion
from lastkd.data.clip import FloatArray

CROWDED = "clips of which the two bodies that move most were kept"
CROWDED_OUT = "moves less than two others"


@dataclass(frozen=True)
class Actors:
    """The bodies that stay.

    Attributes:
        joints: `(T, M, V, C)`, M 1 or 2; None where there is nobody.
        counts: what was left out -> how often.
        fates: of the bodies that were there.
    """

    joints: FloatArray | None
    counts: dict[str, int] = field(default_factory=dict)
    fates: Sequence[BodyFate] = ()


def kept_actors(joints: FloatArray, dimensions: int) -> Actors:
    """Drops bodies that are all zeros; of more than two the two that move most are kept.

    Args:
        joints: `(T, M, V, C)`, finite.
        dimensions: the leading channels that are places.
    """
    bodies = [body for body in range(joints.shape[1]) if joints[:, body].any()]
    seen = {body: int(joints[:, body].any(axis=(1, 2)).sum()) for body in bodies}
    kept = bodies
    if len(bodies) > 2:
        places = joints[..., :dimensions]
        moved = [-motion(places[places[:, body].any(axis=(1, 2)), body]) for body in bodies]
        kept = [bodies[at] for at in np.argsort(moved, kind="stable")[:2]]
    if not kept:
        return Actors(None)
    fates = tuple(
        BodyFate(
            f"body {body}",
            seen[body],
            ACTORS[kept.index(body)] if body in kept else CROWDED_OUT,
        )
        for body in bodies
    )
    counts = {CROWDED: 1} if len(bodies) > 2 else {}
    return Actors(np.ascontiguousarray(joints[:, kept]), counts, fates)


def without_empty_frames(joints: FloatArray) -> FloatArray:
    """`(T, M, V, C)` without the frames that hold nobody, the zeros of a padding among them."""
    filled = joints.any(axis=(1, 2, 3))
    return joints if filled.all() else joints[filled]
