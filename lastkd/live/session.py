"""A source played into a predictor, at its own rate."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from lastkd.data.frames import Frame
from lastkd.errors import UserError
from lastkd.live.prediction import StreamPrediction
from lastkd.live.predictor import StreamPredictor
from lastkd.live.sources import FrameSource

MISFIT = "frames of another skeleton skipped"


class LiveSession:
    """Pushes every frame of a source when it is due, and hands on the predictions.

    Args:
        speed: of a source that is played: 2 is twice as fast; None for as fast as it goes.
        loop: a recorded source begins again when it is over.

    Attributes:
        on_frame: called with each frame that was pushed, and its time.
        on_prediction: called with each prediction, and how many seconds late it is.
        stop: ends the session when it is set.
        paused: a source that is played waits while it is set.
        frames: pushed so far.
        misfit: why the last frame of another skeleton was skipped.
    """

    def __init__(
        self,
        predictor: StreamPredictor,
        source: FrameSource,
        *,
        speed: float | None = 1.0,
        loop: bool = False,
    ) -> None:
        self.predictor, self.source = predictor, source
        self.speed, self.loop = speed, loop
        self.on_frame: Callable[[Frame, float], None] = lambda frame, time: None
        self.on_prediction: Callable[[StreamPrediction, float], None] = lambda prediction, late: (
            None
        )
        self.stop = threading.Event()
        self.paused = threading.Event()
        self.frames = 0
        self.misfit = ""
        self._faults: Counter[str] = Counter()
        self._offset: float | None = None
        self._last = 0.0
        self._unanswered = False

    @property
    def skipped(self) -> Counter[str]:
        """What of the source wasn't used as it came, and how often."""
        return self._faults + self.predictor.skipped

    def run(self) -> None:
        """Until the source is over, or `stop` is set."""
        base = 0.0
        while True:
            pushed = self.frames
            self._play(base)
            if not (self.loop and self.source.paced) or self.stop.is_set():
                return
            if self.frames == pushed:
                return  # nothing in it fits, and never will
            base = self._last + 1 / 30
            self.predictor.reset()  # the end and the beginning are no one movement

    def _play(self, base: float) -> None:
        for frame in self.source.frames(self.stop):
            if self.stop.is_set():
                return
            if frame is None:
                continue
            if frame.fault is not None:
                self._faults[frame.fault] += 1
                continue
            now = time.monotonic() if frame.time is None else base + frame.time
            if self.source.paced:
                self._wait(now)
            self._push(frame, now)
        if self._unanswered and not self.stop.is_set():
            # the end of a clip is worth a look, which isn't late: until now more might have come
            self._hand_on(self.predictor.predict_now(), late=0.0)

    def _push(self, frame: Frame, now: float) -> None:
        try:
            prediction = self.predictor.push(frame.joints, now, frame.scores, ids=frame.ids)
        except UserError as error:
            self._faults[MISFIT] += 1
            self.misfit = str(error)
            return
        self.frames += 1
        self._last = now
        self._unanswered = prediction is None
        self.on_frame(frame, now)
        self._hand_on(prediction)

    def _hand_on(self, prediction: StreamPrediction | None, late: float | None = None) -> None:
        if prediction is not None:
            self._unanswered = False
            self.on_prediction(prediction, self._late(prediction.time) if late is None else late)

    def _late(self, now: float) -> float:
        """Seconds by which a frame's prediction comes later than the timeliest frame's push."""
        behind = time.monotonic() - now / (self.speed or 1.0)
        self._offset = behind if self._offset is None else min(self._offset, behind)
        return behind - self._offset

    def _wait(self, now: float) -> None:
        """Until a frame is due."""
        while self.paused.is_set() and not self.stop.is_set():
            self.stop.wait(0.02)
            self._offset = None
        if self.speed is None:
            return
        due = now / self.speed
        if self._offset is None:
            self._offset = time.monotonic() - due
        left = due + self._offset - time.monotonic()
        if left > 0:
            self.stop.wait(left)
        elif left < -1.0:
            self._offset = None  # the source itself stood still, or jumped
