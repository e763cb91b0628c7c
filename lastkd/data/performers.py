"""Performers from the names of clips."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PERFORMER = re.compile(
    r"(?:^|[^a-z0-9]|(?<=\d))(?:s|p|subj|subject|person|performer|actor)[-_]?(\d+)", re.IGNORECASE
)


def performers_in_names(names: Sequence[str]) -> NDArray[np.str_] | None:
    """Each clip's performer by names such as `a1_s2_t3` (s, p, subject, ... and a number).

    Several performers of one clip are joined by `+`. None if a name has no performer.
    """
    found = [_PERFORMER.findall(name) for name in names]
    return join_performers(found) if all(found) else None


def join_performers(found: Sequence[Sequence[str]]) -> NDArray[np.str_]:
    """One text a clip: two people who change places are the same pair."""
    return np.array(["+".join(sorted(set(one))) for one in found])
