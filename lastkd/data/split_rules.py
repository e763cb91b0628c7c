"""Splits made by a rule, for sources that have none: `--split-by`."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from lastkd import rng
from lastkd.data.clip import Clip, Part, Splits
from lastkd.data.performers import performers_in_names
from lastkd.errors import UserError

_GROUPS = {"performer": "xsub", "camera": "xview", "setup": "xset"}
_FORMS = (
    "performer, camera or setup (with those that train: 'performer 1,2,5'), 'share 0.8', or "
    "'list train.txt test.txt'"
)
_LARGEST_LIST = 2**26


@dataclass(frozen=True)
class SplitRule:
    """One split and how it comes about.

    Attributes:
        name: of the split.
        kind: `performer`, `camera`, `setup`, `share` or `list`.
        train: for groups: the numbers that train; empty for every second one.
        share: of each class that trains.
        lists: the clip names of the training and the test part.
        text: as the user wrote it.
    """

    name: str
    kind: str
    text: str
    train: frozenset[str] = frozenset()
    share: float = 0.0
    lists: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def parse(cls, text: str) -> SplitRule:
        """A rule from `[NAME=]KIND [ARGUMENTS]`, where `:` and `,` separate as blanks do.

        Raises:
            UserError: it has another form, or a list can't be read.
        """
        name, equals, rest = text.partition("=")
        words = (rest if equals else text).replace(":", " ", 1).split()
        kind, arguments = (words[0].lower(), words[1:]) if words else ("", [])
        given = name.strip() if equals else ""
        if kind in _GROUPS:
            numbers = frozenset(",".join(arguments).split(",")) - {""}
            return cls(given or _GROUPS[kind], kind, text, frozenset(map(_plain_number, numbers)))
        if kind == "share":
            return cls(given or "share", kind, text, share=_share(arguments, text))
        if kind == "list":
            files = [word for argument in arguments for word in argument.split(",") if word]
            if len(files) != 2:
                raise UserError(
                    f"--split-by {text}: needs two files, as in --split-by 'list train.txt "
                    "test.txt'"
                )
            lists = tuple(tuple(_read_list(Path(file))) for file in files)
            return cls(given or "list", kind, text, lists=lists)
        raise UserError(f"--split-by {text}: is no rule; give {_FORMS}")

    def check(self, names: Sequence[str]) -> None:
        """
        Raises:
            UserError: it names clips in lists, and none of a part's is among these.
        """
        if self.kind == "list":
            self._listed(names)

    def split(self, clips: Sequence[Clip]) -> dict[Part, list[str]]:
        """The two parts of these clips (their `joints` may be empty).

        Raises:
            UserError: the rule needs what isn't known of them, or leaves a part empty.
        """
        if self.kind == "list":
            return self._listed([clip.name for clip in clips])
        mask = self._by_share(clips) if self.kind == "share" else self._by_group(clips)
        parts: dict[Part, list[str]] = {
            "train": [clip.name for clip, trains in zip(clips, mask, strict=True) if trains],
            "test": [clip.name for clip, trains in zip(clips, mask, strict=True) if not trains],
        }
        for part, members in parts.items():
            if not members:
                raise UserError(f"--split-by {self.text}: leaves the {part} part empty; change it")
        return parts

    def _by_share(self, clips: Sequence[Clip]) -> list[bool]:
        labels = np.array([clip.label for clip in clips])
        trains = np.zeros(len(clips), bool)
        for label in np.unique(labels):
            of_class = np.flatnonzero(labels == label)
            count = round(self.share * len(of_class))
            if len(of_class) > 1:  # a class is judged by clips that it wasn't learnt from
                count = min(max(count, 1), len(of_class) - 1)
            order = rng.permutation(0, "split", int(label), count=len(of_class))
            trains[of_class[order[:count]]] = True
        return [bool(one) for one in trains]

    def _by_group(self, clips: Sequence[Clip]) -> list[bool]:
        numbers = [str(getattr(clip, self.kind)) for clip in clips]
        if "-1" in numbers:
            names = [clip.name for clip in clips]
            performers = performers_in_names(names) if self.kind == "performer" else None
            if performers is None:
                unknown = clips[numbers.index("-1")].name
                raise UserError(
                    f"--split-by {self.text}: nobody knows the {self.kind} of {unknown!r}; give a "
                    f"--labels file with a column {self.kind}, or use 'share 0.8'"
                )
            numbers = [_plain_number(text) for text in performers]
        groups = sorted(set(numbers), key=lambda text: (len(text), text))
        train = self.train or set(groups[::2])
        strange = sorted(train - set(groups))
        if strange:
            raise UserError(
                f"--split-by {self.text}: no clip has the {self.kind} {strange[0]}; known: "
                f"{', '.join(groups[:20])}"
            )
        return [number in train for number in numbers]

    def _listed(self, names: Sequence[str]) -> dict[Part, list[str]]:
        known = set(names)
        by_stem = {PurePosixPath(name).stem: name for name in names}
        parts: dict[Part, list[str]] = {}
        both: tuple[Part, Part] = ("train", "test")
        for part, listed in zip(both, self.lists, strict=True):
            found = [name if name in known else by_stem.get(name) for name in listed]
            found += [by_stem.get(PurePosixPath(name).stem) for name in listed]
            parts[part] = list(dict.fromkeys(name for name in found if name is not None))
            if not parts[part]:
                raise UserError(
                    f"--split-by {self.text}: no clip of the {part} list is there: it names "
                    f"{reprlib.repr(listed[0])}, and clips are called {reprlib.repr(names[0])}; "
                    "make the names the same"
                )
        twice = set(parts["train"]) & set(parts["test"])
        if twice:
            raise UserError(
                f"--split-by {self.text}: {reprlib.repr(min(twice))} is in both lists; take it "
                "out of one"
            )
        return parts


def split_by(rules: Sequence[SplitRule], clips: Sequence[Clip], own: Splits) -> Splits:
    """The splits of the rules, in place of the source's own where there are rules.

    Raises:
        UserError: a rule can't be followed, or two make a split of one name.
    """
    if not rules:
        return own
    names = [rule.name for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(
            f"--split-by: two splits would be called {twice!r}; name one, as in 'mine=performer'"
        )
    return {rule.name: rule.split(clips) for rule in rules}


def _share(arguments: Sequence[str], text: str) -> float:
    try:
        (share,) = map(float, arguments)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UserError(
            f"--split-by {text}: needs the share of each class that trains, as in --split-by "
            "'share 0.8'"
        )
    return share


def _plain_number(text: str) -> str:
    return str(int(text)) if text.isdecimal() else text


def _read_list(path: Path) -> list[str]:
    """The first word of each line; what follows it (a label, in many lists) isn't needed."""
    try:
        if path.stat().st_size > _LARGEST_LIST:
            raise UserError(f"{path}: is too large for a list of clips; check the path")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: isn't text in UTF-8; give a clip's name a line") from None
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: is empty; give a clip's name a line")
    return names
