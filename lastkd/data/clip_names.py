"""Finding a clip by what a user calls it: its name, or its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lastkd.errors import UserError, nearest

MOST_COMPARED = 5000
"""Names among which the nearest one is looked for."""


def clip_number(
    source: str | Path,
    names: Sequence[str],
    asked: str | None,
    places: Mapping[str, int] | None = None,
) -> int:
    """Which clip of a source is meant.

    Args:
        asked: a clip's name, or its number, counted from 0, where no clip has that name; None for
            the first clip.
        places: of the names, where many clips are asked for.

    Raises:
        UserError: there is no such clip.
    """
    if asked is None:
        return 0
    if places is not None and asked in places:
        return places[asked]
    if places is None and asked in names:
        return names.index(asked)
    if asked.isdecimal() and len(asked) < 10:
        if int(asked) < len(names):
            return int(asked)
        raise UserError(f"{source}: has {len(names):,} clips, and no number {asked}")
    like = f"they are named like {names[0]}"
    hint = nearest(asked, names) if len(names) < MOST_COMPARED else like
    raise UserError(f"{source}: has no clip {asked!r}; {hint[:300]}")
