"""The moving skeleton."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lastkd.data.layouts import Layout
from lastkd.monitor.screen.canvas import Canvas, Row
from lastkd.monitor.screen.glyphs import Glyphs
from lastkd.monitor.screen.style import DOTTED, SOLID, Look, Palette, ink
from lastkd.show.limbs import TRUNK, limbs
from lastkd.show.projection import camera_matrix

MARGIN = 0.08
"""Share of the picture that is left free around people."""
EASE = 0.06
"""Share of the way that the frame of the picture goes a frame, where people need less of it."""


class Figure:
    """Draws poses as they come, all to a scale that follows them slowly.

    Args:
        layout: of the skeletons.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._limbs = limbs(layout)
        self._low: NDArray[np.float64] | None = None
        self._high = np.zeros(2)

    def rows(
        self,
        pose: NDArray[np.floating] | None,
        turn: float,
        size: tuple[int, int],
        palette: Palette,
        glyphs: Glyphs,
    ) -> list[Row]:
        """A picture of `size` columns and rows.

        Args:
            pose: `(bodies, V, 2 or 3)`, NaN where a joint is unseen; None where nobody is.
            turn: degrees about the vertical axis to look from.
        """
        canvas = Canvas(max(size[0], 1), max(size[1], 1), glyphs)
        if pose is None or not np.isfinite(pose).any():
            text = "nobody"[: size[0]]
            canvas.write((size[0] - len(text)) // 2, size[1] // 2, text, ink(palette.dim))
            return canvas.rows()
        places = self._projected(np.asarray(pose, np.float64), turn)
        there = np.any(pose, axis=(1, 2), keepdims=True)[..., 0]
        seen = np.all(np.isfinite(places), axis=2) & there
        if not seen.any():
            return self.rows(None, turn, size, palette, glyphs)
        dots = self._placed(places, seen, canvas)
        for body in range(len(places)):
            self._draw(canvas, dots[body], seen[body], body, palette)
        return canvas.rows()

    def _projected(self, pose: NDArray[np.float64], turn: float) -> NDArray[np.float64]:
        """`(bodies, V, 2)`: x to the right, y up."""
        if self._layout.dimensions == 2:
            return pose[..., :2] * (1, -1)
        places: NDArray[np.float64] = (pose[..., :3] @ camera_matrix(turn).T)[..., :2]
        return places

    def _placed(
        self, places: NDArray[np.float64], seen: NDArray[np.bool_], canvas: Canvas
    ) -> NDArray[np.int64]:
        """The canvas' dots for places; widens the frame of the picture at once, narrows it slowly.

        A cell is about twice as high as wide, so that braille dots are square and characters not.
        """
        low, high = places[seen].min(axis=0), places[seen].max(axis=0)
        if self._low is None or (low > self._high).any() or (high < self._low).any():
            self._low, self._high = low, high
        self._low = np.where(low < self._low, low, self._low + EASE * (low - self._low))
        self._high = np.where(high > self._high, high, self._high + EASE * (high - self._high))
        across = canvas.width * canvas.across
        down = canvas.height * canvas.down
        stretch = np.array([1.0, 1.0]) if canvas.down == 4 else np.array([2.0, 1.0])
        span = np.maximum((self._high - self._low) * stretch, 1e-6)
        scale = (1 - MARGIN) * min((across - 1) / span[0], (down - 1) / span[1])
        middle = (self._low + self._high) / 2
        x = (across - 1) / 2 + (places[..., 0] - middle[0]) * stretch[0] * scale
        y = (down - 1) / 2 - (places[..., 1] - middle[1]) * scale
        dots = np.stack((x, y), axis=-1)
        placed: NDArray[np.int64] = np.nan_to_num(dots, nan=-1.0).round().astype(np.int64)
        return placed

    def _draw(
        self,
        canvas: Canvas,
        dots: NDArray[np.int64],
        seen: NDArray[np.bool_],
        body: int,
        palette: Palette,
    ) -> None:
        """One body: warm on its left, cool on its right, as in `lastkd show`; others are dotted."""
        colors = {TRUNK: palette.text, "left": palette.runs[1], "right": palette.runs[0]}
        for child, parent in self._layout.bones:
            if seen[child] and seen[parent]:
                side = self._limbs[child][0]
                color = colors[side] if body == 0 else palette.runs[2]
                start, end = dots[parent].tolist(), dots[child].tolist()
                look = Look(color, SOLID if body == 0 else DOTTED, body)
                mark = {TRUNK: "o", "left": "/", "right": "\\"}[side] if body == 0 else "."
                canvas.line((start[0], start[1]), (end[0], end[1]), look, ink(color), mark)
