"""Random numbers as a pure function of (seed, purpose, position).

Nothing here carries state from one call to the next: a draw depends only on the seed, on what it is
for, and on its key (epoch, step, rank, ...). Batch size, number of processes, an interruption or
another machine therefore change no view, no order and no dropout mask.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Key = int | str


def _digest(seed: int, purpose: str, key: tuple[Key, ...]) -> bytes:
    text = "/".join([str(seed), purpose, *map(str, key)])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def uniform(seed: int, purpose: str, *key: Key, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Uniform draws in [0, 1) from a counter-based generator (Philox)."""
    counter = int.from_bytes(_digest(seed, purpose, key), "little")
    return np.random.Generator(np.random.Philox(key=counter)).random(shape)


def permutation(seed: int, purpose: str, *key: Key, count: int) -> NDArray[np.int64]:
    """A permutation of `range(count)`, by sorting uniform draws."""
    draws = uniform(seed, purpose, *key, shape=(count,))
    return np.argsort(draws, kind="stable").astype(np.int64)


def derive_seed(seed: int, purpose: str, *key: Key) -> int:
    """A 63-bit seed for another library's generator, such as torch's."""
    return int.from_bytes(_digest(seed, purpose, key)[:8], "little") >> 1
