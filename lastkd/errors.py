"""The one exception for a user's mistake, and how it ends a command."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: one sentence with the file, the value and the way out.

    Entry points print it without a traceback and exit with `exit_code`.
    """

    exit_code = 2


class LostRankError(UserError):
    """Another process of the run is gone; what is left can't be ended in an orderly way."""

    exit_code = 1


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint that ends an error about an unknown word: the closest known one, or all of them."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(choices)}"
