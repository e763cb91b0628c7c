"""The limb that each joint belongs to, by a layout's tree and mirror pairs, and its colour."""

from __future__ import annotations

from functools import lru_cache

from lastkd.data.layouts import Layout

TRUNK = "trunk"
SIDES = ("left", "right")
Limb = tuple[str, int]
"""`("trunk", 0)`, or a side and the limb's number on it: in NTU's layout arms are 0, legs 1."""


@lru_cache
def limbs(layout: Layout) -> tuple[Limb, ...]:
    """The limb of each joint, and so of the bone that leads to it.

    A limb is a chain of joints of one side; where such a chain forks, the first branch goes on as
    the same limb and each other one begins another. Mirrored joints have limbs of one number.
    """
    side: dict[int, str] = {}
    for left, right in layout.mirror:
        side[left], side[right] = SIDES
    mirrored = {one: two for pair in layout.mirror for one, two in (pair, pair[::-1])}
    children: dict[int, list[int]] = {}
    for child, parent in layout.bones:
        children.setdefault(parent, []).append(child)

    limb_of: dict[int, Limb] = {}
    count = 0

    def follow(joint: int, limb: int | None) -> None:
        nonlocal count
        if side.get(joint) == "left":
            if limb is None:
                limb, count = count, count + 1
            limb_of[joint] = ("left", limb)
        else:
            limb = None
        for place, child in enumerate(children.get(joint, [])):
            follow(child, limb if place == 0 else None)

    follow(layout.centre, None)
    for left, (_, number) in list(limb_of.items()):
        limb_of[mirrored[left]] = ("right", number)
    return tuple(limb_of.get(joint, (TRUNK, 0)) for joint in range(layout.num_joints))


Colour = tuple[int, int, int]
_TRUNK = ((72, 79, 92), (122, 84, 140))
_LEFT = ((222, 110, 28), (190, 40, 52), (228, 170, 30), (150, 90, 40))
_RIGHT = ((32, 126, 194), (22, 82, 140), (20, 160, 150), (90, 100, 200))
BACKGROUND: Colour = (252, 252, 250)
FLOOR: Colour = (236, 238, 236)
FLOOR_EDGE: Colour = (196, 202, 200)
SHADOW: Colour = (214, 218, 216)
INK: Colour = (40, 44, 52)
FAINT: Colour = (120, 126, 134)


def colour_of(limb: Limb, body: int) -> Colour:
    """A limb's colour; the second body's are lighter and its trunk is violet."""
    side, number = limb
    if side == TRUNK:
        return _TRUNK[min(body, 1)]
    shades = _LEFT if side == "left" else _RIGHT
    shade = shades[number % len(shades)]
    return shade if body == 0 else lighter(shade, 0.35)


def lighter(colour: Colour, share: float) -> Colour:
    """A colour part of the way to white."""
    red, green, blue = (round(part + (255 - part) * share) for part in colour)
    return red, green, blue
