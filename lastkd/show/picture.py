"""Pictures of a clip: a strip of poses as PNG, or an animated GIF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lastkd.data.clip import USUAL_FPS
from lastkd.data.layouts import Layout
from lastkd.files.atomic import replacing
from lastkd.show.limbs import (
    BACKGROUND,
    FAINT,
    FLOOR,
    FLOOR_EDGE,
    INK,
    SHADOW,
    Colour,
    colour_of,
    lighter,
    limbs,
)
from lastkd.show.poses import PoseSequence
from lastkd.show.projection import Projected, Vectors, evenly_spaced, project

_FINER = 3  # images are drawn this much larger and then reduced, for smooth lines
_POSE_HEIGHT, _POSE_MARGIN, _TITLE, _CAPTION = 300, 14, 46, 22
_LINE, _JOINT, _HEAD = 4.5, 3.2, 9
_LARGEST_SIDE = 12_000
_SHORTEST_STEP_S = 0.02


class Canvas:
    """Draws the poses of one sequence, all to the same scale.

    Args:
        turn: degrees about the vertical axis to look from.
        height: of a pose, in pixels.
    """

    def __init__(self, sequence: PoseSequence, layout: Layout, turn: float, height: int) -> None:
        self._layout = layout
        self._limbs = limbs(layout)
        self._heads = {at for at, name in enumerate(layout.joints) if name in ("head", "nose")}
        self._projected: Projected = project(sequence, layout, turn)
        span = self._projected.high - self._projected.low
        inner = height - 2 * _POSE_MARGIN
        self._scale = inner / max(float(span[1]), float(span[0]) / 2.5, 0.5)
        self.height = height
        self.width = int(span[0] * self._scale) + 2 * _POSE_MARGIN

    def pose(self, frame: int) -> Image.Image:
        """The bodies of one frame above the floor."""
        size = (self.width * _FINER, self.height * _FINER)
        image = Image.new("RGB", size, BACKGROUND)
        draw = ImageDraw.Draw(image)
        projected = self._projected
        floor = self._placed(projected.floor)
        if len(floor) == 4:
            draw.polygon(floor, fill=FLOOR)
            self._line(draw, floor[3], floor[2], FLOOR_EDGE, 1)
        self._line(draw, floor[0], floor[1], FLOOR_EDGE, 1.5)
        bodies = [
            body
            for body in range(projected.visible.shape[1])
            if projected.visible[frame, body].any()
        ]
        for body in bodies:
            self._shadow(draw, frame, body)
        # the farther body first, so that the nearer one covers it
        for body in sorted(bodies, key=lambda body: -float(projected.depth[frame, body].mean())):
            self._body(draw, frame, body, labelled=len(bodies) > 1)
        return image.resize((self.width, self.height), Image.Resampling.LANCZOS)

    def _placed(self, places: Vectors) -> list[tuple[float, float]]:
        """Picture coordinates `(N, 2)` as pixels of the enlarged image."""
        low, high = self._projected.low, self._projected.high
        spare = self.height - 2 * _POSE_MARGIN - (high[1] - low[1]) * self._scale
        x = (places[:, 0] - low[0]) * self._scale + _POSE_MARGIN
        y = (high[1] - places[:, 1]) * self._scale + _POSE_MARGIN + spare
        return [(float(a) * _FINER, float(b) * _FINER) for a, b in zip(x, y, strict=True)]

    def _line(
        self,
        draw: ImageDraw.ImageDraw,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: Colour,
        width: float,
    ) -> None:
        draw.line([start, end], fill=colour, width=max(round(width * _FINER), 1))

    def _shadow(self, draw: ImageDraw.ImageDraw, frame: int, body: int) -> None:
        if self._projected.shadow is None:
            return
        places, visible = (
            self._placed(self._projected.shadow[frame, body]),
            self._projected.visible[frame, body],
        )
        for child, parent in self._layout.bones:
            if visible[child] and visible[parent]:
                self._line(draw, places[child], places[parent], SHADOW, 5)

    def _body(self, draw: ImageDraw.ImageDraw, frame: int, body: int, *, labelled: bool) -> None:
        places, visible = (
            self._placed(self._projected.points[frame, body]),
            self._projected.visible[frame, body],
        )
        depth = self._projected.depth[frame, body]
        arrows = self._projected.tips is not None
        bones = [bone for bone in self._layout.bones if visible[bone[0]] and visible[bone[1]]]
        for child, parent in sorted(bones, key=lambda bone: -float(depth[list(bone)].sum())):
            colour = colour_of(self._limbs[child], body)
            if arrows:
                colour = lighter(colour, 0.72)
            self._line(draw, places[parent], places[child], colour, _LINE)
        for joint in np.flatnonzero(visible).tolist():
            colour = colour_of(self._limbs[joint], body)
            radius = _HEAD if joint in self._heads else _JOINT
            self._dot(draw, places[joint], lighter(colour, 0.72) if arrows else colour, radius)
        if self._projected.tips is not None:
            tips = self._placed(self._projected.tips[frame, body])
            for joint in np.flatnonzero(visible).tolist():
                self._line(draw, places[joint], tips[joint], colour_of(self._limbs[joint], body), 2)
        if labelled:
            x, y = min(
                (places[joint] for joint in np.flatnonzero(visible).tolist()), key=lambda p: p[1]
            )
            font = ImageFont.load_default(11 * _FINER)
            top = max(y - (_HEAD + 7) * _FINER, 8 * _FINER)
            draw.text((x, top), str(body + 1), fill=FAINT, font=font, anchor="mm")

    def _dot(
        self, draw: ImageDraw.ImageDraw, place: tuple[float, float], colour: Colour, radius: float
    ) -> None:
        x, y = place
        r = radius * _FINER
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def write_strip(
    path: Path,
    sequences: Sequence[PoseSequence],
    layout: Layout,
    *,
    title: str,
    subtitle: str,
    poses: int,
    turn: float,
    fps: float | None,
) -> None:
    """Writes a PNG of poses side by side, a row for each sequence, with frame numbers below.

    Args:
        poses: how many, spread evenly over the clip.
        turn: degrees about the vertical axis to look from.
        fps: frames per second, to write the time beside the frame number; None for no time.
    """
    canvases = [Canvas(sequence, layout, turn, _POSE_HEIGHT) for sequence in sequences]
    frames = evenly_spaced(len(sequences[0].joints), poses)
    column = max(canvas.width for canvas in canvases)
    margin = 16 + (58 if len(sequences) > 1 else 0)
    width = margin + column * len(frames) + 16
    height = _TITLE + len(sequences) * _POSE_HEIGHT + _CAPTION + 8
    shrink = min(1.0, _LARGEST_SIDE / max(width, height))
    image = _titled((width, height), title, subtitle)
    draw = ImageDraw.Draw(image)
    small = ImageFont.load_default(12)
    for row, (sequence, canvas) in enumerate(zip(sequences, canvases, strict=True)):
        top = _TITLE + row * _POSE_HEIGHT
        if len(sequences) > 1:
            place = (12, top + _POSE_HEIGHT // 2)
            draw.text(place, sequence.stream, fill=INK, font=small, anchor="lm")
        for number, frame in enumerate(frames):
            left = margin + number * column + (column - canvas.width) // 2
            image.paste(canvas.pose(frame), (left, top))
    for number, frame in enumerate(frames):
        text = f"frame {frame}"
        if fps is not None and column > 110:
            text += f" · {frame / fps:.1f} s"
        place = (margin + number * column + column // 2, height - _CAPTION)
        draw.text(place, text, fill=FAINT, font=small, anchor="ma")
    if shrink < 1:
        image = image.resize((int(width * shrink), int(height * shrink)))
    with replacing(path) as part:
        image.save(part, "PNG")


def write_animation(
    path: Path,
    sequences: Sequence[PoseSequence],
    layout: Layout,
    *,
    title: str,
    subtitle: str,
    speed: float,
    turn: float,
    fps: float = USUAL_FPS,
) -> None:
    """Writes a GIF that plays the clip in a loop, the sequences side by side.

    Args:
        speed: 1 is `fps` frames per second.
        turn: degrees about the vertical axis to look from.
    """
    canvases = [Canvas(sequence, layout, turn, round(1.3 * _POSE_HEIGHT)) for sequence in sequences]
    font = ImageFont.load_default(15)
    small = ImageFont.load_default(12)
    text_width = max(font.getlength(title) + 60, small.getlength(subtitle))
    width = max(sum(canvas.width for canvas in canvases) + 32, int(text_width) + 32)
    height = _TITLE + canvases[0].height + _CAPTION
    empty = _titled((width, height), title, subtitle)
    spare = (width - sum(canvas.width for canvas in canvases)) // 2
    images = []
    total = len(sequences[0].joints)
    # GIF counts hundredths of a second, and viewers slow down animations faster than two of them
    every = math.ceil(_SHORTEST_STEP_S * fps * speed - 1e-9)
    for frame in range(0, total, every):
        image = empty.copy()
        draw = ImageDraw.Draw(image)
        left = spare
        for sequence, canvas in zip(sequences, canvases, strict=True):
            image.paste(canvas.pose(frame), (left, _TITLE))
            if len(sequences) > 1:
                place = (left + canvas.width // 2, height - _CAPTION)
                draw.text(place, sequence.stream, fill=FAINT, font=small, anchor="ma")
            left += canvas.width
        draw.text((width - 12, 12), f"{frame + 1}/{total}", fill=FAINT, font=small, anchor="ra")
        images.append(image)
    # one palette for all frames, because colours would flicker
    palette = images[0].quantize(128, method=Image.Quantize.MEDIANCUT)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    step = 10 * round(100 * every / (fps * speed))
    with replacing(path) as part:
        flat[0].save(
            part, "GIF", save_all=True, append_images=flat[1:], duration=step, loop=0, disposal=1
        )


def _titled(size: tuple[int, int], title: str, subtitle: str) -> Image.Image:
    image = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(image)
    draw.text((12, 8), title, fill=INK, font=ImageFont.load_default(15))
    draw.text((12, 27), subtitle, fill=FAINT, font=ImageFont.load_default(12))
    return image
