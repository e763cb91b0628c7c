"""Random draws are a pure function of (seed, purpose, key)."""

from __future__ import annotations

import numpy as np

from lastkd import rng

GOLDEN = [0.9048276122839324, 0.7381587905225636, 0.5785318119916374]
ORDER = [7, 0, 5, 1, 4, 6, 2, 3]


def test_the_same_key_draws_the_same() -> None:
    a = rng.uniform(3, "view", 7, shape=(5, 4))
    assert np.array_equal(a, rng.uniform(3, "view", 7, shape=(5, 4)))
    assert a.min() >= 0
    assert a.max() < 1


def test_another_seed_purpose_or_epoch_draws_differently() -> None:
    a = rng.uniform(3, "view", 7, shape=(5, 4))
    for other in ((4, "view", 7), (3, "order", 7), (3, "view", 8)):
        assert not np.isclose(a, rng.uniform(*other, shape=(5, 4))).any()


def test_keys_are_not_concatenated() -> None:
    assert rng.derive_seed(1, "dropout", 1, 11) != rng.derive_seed(1, "dropout", 11, 1)


def test_a_golden_draw_never_changes() -> None:
    # a change here would change every run that was ever made with a seed
    assert rng.uniform(0, "view", 1, shape=(3,)).tolist() == GOLDEN
    assert rng.permutation(0, "order", 1, count=8).tolist() == ORDER


def test_a_permutation_holds_every_index_once() -> None:
    assert sorted(rng.permutation(5, "order", 2, count=100)) == list(range(100))
    assert not np.array_equal(
        rng.permutation(5, "order", 2, count=100), rng.permutation(5, "order", 3, count=100)
    )
