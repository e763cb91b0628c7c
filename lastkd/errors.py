"""The exception for a user's mistake, and the exit code that it gives a command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix: one sentence with the file, the value and the way out.

    Commands print it without a traceback and exit with `exit_code`.
    """

    exit_code = 2


class LostRankError(UserError):
    """Another process of the run is lost, so this one can't shut down the process group."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for an error about an unknown word: the closest known word, or all of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(choices)}"
