"""Colours: warm on a person's left, cool on the right, so that sides and limbs are told apart."""

from __future__ import annotations

from lastkd.show.limbs import TRUNK, Limb

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
