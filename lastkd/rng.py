"""Random numbers as a pure function of (seed, purpose, position).

No state is carried from one call to the next: a draw depends only on the seed, its purpose and its
key (epoch, step, rank, ...). Views, clip order and dropout masks are therefore independent of the
batch size, the number of processes, interruptions and the machine.
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
    """Uniform draws in [0, 1) of the given shape, from a counter-based generator (Philox)."""
    counter = int.from_bytes(_digest(seed, purpose, key), "little")
    return np.random.Generator(np.random.Philox(key=counter)).random(shape)


def permutation(seed: int, purpose: str, *key: Key, count: int) -> NDArray[np.int64]:
    """A random permutation of `range(count)`, by sorting uniform draws."""
    draws = uniform(seed, purpose, *key, shape=(count,))
    return np.argsort(draws, kind="stable").astype(np.int64)


def derive_seed(seed: int, purpose: str, *key: Key) -> int:
    """A 63-bit seed for the generator of another library, such as torch."""
    return int.from_bytes(_digest(seed, purpose, key)[:8], "little") >> 1
