"""The parts of a split: training, test, and the validation part that choices are made on.

A validation part is taken out of the training part, never out of the test part. Whole performers
are kept out where they are known, since a performer's clips are too alike to judge by. Which ones
is a function of the split alone, so that every seed and every run is judged by the same clips.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lastkd import rng
from lastkd.data.performers import join_performers, performers_in_names
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.settings.validation import ValidationRule

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Clip indices.

    Attributes:
        validation: None where none was asked for; then the test part is what epochs are chosen on.
        held_out: what the validation part is, in words.
        lost: classes that have no training clip left.
    """

    split: str
    train: Indices
    test: Indices
    validation: Indices | None = None
    held_out: str = ""
    lost: tuple[str, ...] = ()

    @property
    def evaluated(self) -> Indices:
        """The clips that every epoch is evaluated on, and the best one chosen by."""
        return self.test if self.validation is None else self.validation

    @property
    def chooser(self) -> str:
        """The part that chooses the best epoch, in words."""
        if self.validation is None:
            return f"the test part of {self.split}"
        return f"the validation part of {self.split} ({self.held_out})"

    @property
    def validation_hash(self) -> str | None:
        """Of the clips that are kept out of training; None where there are none."""
        if self.validation is None:
            return None
        return hashlib.sha256(self.validation.astype("<i8").tobytes()).hexdigest()


def split_parts(
    store: ClipStore, split: str, validation: str | None = None, performers: str | None = None
) -> Parts:
    """
    Args:
        validation: as `ValidationRule` parses it; None for no validation part.
        performers: who performs the clips, where the store doesn't know it: a regular expression
            with groups to search in names, or a CSV file of clip names and performers.

    Raises:
        UserError: there is no such split, performers are needed and unknown, or too few clips or
            performers would be left to train on.
    """
    split = store.split_name(split)
    train, test = store.split(split)
    if validation is None:
        return Parts(split, train, test)
    rule = ValidationRule.parse(validation)
    if rule.kind == "part":
        own = store.splits[split].get("validation")
        if own is None or not len(own):
            raise UserError(
                f"{store.path}: split {split!r} has no validation part of its own; give "
                "--validation a share such as 0.2, or performers:2"
            )
        chosen, held_out = own, f"the split's own, {len(own):,} clips"
    else:
        groups, words = _groups(store, train, rule, performers)
        mask = np.isin(groups, _kept_out(store, groups, rule, words))
        chosen = train[mask]
        named = f"{words} {', '.join(sorted(set(groups[mask])))}, " if words else ""
        held_out = f"{named}{len(chosen):,} clips"
        train = train[~mask]
    if not len(chosen) or not len(train):
        raise UserError(
            f"{store.path}: --validation {validation} leaves no clip on one side; give a "
            "share such as 0.2"
        )
    lost = sorted(set(store.labels[chosen]) - set(store.labels[train]))
    return Parts(
        split, train, test, chosen, held_out, tuple(store.class_names[label] for label in lost)
    )


def _groups(
    store: ClipStore, train: Indices, rule: ValidationRule, performers: str | None
) -> tuple[NDArray[np.str_], str]:
    """Each training clip's group, of which all clips are kept out or none, and what groups are."""
    known = performers_of(store, train, performers)
    if known is not None and len(set(known)) > 1:
        return known, "performers"
    if rule.kind == "performers":
        raise UserError(
            f"{store.path}: doesn't know who performs its clips, and their names don't tell; name "
            "them with --performers (a regular expression or a CSV file), or give --validation a "
            "share such as 0.2"
        )
    # a share of each class: its clips in a fixed random order are dealt out over the range
    places = np.zeros(len(train))
    for label in np.unique(store.labels[train]):
        of_class = np.flatnonzero(store.labels[train] == label)
        order = rng.permutation(0, "validation", int(label), count=len(of_class))
        places[of_class[order]] = (np.arange(len(of_class)) + 0.5) / len(of_class)
    if rule.kind == "fold":
        return (np.minimum(places * rule.count, rule.count - 1).astype(int) + 1).astype(str), ""
    return np.where(places < max(rule.share, 1e-9), "out", "in"), ""


def _kept_out(
    store: ClipStore, groups: NDArray[np.str_], rule: ValidationRule, words: str
) -> list[str]:
    """The groups that make the validation part."""
    if not words:
        return [str(rule.fold)] if rule.kind == "fold" else ["out"]
    names = sorted(set(groups))
    order = [names[number] for number in rng.permutation(0, "validation", count=len(names))]
    if rule.kind == "fold":
        if rule.count > len(names):
            raise UserError(
                f"{store.path}: has {len(names)} performers in its training part, too few for "
                f"{rule.count} folds"
            )
        return order[rule.fold - 1 :: rule.count]
    count = rule.count or max(1, round(rule.share * len(names)))
    if count >= len(names):
        raise UserError(
            f"{store.path}: has {len(names)} performers in its training part; --validation "
            f"performers:{count} leaves nobody to train on"
        )
    return order[:count]


def performers_of(
    store: ClipStore, clips: Indices, performers: str | None = None
) -> NDArray[np.str_] | None:
    """Each clip's performer, several of one clip joined by `+`; None where they aren't known.

    Args:
        performers: as in `split_parts`; by default the store's numbers, or else names such as
            `a1_s2_t3` (s, p, subject, ... and a number).

    Raises:
        UserError: a clip has no performer in the file, or doesn't match the expression.
    """
    names = [store.names[clip] for clip in clips]
    if performers is None:
        numbers = store.performers[clips]
        if (numbers >= 0).all():
            return numbers.astype(str)
        return performers_in_names(names)
    if performers.endswith(".csv"):
        table = _read_csv(Path(performers))
        missing = next((name for name in names if name not in table), None)
        if missing is not None:
            raise UserError(f"{performers}: says nothing of the clip {missing!r}; add its line")
        return np.array([table[name] for name in names])
    pattern = re.compile(performers)
    found = [
        [text for match in pattern.finditer(name) for text in match.groups() if text]
        for name in names
    ]
    unmatched = next((name for name, one in zip(names, found, strict=True) if not one), None)
    if unmatched is not None:
        raise UserError(
            f"--performers {performers}: doesn't match the clip {unmatched!r}; mend the expression"
        )
    return join_performers(found)


def _read_csv(path: Path) -> dict[str, str]:
    """Clip name to performer, from a CSV file with two columns; a heading is just another line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from None
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None:
        raise UserError(
            f"{path}: the line {','.join(short)!r} lacks a performer; write clip,performer"
        )
    return {row[0].strip(): row[1].strip() for row in rows}
