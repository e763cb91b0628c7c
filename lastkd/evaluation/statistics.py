"""How certain the difference between two models is, from their hits on the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedComparison:
    """A model compared with a reference, clip by clip.

    Attributes:
        clips: how many both were tested on.
        top1, reference_top1: in percent.
        gain: `top1 - reference_top1`, in points.
        low, high: the 95 % interval of the gain over the test clips, in points.
        only_model, only_reference: clips that only one of them got right.
        p_value: of McNemar's exact test that these two counts differ by chance.
    """

    clips: int
    top1: float
    reference_top1: float
    gain: float
    low: float
    high: float
    only_model: int
    only_reference: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """The values with four decimals, except for the p-value."""
        values = asdict(self)
        return {k: round(v, 4) if k != "p_value" else v for k, v in values.items()}

    def describe(self) -> str:
        return (
            f"{self.gain:+.2f} points (95 % interval {self.low:+.2f} to {self.high:+.2f} over "
            f"{self.clips:,} test clips; only one is right: {self.only_model} against "
            f"{self.only_reference}, McNemar's exact test p = {self.p_value:.2g})"
        )


def compare(right: NDArray[np.bool_], reference_right: NDArray[np.bool_]) -> PairedComparison:
    """Compares two models on the same clips.

    The test is McNemar's in its exact form: of the clips that only one model got right, each model
    is expected to have half. The interval is Wald's for a difference of paired proportions with
    half a clip added to each cell (Agresti and Min, 2005), which keeps its coverage where few clips
    differ. Both are about the choice of test clips, not about seeds.

    Args:
        right: `(N,)`, whether the model got each clip right.
        reference_right: the same for the reference, in the same order.

    Raises:
        ValueError: the two differ in length or are empty.
    """
    from scipy.stats import binomtest  # takes a second to import

    if right.shape != reference_right.shape or right.ndim != 1 or not len(right):
        raise ValueError("two models can only be compared on the same clips, at least one")
    N = len(right)
    gained = int((right & ~reference_right).sum())
    lost = int((~right & reference_right).sum())
    low, high = paired_interval(gained, lost, N)
    return PairedComparison(
        clips=N,
        top1=100 * float(right.mean()),
        reference_top1=100 * float(reference_right.mean()),
        gain=100 * (gained - lost) / N,
        low=100 * low,
        high=100 * high,
        only_model=gained,
        only_reference=lost,
        p_value=float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    )


def paired_interval(gained: int, lost: int, clips: int) -> tuple[float, float]:
    """The 95 % interval of `(gained - lost) / clips`, from -1 to 1 (Agresti and Min, 2005).

    Args:
        gained: clips that only the model got right.
        lost: clips that only the reference got right.
        clips: the number of all clips.
    """
    N, b, c = clips + 2, gained + 0.5, lost + 0.5
    middle = (b - c) / N
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    half = z * float(np.sqrt(b + c - (b - c) ** 2 / N)) / N
    return max(-1.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Gain:
    """A mean gain over seeds, in points, with its 95 % interval over the test clips."""

    gain: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.gain:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def gain_over_seeds(pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> Gain:
    """The gain of models over references, averaged over seeds.

    For one seed the interval is that of `compare`. For several, the differences of each clip are
    averaged over the seeds first, and the interval is that of their mean over the clips: it says
    how much other test clips would change the result for these models, not what other seeds would.

    Args:
        pairs: for each seed, which clips `(N,)` the model and the reference got right.
    """
    if len(pairs) == 1:
        one = compare(*pairs[0])
        return Gain(one.gain, one.low, one.high, 1)
    difference = np.mean([right.astype(float) - reference for right, reference in pairs], axis=0)
    mean = float(difference.mean())
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    half = z * float(difference.std(ddof=1)) / float(np.sqrt(len(difference)))
    return Gain(100 * mean, 100 * (mean - half), 100 * (mean + half), len(pairs))


@dataclass(frozen=True)
class SetGain:
    """A mean gain over sets and seeds, in points, with its 95 % interval.

    Attributes:
        gain: the mean over the sets of each set's mean over its seeds.
        low, high: the interval; None where there is only one set with one seed.
        sets, seeds: how many sets, and how many seeds of all sets together.
    """

    gain: float
    low: float | None
    high: float | None
    sets: int
    seeds: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.gain:+.2f} (no interval)"
        return f"{self.gain:+.2f} ({self.low:+.2f} to {self.high:+.2f})"


def gain_over_sets(gains: Sequence[Sequence[float]]) -> SetGain:
    """The mean gain over sets, each the mean of its seeds, with a 95 % t-interval.

    For several sets the interval is Student's for the mean of the sets' means. A set's mean varies
    with the set, with the seeds and with the test clips, so all three are in it, and it says what
    to expect of another set like these. For a single set it is Student's over the seeds.

    Args:
        gains: for each set, the gain of each seed in points, at least one.

    Raises:
        ValueError: there is no set, or a set without a seed.
    """
    from scipy.special import stdtrit  # scipy takes a second to import

    if not gains or not all(gains):
        raise ValueError("a mean over sets needs at least one gain of each set")
    samples = np.array([np.mean(one) for one in gains] if len(gains) > 1 else gains[0], float)
    mean = float(samples.mean())
    seeds = sum(map(len, gains))
    if len(samples) < 2:
        return SetGain(mean, None, None, len(gains), seeds)
    error = float(samples.std(ddof=1)) / float(np.sqrt(len(samples)))
    half = float(stdtrit(len(samples) - 1, (1 + CONFIDENCE) / 2)) * error
    return SetGain(mean, mean - half, mean + half, len(gains), seeds)
