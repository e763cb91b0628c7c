"""Splits: pairs of a training and a test part, from the flat lists that files hold."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lastkd.data.clip import Part, Splits
from lastkd.errors import UserError

_KEY = re.compile(
    r"(?:(?P<name>.+?)[_\-. ])?(?P<part>train|training|val|valid|validation|dev|eval|evaluation|"
    r"test|testing)(?:[_\-. ]?(?:set|part))?[_\-. ]?(?P<fold>\d*)",
    re.IGNORECASE,
)
_PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}


def paired_splits(
    lists: Mapping[str, Sequence[str]], where: str
) -> dict[str, dict[Part, list[str]]]:
    """`{"xsub": {"train": [...], "test": [...]}}` from `{"xsub_train": [...], "xsub_val": [...]}`.

    Capitals don't matter; `val`, `validation`, `dev` and `eval` are one word, as are `train`,
    `training` and `train_set`. Beside a `test`
    part it is the validation part, else it is what is tested on. A plain `train` and `val` become
    `default`, `train1` and `test1` `fold 1`.

    Args:
        where: the file, as an error names it.

    Raises:
        UserError: a name ends in no part, or a split lacks a part or has a clip in both.
    """
    parts: dict[str, dict[str, list[str]]] = {}
    for key, names in lists.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise UserError(
                f"{where}: split {reprlib.repr(key)} ends neither in _train nor in _val or _test; "
                "rename it"
            )
        fold = match["fold"] and f"fold {match['fold']}"
        title = " ".join(part for part in (match["name"], fold) if part) or "default"
        part = _PARTS.get(match["part"].lower(), "val")
        parts.setdefault(title, {})[part] = list(names)
    paired: dict[str, dict[Part, list[str]]] = {}
    for title, of in parts.items():
        test = of.get("test", of.get("val"))
        if test is None or "train" not in of:
            lack, has = ("_val or _test", "train") if test is None else ("_train", "test")
            raise UserError(
                f"{where}: split {title!r} has no {lack} part; add it, give the file with it too, "
                f"or make a split of all clips by --split-by (its {has} part begins with "
                f"{next(iter(of.values()), [''])[:1] or ['no name']!r})"
            )
        paired[title] = {"train": of["train"], "test": test}
        if "test" in of and "val" in of:
            paired[title]["validation"] = of["val"]
        members = list(paired[title].values())
        both = next((a & b for a, b in combinations(map(set, members), 2) if a & b), None)
        if both:
            raise UserError(
                f"{where}: split {title!r} has {reprlib.repr(min(both))} in both of its parts; "
                "take it out of one"
            )
    return paired


def names_part(text: str) -> bool:
    """Whether a text is a part's name as `paired_splits` takes it: `train`, `xsub_val`, ..."""
    return _KEY.fullmatch(text) is not None


def name_list(value: Any, order: Mapping[str, int]) -> list[str] | None:
    """The clip names in a list, array, tuple or set; None where it holds anything else.

    Args:
        order: place of each clip; a set has no order, and takes this one.
    """
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=lambda name: (order.get(name, len(order)), str(name)))
    if not isinstance(value, list | tuple):
        return None
    names = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in value]
    return names if all(isinstance(one, str) for one in names) else None


def only_known(splits: Splits, known: Iterable[str]) -> Splits:
    """The splits without the names that no clip has."""
    clips = set(known)
    return {
        split: {part: [name for name in names if name in clips] for part, names in parts.items()}
        for split, parts in splits.items()
    }


def check_against(splits: Splits, clips: Mapping[str, Any], where: str) -> None:
    """
    Raises:
        UserError: there are splits, and none of them has a clip in each of its parts.
    """
    if not splits or any(
        all(any(name in clips for name in names) for names in parts.values())
        for parts in splits.values()
    ):
        return
    title, parts = next(iter(splits.items()))
    part, names = next(
        (part, names) for part, names in parts.items() if not any(name in clips for name in names)
    )
    clip = next(iter(clips))
    if not names:
        raise UserError(f"{where}: the {part} part of split {title!r} is empty; fill it")
    hint = "make the names the same"
    stem = names[0].rsplit(".", 1)[0].rsplit("/", 1)[-1]
    if stem in clips:
        hint = f"the names in it should be like {stem!r}"
    raise UserError(
        f"{where}: no clip has a name of the {part} part of split {title!r}: it names "
        f"{reprlib.repr(names[0])}, and clips are called {clip!r}; {hint}, or make other splits by "
        "--split-by"
    )
