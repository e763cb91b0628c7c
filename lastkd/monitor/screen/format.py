"""Numbers and times in the few characters that a table or a legend has room for."""

from __future__ import annotations

import time


def count(value: float) -> str:
    """576, 12.3k, 1.2M: about four characters."""
    if abs(value) < 10_000:
        return f"{value:.0f}"
    if abs(value) < 999_500:
        return f"{value / 1000:.3g}k"
    return f"{value / 1e6:.3g}M"


def short(value: float | None) -> str:
    """Three significant digits, or whole units and a tenth from 100 on."""
    if value is None:
        return ""
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def span(seconds: float | None) -> str:
    """A duration in at most five characters: 42s, 12m, 3h05, 2d04."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f}s"
    if seconds < 6000:
        return f"{seconds / 60:.0f}m"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60:02}"
    return f"{minutes // 1440}d{minutes % 1440 // 60:02}"


def clock(seconds: float) -> str:
    """The local time of day, with the date unless it is today.

    Args:
        seconds: since 1970, UTC.
    """
    then = time.localtime(seconds)
    form = "%H:%M:%S" if then[:3] == time.localtime()[:3] else "%d %b %H:%M"
    return time.strftime(form, then)
