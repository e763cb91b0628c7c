"""Top-1 in percent that the design expects on NTU RGB+D 60, cross-subject.

Estimates: nobody has measured them.
"""

from __future__ import annotations

from typing import NamedTuple


class Expected(NamedTuple):
    """Ranges for one variant; the gain in points."""

    standalone: tuple[int, int]
    distilled: tuple[int, int]
    gain: tuple[int, int]


NTU60_XSUB = {
    "nano": Expected((85, 87), (87, 89), (2, 4)),
    "small": Expected((87, 89), (89, 91), (2, 3)),
    "base": Expected((89, 91), (91, 92), (1, 2)),
    "large": Expected((91, 93), (92, 93), (0, 1)),
}
