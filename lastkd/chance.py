"""Chance as a function of place.

Nothing here carries state along: what is drawn depends on the seed, on what it is for, and on the
place (epoch, step, rank, ...) alone. So batch size, number of processes, an interruption or another
machine don't change a view, an order or a mask.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Place = int | str


def _digest(seed: int, purpose: str, place: tuple[Place, ...]) -> bytes:
    key = "/".join([str(seed), purpose, *map(str, place)])
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def uniform(seed: int, purpose: str, *place: Place, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform draws in [0, 1) from a counter-based generator (Philox) keyed by the place."""
    key = int.from_bytes(_digest(seed, purpose, place), "little")
    return np.random.Generator(np.random.Philox(key=key)).random(shape)


def order(seed: int, purpose: str, *place: Place, count: int) -> NDArray[np.int64]:
    """A permutation of `range(count)`, by sorting uniform draws."""
    draws = uniform(seed, purpose, *place, shape=(count,))
    return np.argsort(draws, kind="stable").astype(np.int64)


def seed_for(seed: int, purpose: str, *place: Place) -> int:
    """A 63-bit seed for a generator that isn't ours, such as torch's."""
    return int.from_bytes(_digest(seed, purpose, place)[:8], "little") >> 1
