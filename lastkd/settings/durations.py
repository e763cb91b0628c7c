"""Durations as users write them."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")


def in_seconds(duration: str) -> float:
    """Seconds of a duration such as 11h, 10h30m or 45s.

    Raises:
        ValueError: it isn't a duration, or is zero.
    """
    match = _DURATION.fullmatch(duration.strip())
    parts = [float(part or 0) for part in match.groups()] if match else [0.0]
    seconds = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if not seconds:
        raise ValueError("isn't a duration; write it as 11h, 10h30m, 90m or 45s")
    return seconds


def checked_duration(value: str | None) -> str | None:
    """The duration as it is, for pydantic; errors as in `in_seconds`."""
    if value is not None:
        in_seconds(value)
    return value
