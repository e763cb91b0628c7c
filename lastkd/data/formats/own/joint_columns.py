"""What the headings of a table say of its joints: `nose_x`, `x0`, `LEFT_WRIST.Y`, ..."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lastkd.data.layouts import Layout

SCORES = (
    *("score", "confidence", "conf", "c", "likelihood", "visibility", "visible", "vis", "v"),
    *("presence", "prob", "p", "s"),
)
"""What people call a joint's score; of several the first one."""
_AXIS = "|".join(sorted(("x", "y", "z", *SCORES), key=len, reverse=True))
_FORMS = (
    re.compile(rf"(?P<joint>.*\d)[\W_]*(?P<axis>{_AXIS})"),
    re.compile(rf"(?P<joint>.+)[\W_]+(?P<axis>{_AXIS})"),
    re.compile(rf"(?P<axis>{_AXIS})[\W_]*(?P<joint>\d+)"),
    re.compile(rf"(?P<axis>{_AXIS})[\W_]+(?P<joint>.+)"),
)
_BOXES = re.compile(r"b?box.*", re.ASCII)
_NO_PLACES = re.compile(
    r"\b(?:rot|rotation|orientation|quat|quaternion|euler|angles?|velocity|vel|acceleration|acc)\b"
)
"""Words of columns beside a joint's place, as motion capture has them."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORDS = re.compile(r"[a-z]+|\d+")
_PARTS = re.compile(r"[a-z]+\d*|\d+")
_NUMBERED = re.compile(r"(?P<before>\D*)(?P<number>\d{1,4})", re.ASCII)
_SIDES = {"l": "left", "r": "right"}


class JointColumns(NamedTuple):
    """The joints that headings name, in the order in which they first appear.

    Attributes:
        joints: what each is called.
        axes: `x`, `y`, `z` and `score` of each joint -> its column.
    """

    joints: tuple[str, ...]
    axes: tuple[dict[str, int], ...]

    def in_words(self) -> str:
        first = ", ".join(self.joints[:3])
        kind = "x, y and z" if self.spatial else "x and y"
        return f"{len(self.joints)} joints ({first}, ...) with {kind}"

    @property
    def spatial(self) -> bool:
        return all("z" in own for own in self.axes)

    def columns_for(self, layout: Layout) -> NDArray[np.intp] | None:
        """The columns of a layout's joints `(M, V, C)`, C with or without a score; None if they
        don't fit.

        Joints that are called like the layout's are taken by their names, whatever else there is;
        numbered or otherwise named ones as they stand, if there are as many. Twice as many are two
        bodies if their names tell which are whose.
        """
        V, needed = layout.num_joints, "xyz"[: layout.dimensions]
        usable = [at for at, own in enumerate(self.axes) if all(axis in own for axis in needed)]
        chosen = self._called_like(layout, {at: self.joints[at] for at in usable})
        if chosen is None and len(usable) == V:
            chosen = self._numbered(usable) or usable
        if chosen is None and len(usable) == 2 * V:
            chosen = self._numbered(usable) or self._of_two(usable, layout)
        if chosen is None:
            return None
        scored = all("score" in self.axes[at] for at in chosen)
        channels = [*needed, *(["score"] if scored else [])]
        columns = [[self.axes[at][axis] for axis in channels] for at in chosen]
        return np.array(columns, np.intp).reshape(-1, V, len(channels))

    @staticmethod
    def _called_like(layout: Layout, names: Mapping[int, str]) -> list[int] | None:
        """The joints that are called like a layout's, in its order; None where one isn't there."""
        called = {_plain(name): at for at, name in reversed(list(names.items()))}
        chosen = [called.get(_plain(name)) for name in layout.joints]
        found = [at for at in chosen if at is not None]
        return found if len(found) == len(chosen) else None

    def _numbered(self, usable: list[int]) -> list[int] | None:
        """Joints by their numbers, as headings may be sorted as text; None where they have none."""
        matches = [match for at in usable if (match := _NUMBERED.fullmatch(self.joints[at]))]
        if len(matches) < len(usable) or len({match["before"] for match in matches}) > 1:
            return None
        numbers = dict(zip(usable, (int(match["number"]) for match in matches), strict=True))
        return sorted(usable, key=numbers.__getitem__)

    def _of_two(self, usable: list[int], layout: Layout) -> list[int] | None:
        """The joints of one body and then of the other, named alike but for a word such as `p1` and
        `p2`; None where nothing tells whose they are."""
        words = {at: _PARTS.findall(self.joints[at].lower()) for at in usable}
        counts = Counter(word for own in words.values() for word in set(own))
        half = [word for word, count in counts.items() if 2 * count == len(usable)]
        for pair in combinations(half, 2):
            bodies = [
                {
                    " ".join(word for word in own if word != who): at
                    for at, own in words.items()
                    if who in own
                }
                for who in pair
            ]
            if bodies[0].keys() == bodies[1].keys() and 2 * len(bodies[0]) == len(usable):
                named = {at: name for name, at in bodies[0].items()}
                order = self._called_like(layout, named) or list(named)
                return [body[named[at]] for body in bodies for at in order]
        return None

    def names_all_of(self, layout: Layout) -> bool:
        """Whether these are a layout's joints by their names, with none beside them."""
        own = sorted(map(_plain, self.joints))
        known = own == sorted(map(_plain, layout.joints))
        return known and (self.spatial or layout.dimensions == 2)


def joint_columns(headings: Sequence[str]) -> JointColumns:
    """The joints among a table's headings; none where the headings name no axes."""
    found: dict[str, dict[str, int]] = {}
    ranks: dict[str, int] = {}
    for at, heading in enumerate(headings):
        text = _CAMEL.sub(" ", heading.strip()).lower()
        match = next((match for form in _FORMS if (match := form.fullmatch(text))), None)
        if match is None or _BOXES.fullmatch(match["joint"]):
            continue
        if _NO_PLACES.search(match["joint"].replace("_", " ")):
            continue
        joint, axis = match["joint"].strip(" _.-"), match["axis"]
        own = found.setdefault(joint, {})
        if axis in "xyz":
            own.setdefault(axis, at)
        elif SCORES.index(axis) < ranks.get(joint, len(SCORES)):
            own["score"], ranks[joint] = at, SCORES.index(axis)
    named = {joint: own for joint, own in found.items() if "x" in own and "y" in own}
    return JointColumns(tuple(named), tuple(named.values()))


def _plain(name: str) -> tuple[str, ...]:
    """A joint's name without spelling: `LShoulder`, `shoulder_left` and `left_shoulder` are one."""
    words = _WORDS.findall(_CAMEL.sub(" ", name).lower())
    return tuple(sorted(_SIDES.get(word, word) for word in words))
