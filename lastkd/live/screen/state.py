"""What the picture shows: written by the session's thread, read by the screen's."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lastkd.data.frames import Frame
from lastkd.data.layouts import Layout
from lastkd.live.layout import layout_of
from lastkd.live.prediction import StreamPrediction
from lastkd.live.session import LiveSession
from lastkd.monitor.screen.glyphs import Glyphs
from lastkd.monitor.screen.style import Palette

MINUTE_S = 60.0


@dataclass
class Spell:
    """A time in which one action was recognised, in the stream's seconds."""

    label: int
    start: float
    end: float


@dataclass
class LiveState:
    """One stream and the style it is drawn in.

    Attributes:
        session: that runs in another thread.
        model: the model's file.
        palette, glyphs: of the terminal.
        turn: degrees about the vertical axis from which figures are seen.
        pose: joints `(bodies, V, 2 or 3)` of the newest frame; None where nobody is seen.
        prediction: the newest.
        spells: of the last minute, the newest last.
        milliseconds: of the latest predictions.
        late_s: by how much the newest prediction was late.
        over: the source has ended.
    """

    session: LiveSession
    model: Path
    palette: Palette
    glyphs: Glyphs
    turn: float = 20.0
    pose: NDArray[np.floating] | None = None
    now: float = 0.0
    prediction: StreamPrediction | None = None
    spells: deque[Spell] = field(default_factory=deque)
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    late_s: float = 0.0
    over: bool = False
    _arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=61))
    _answered: float = 0.0

    @cached_property
    def layout(self) -> Layout:
        """Of the model's skeleton."""
        return layout_of(self.session.predictor.facts)

    def take_frame(self, frame: Frame, now: float) -> None:
        """A frame was pushed."""
        pose = frame.joints
        if pose is not None and frame.scores is not None:
            pose = np.where(frame.scores[..., None] > 0, pose, np.nan)
        self.pose, self.now = pose, now
        self._arrivals.append(time.monotonic())

    def take_prediction(self, prediction: StreamPrediction, late_s: float) -> None:
        """A prediction was made."""
        self.prediction, self.late_s = prediction, late_s
        self.milliseconds.append(prediction.milliseconds)
        label, spells = prediction.label, self.spells
        if label is not None:
            # a prediction stands for the time since the one before
            going_on = spells and spells[-1].label == label and spells[-1].end == self._answered
            if going_on:
                spells[-1].end = prediction.time
            else:
                spells.append(Spell(label, max(self._answered, prediction.start), prediction.time))
        self._answered = prediction.time
        while spells and spells[0].end < prediction.time - MINUTE_S:
            spells.popleft()

    @property
    def frames_per_second(self) -> float:
        """At which frames came lately."""
        arrivals = list(self._arrivals)
        if len(arrivals) < 2 or arrivals[-1] <= arrivals[0]:
            return 0.0
        return (len(arrivals) - 1) / (max(arrivals[-1], time.monotonic() - 1) - arrivals[0])

    @property
    def recent_milliseconds(self) -> float:
        """Median time of a prediction."""
        return float(np.median(self.milliseconds)) if self.milliseconds else 0.0
