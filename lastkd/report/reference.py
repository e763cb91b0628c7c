"""Reference values for the report: compute costs, published models and expected ranges."""

from __future__ import annotations

from typing import NamedTuple

GFLOP = {"last_e_nano": 0.102, "last_e_small": 0.181, "last_e_base": 0.349, "last_e_large": 0.592}
"""Of one forward pass with 64 frames and 25 joints, counting a multiply-add as two."""


class Published(NamedTuple):
    """A model published by others, with the values in its paper."""

    name: str
    million_parameters: float
    gflop: float | None
    top1: float


EFFICIENT_GCN = (
    Published("EfficientGCN-B0", 0.29, 2.73, 90.2),
    Published("EfficientGCN-B2", 0.51, 4.05, 91.4),
    Published("EfficientGCN-B4", 1.10, 8.36, 92.1),
)
EFFICIENT_GCN_SOURCE = (
    "Song et al., Constructing Stronger and Faster Baselines for Skeleton-based Action "
    "Recognition, TPAMI 2022; NTU RGB+D 60 xsub"
)


class Expected(NamedTuple):
    """Ranges of top-1 in percent for one student; the gain in points."""

    standalone: tuple[int, int]
    distilled: tuple[int, int]
    gain: tuple[int, int]


NTU60_XSUB = {
    "last_e_nano": Expected((85, 87), (87, 89), (2, 4)),
    "last_e_small": Expected((87, 89), (89, 91), (2, 3)),
    "last_e_base": Expected((89, 91), (91, 92), (1, 2)),
    "last_e_large": Expected((91, 93), (92, 93), (0, 1)),
}
