"""Skeleton layouts: which joints there are and how bones join them.

A layout is data, a small YAML file: `configs/layout/` has those that come with lastkd, and a file
of the same form describes any other skeleton.
"""

from __future__ import annotations

from collections import deque
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_model

PROPORTIONS = {
    ("left_shoulder", "right_shoulder"): 0.7,
    ("{side}_shoulder", "{side}_elbow"): 0.55,
    ("{side}_elbow", "{side}_wrist"): 0.5,
    ("{side}_hip", "{side}_knee"): 0.85,
    ("{side}_knee", "{side}_ankle"): 0.8,
}
"""Lengths of an adult's body, as a Kinect v2 sees it, in torso lengths: from the middle of the
shoulders to that of the hips."""
MEAN_BONE = 0.4
"""The mean bone of the built-in layouts in torso lengths, about."""


class Layout(BaseModel):
    """One skeleton: joint names, the tree of bones, and the marks used to centre and scale it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    joints: tuple[str, ...] = Field(min_length=2, description="joint names, in the data's order")
    parents: tuple[int, ...] = Field(
        description="each joint's parent, -1 for the root; kept re-rooted at the centre"
    )
    centre: int = Field(ge=0, description="the joint that every bone leads away from")
    mirror: tuple[tuple[int, int], ...] = Field((), description="(left, right) pairs of joints")
    dimensions: int = Field(3, ge=2, le=3, description="2: x, y and a score; 3: x, y, z (y up)")
    origin: tuple[int, ...] = Field(
        (), description="joints whose mean in the first frame becomes 0; default the centre"
    )
    across: tuple[int, int] | None = Field(
        None, description="(left, right): the line that is turned to lie along x"
    )
    torso: tuple[tuple[int, ...], tuple[int, ...]] | None = Field(
        None, description="two groups of joints; the distance of their means is the unit of length"
    )

    up: Literal["x", "-x", "y", "-y", "z", "-z"] | None = Field(
        None, description="which way is up in a source's coordinates; default y, in an image -y"
    )

    @model_serializer(mode="wrap")
    def _without_usual_up(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As layouts were written before they said `up`: hashes of stores are made of it."""
        values: dict[str, Any] = handler(self)
        if self.up is None:
            del values["up"]
        return values

    @model_validator(mode="after")
    def _check_and_root(self) -> Layout:
        count = len(self.joints)
        if len(set(self.joints)) != count:
            raise ValueError("joint names must differ from one another")
        if len(self.parents) != count:
            raise ValueError(f"{count} joints need {count} parents, not {len(self.parents)}")
        if list(self.parents).count(-1) != 1:
            raise ValueError("exactly one joint must have the parent -1 (the root)")
        named = [*self.origin, *(self.across or ()), self.centre]
        named += [joint for pair in self.mirror for joint in pair]
        named += [joint for group in self.torso or () for joint in group]
        wrong = [j for j in named if not 0 <= j < count]
        wrong += [p for p in self.parents if not -1 <= p < count]
        if wrong:
            raise ValueError(f"joint {wrong[0]} is outside 0 to {count - 1}")
        if self.dimensions == 2 and self.up not in (None, "y", "-y"):
            raise ValueError(f"up is y or -y in an image, not {self.up}")
        rooted = _rooted(self.parents, self.centre)
        object.__setattr__(self, "parents", rooted)
        if not self.origin:
            object.__setattr__(self, "origin", (self.centre,))
        return self

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @cached_property
    def turn(self) -> NDArray[np.float32] | None:
        """What brings a source's coordinates `(..., D)` to ours, `coordinates @ turn`; None if they
        are so already."""
        if self.up is None or self.up == ("y" if self.dimensions == 3 else "-y"):
            return None
        if self.dimensions == 2:
            return np.diag(np.array([1, -1], np.float32))
        sign, axis = (-1 if self.up[0] == "-" else 1), "xyz".index(self.up[-1])
        turn = np.zeros((3, 3), np.float32)
        turn[axis, 1] = sign
        if axis == 0:  # a quarter turn about z; else about x, a half one for -y
            turn[1, 0], turn[2, 2] = -sign, 1
        elif axis == 1:
            turn[0, 0], turn[2, 2] = 1, -1
        else:
            turn[0, 0], turn[1, 2] = 1, -sign
        return turn

    def with_up(self, up: str) -> Layout:
        """The same for coordinates in which another way is up.

        Raises:
            UserError: a flat skeleton can't stand along that axis.
        """
        if self.dimensions == 2 and up not in ("y", "-y"):
            raise UserError(f"--up {up}: layout {self.name} is flat; give y or -y")
        return Layout.model_validate(self.model_dump() | {"up": up})

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) pairs, one for each joint but the centre."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def rulers(self) -> tuple[tuple[int, int, float], ...]:
        """`(joint, joint, length)` of the body's parts that the layout's joint names identify.

        The length is an adult's in torso lengths (`PROPORTIONS`): what measures a clip whose torso
        is never seen whole.
        """
        place = {name: joint for joint, name in enumerate(self.joints)}
        named = [
            (start.format(side=side), end.format(side=side), length)
            for (start, end), length in PROPORTIONS.items()
            for side in ("left", "right")
        ]
        found = {
            (place[start], place[end]): length
            for start, end, length in named
            if start in place and end in place
        }
        return tuple((start, end, length) for (start, end), length in found.items())


def _rooted(parents: tuple[int, ...], centre: int) -> tuple[int, ...]:
    """The same tree with `centre` as its root, so that every bone's parent is the nearer end."""
    neighbours: list[list[int]] = [[] for _ in parents]
    for child, parent in enumerate(parents):
        if parent >= 0:
            neighbours[child].append(parent)
            neighbours[parent].append(child)
    rooted = {centre: -1}
    queue = deque([centre])
    while queue:
        joint = queue.popleft()
        for other in neighbours[joint]:
            if other not in rooted:
                rooted[other] = joint
                queue.append(other)
    if len(rooted) != len(parents):
        lost = next(j for j in range(len(parents)) if j not in rooted)
        raise ValueError(f"joint {lost} is not joined to the centre {centre}")
    return tuple(rooted[joint] for joint in range(len(parents)))


def layout_names() -> list[str]:
    """The layouts that come with lastkd."""
    return sorted(path.stem for path in (CONFIGS / "layout").glob("*.yaml"))


def layout_hint(joints: int, dimensions: int, asked: str | Layout | None = None) -> str:
    """The way out of a layout that doesn't fit: those of so many joints and dimensions.

    Args:
        asked: for which layout; a `Layout` is a model's, to which there is no other.
    """
    if isinstance(asked, Layout):
        return "give clips of the model's skeleton"
    fitting: dict[tuple[str, ...], str] = {}  # of two names for one order, the first
    for name in layout_names():
        layout = get_layout(name)
        if (layout.num_joints, layout.dimensions) == (joints, dimensions):
            fitting.setdefault(layout.joints, name)
    *others, last = fitting.values() or [""]
    if not last:
        return "describe its joints in a .yaml file and give it by --layout"
    if not others:
        return f"use --layout {last}"
    return f"use --layout {', '.join(others)} or {last}, whichever has your order of joints"


@lru_cache
def _from_file(path: Path) -> Layout:
    return read_model(Layout, path)


def get_layout(layout: str | Layout) -> Layout:
    """A layout by its name (`ntu25`, ...) or from a YAML file.

    Raises:
        UserError: there is neither such a name nor such a file, or the file doesn't hold a layout.
    """
    if isinstance(layout, Layout):
        return layout
    if layout.endswith((".yaml", ".yml")):
        return _from_file(Path(layout))
    if layout not in layout_names():
        raise UserError(
            f"layout {layout!r} is unknown; {nearest(layout, layout_names())} "
            "(or give a .yaml file of your own)"
        )
    return _from_file(CONFIGS / "layout" / f"{layout}.yaml")
