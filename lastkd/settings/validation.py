"""How `--validation` is spelt: which training clips are kept out to choose by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_PERFORMERS = re.compile(r"performers:(\d+)")
_FOLD = re.compile(r"fold:(\d+)/(\d+)")
OWN_PART = "part"


@dataclass(frozen=True)
class ValidationRule:
    """Attributes:
    kind: `share` of performers (or, where nobody knows them, of each class's clips), a number of
        `performers`, one `fold` of the performers, or the split's own `part`.
    share: for `share`.
    count: performers to keep out, or the number of folds.
    fold: counted from 1.
    """

    kind: Literal["share", "performers", "fold", "part"]
    share: float = 0.0
    count: int = 0
    fold: int = 0

    @classmethod
    def parse(cls, text: str) -> ValidationRule:
        """
        Raises:
            ValueError: it is none of the spellings.
        """
        if text == OWN_PART:
            return cls("part")
        if (match := _PERFORMERS.fullmatch(text)) and int(match[1]) > 0:
            return cls("performers", count=int(match[1]))
        if (match := _FOLD.fullmatch(text)) and 1 <= int(match[1]) <= int(match[2]) >= 2:
            return cls("fold", fold=int(match[1]), count=int(match[2]))
        try:
            share = float(text)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise ValueError(
                f"{text!r} is no validation part; give a share such as 0.2, performers:2, fold:1/5 "
                f"(the first of five groups of performers) or {OWN_PART} (the split's own)"
            )
        return cls("share", share=share)


def checked_rule(text: str | None) -> str | None:
    """The text as it is, if it can be parsed."""
    if text is not None:
        ValidationRule.parse(text)
    return text


def checked_performers(text: str | None) -> str | None:
    """A regular expression with a group, or the path of a CSV file."""
    if text is None or text.endswith(".csv"):
        return text
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from None
    if not groups:
        raise ValueError(f"{text!r} needs a group around what names the performer, as in _s(\\d+)_")
    return text
