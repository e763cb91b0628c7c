"""A student at work on a stream of skeletons."""

from __future__ import annotations

import math
import time as clock
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lastkd.data.tracking import Tracker
from lastkd.errors import UserError
from lastkd.evaluation.calibration import softmax
from lastkd.live.buffer import FrameBuffer
from lastkd.live.classifier import Classifier
from lastkd.live.decision import STRETCH_S, STRETCHES, Decision, speed_of
from lastkd.live.open_model import open_classifier
from lastkd.live.prediction import StreamPrediction
from lastkd.live.window import Bodies, window_clip

REMEMBERED_S = 1.2 * STRETCHES * STRETCH_S
"""Of a rest: enough to measure speed again."""

BACKWARDS = "frames earlier than the one before skipped"
RESTARTED = "jumps back in time, taken for a new start"
INTERRUPTED = "interruptions, after which the window began anew"
UNTIMED = "frames without a finite time skipped"
CROWDED = "frames closer in time than a window can hold skipped"
UNSEEN = "frames with joints that aren't finite, taken for unseen"


class StreamPredictor:
    """Names the action in a stream, frame by frame.

        predictor = lastkd.StreamPredictor("nano.onnx")
        for joints in camera:                     # (bodies, joints, 3)
            prediction = predictor.push(joints)
            if prediction is not None:
                print(prediction.action, prediction.probability)

    The last `window` seconds, or what there is since nobody moved, are classified every `step`
    seconds, at any frame rate. With an ONNX file this needs numpy and ONNX Runtime alone.

    Args:
        model: a checkpoint or an exported ONNX file.
        window, step: in seconds; default: as the model's calibration says.
        smoothing: time constant in seconds over which probabilities are averaged; 0 for none,
            default an eighth of the window.
        threshold: probability from which an action is the answer, which then stays until its
            probability is below half of that; default: as the model's calibration says.
        stillness: speed below which the answer is "nothing", in body heights per second; default:
            as the model's calibration says.
        bodies: `tracked`, bodies of a frame come in any order: they are followed from frame to
            frame, and the actors are chosen among them as `lastkd prepare` does; `kinect`, the same
            by the rules for a Kinect, which finds chairs; `given`, body 0 of every frame is actor 1
            and body 1 actor 2.
        factory: `package.module:factory`, where a checkpoint's model isn't one of lastkd's.

    Attributes:
        facts: what the model says of itself.
        skipped: what of the input wasn't used as it came, and how often.

    Raises:
        UserError: the model is missing or damaged, or a number is out of range.
    """

    def __init__(
        self,
        model: str | Path | Classifier,
        *,
        window: float | None = None,
        step: float | None = None,
        smoothing: float | None = None,
        threshold: float | None = None,
        stillness: float | None = None,
        bodies: Bodies = "tracked",
        factory: str | None = None,
    ) -> None:
        self._classifier = (
            open_classifier(model, factory=factory) if isinstance(model, (str, Path)) else model
        )
        self.facts = self._classifier.facts
        known = self.facts.calibration
        self.window = _positive("window", known.window_s if window is None else window)
        self.step = _at_least_0("step", known.step_s if step is None else step)
        self.smoothing = _at_least_0(
            "smoothing", self.window / 8 if smoothing is None else smoothing
        )
        self.threshold = _at_least_0(
            "threshold", known.threshold if threshold is None else threshold
        )
        self.stillness = _at_least_0(
            "stillness", known.stillness if stillness is None else stillness
        )
        self._decision = Decision(self.threshold, self.stillness)
        # a first answer after the same part of the window as in the training clips
        self.shortest = min(known.shortest_s * self.window / known.window_s, self.window)
        self._bodies = bodies
        self._buffer = FrameBuffer(len(self.facts.joints), self.window)
        self._tracker = Tracker()
        self.skipped: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forgets all frames and answers, as for another stream; `skipped` goes on counting."""
        self._buffer.clear()
        self._tracker.clear()
        self._decision.reset()
        self._begun: float | None = None
        self._last: float | None = None
        self._due = -math.inf
        self._frame_s = 0.0
        self._smoothed: NDArray[np.float64] | None = None
        self._smoothed_at = 0.0

    def push(
        self,
        joints: ArrayLike | None,
        time: float | None = None,
        scores: ArrayLike | None = None,
        *,
        ids: ArrayLike | None = None,
    ) -> StreamPrediction | None:
        """Takes a frame; gives a prediction when one is due.

        Time that runs back, frames that follow too closely and coordinates that aren't finite
        don't end a stream: `skipped` counts them. After an interruption of more than half a window
        the window begins anew.

        Args:
            joints: `(bodies, joints, 2 or 3)` in the sensor's unit and coordinates, or one body's
                `(joints, 2 or 3)`; None or no body where nobody is seen. Of a flat skeleton's
                three channels the last is a score. A joint is unseen where it isn't finite.
            time: of the frame, in seconds from any start; default: now.
            scores: `(bodies, joints)`; a joint whose score isn't above 0 is unseen.
            ids: `(bodies,)` whole numbers, where the source itself follows its bodies.

        Raises:
            UserError: the arrays don't have these shapes.
        """
        now = clock.monotonic() if time is None else float(time)
        points = self._points(joints, scores)
        if not self._accept_time(now):
            return None
        if self._bodies == "given":
            points = points[:2]
            who = np.arange(len(points))
        elif ids is not None:
            who = np.asarray(ids, np.int64)
            if who.shape != (len(points),):
                raise UserError(f"ids have shape {who.shape}, and there are {len(points)} bodies")
        else:
            who = self._tracker.assign(points, now)
        if not self._buffer.add(now, points, who):
            self.skipped[CROWDED] += 1
            return None
        if self._last is not None:
            passed = now - self._last
            self._frame_s = passed if not self._frame_s else 0.9 * self._frame_s + 0.1 * passed
        self._last = now
        if self._begun is None:
            self._begun = now
        # half a frame early is nearer than half a frame late
        early = now + 0.5 * self._frame_s
        if early - self._begun + self._frame_s < self.shortest or early < self._due:
            return None
        if self._due < now - self.step:
            self._due = now
        self._due += self.step
        return self.predict_now()

    def predict_now(self) -> StreamPrediction | None:
        """A prediction for the frames so far, due or not; None where there are none."""
        if self._last is None:
            return None
        begun = clock.perf_counter()
        buffer, K = self._buffer, len(self.facts.class_names)
        clip = window_clip(buffer.times, buffer.joints, buffer.ids, self.facts, self._bodies)
        label = None
        logits = np.zeros(K, np.float32)
        probabilities = np.zeros(K)
        speed = 0.0
        if clip is None:
            self._smoothed = None
            self._decision.reset()
        else:
            logits = self._classifier(clip)
            probabilities = self._smooth(softmax(logits, self.facts.calibration.temperature))
            frame_s = float(buffer.times[-1] - buffer.times[0]) / (len(clip) - 1)
            speed = speed_of(clip, frame_s, self.facts.dimensions)
            label = self._decision.update(probabilities, speed)
        start = float(buffer.times[0])
        if speed < self.stillness:  # the next movement has nothing to do with the last one
            self._smoothed = None
            buffer.forget(self._last - REMEMBERED_S)
        return StreamPrediction(
            time=self._last,
            start=start,
            frames=0 if clip is None else len(clip),
            label=label,
            probabilities=probabilities,
            logits=logits,
            speed=speed,
            class_names=self.facts.class_names,
            milliseconds=1000 * (clock.perf_counter() - begun),
        )

    def _smooth(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """The exponential average over time, in which old answers fade with `smoothing`."""
        assert self._last is not None
        if self._smoothed is not None and self.smoothing:
            kept = math.exp(-(self._last - self._smoothed_at) / self.smoothing)
            probabilities = kept * self._smoothed + (1 - kept) * probabilities
        self._smoothed, self._smoothed_at = probabilities, self._last
        return probabilities

    def _accept_time(self, now: float) -> bool:
        """Whether a frame of this time can follow; begins anew after a jump."""
        if not math.isfinite(now):
            self.skipped[UNTIMED] += 1
            return False
        if self._last is None:
            return True
        if now <= self._last - self.window:
            self.skipped[RESTARTED] += 1
            self.reset()
        elif now <= self._last:
            self.skipped[BACKWARDS] += 1
            return False
        elif now - self._last > self.window / 2:
            self.skipped[INTERRUPTED] += 1
            self.reset()
        return True

    def _points(self, joints: ArrayLike | None, scores: ArrayLike | None) -> NDArray[np.float32]:
        """`(bodies, V, 3)` with NaN where a joint is unseen, and without bodies that are."""
        V, flat = len(self.facts.joints), self.facts.dimensions == 2
        if joints is None:
            return np.zeros((0, V, 3), np.float32)
        try:
            points = np.array(joints, np.float32)
        except (ValueError, TypeError):
            raise UserError("a frame's bodies don't all have the same joints") from None
        if points.size == 0:
            return np.zeros((0, V, 3), np.float32)
        if points.ndim == 2:
            points = points[None]
        if (
            points.ndim != 3
            or points.shape[1] != V
            or points.shape[2] not in ((2, 3) if flat else (3,))
        ):
            needed = f"(bodies, {V}, {'2 or 3' if flat else '3'})"
            raise UserError(
                f"a frame has joints of shape {points.shape}, and {self.facts.name} needs {needed} "
                f"of layout {self.facts.layout}"
            )
        seen: NDArray[np.bool_] = np.all(np.isfinite(points), axis=2)
        if not seen.all():
            self.skipped[UNSEEN] += 1
        if points.shape[2] == 2:
            points = np.concatenate((points, np.ones((*points.shape[:2], 1), np.float32)), axis=2)
        if scores is not None:
            scored = np.asarray(scores, np.float32)
            scored = scored[None] if scored.ndim == 1 else scored
            if scored.shape != points.shape[:2]:
                raise UserError(
                    f"scores have shape {scored.shape}, and the joints {points.shape[:2]}"
                )
            seen &= scored > 0
            if flat:
                points[..., 2] = scored
        if flat:
            seen &= points[..., 2] > 0
        points[~seen] = np.nan
        # an absent body takes no part in following, nor in the window
        there = ((points != 0) & seen[..., None]).any(axis=(1, 2))
        if self._bodies == "given":  # its place in the frame says who it is
            points[~there] = 0
            return points
        return points if there.all() else points[there]


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} is {value}; it must be above 0")
    return float(value)


def _at_least_0(name: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"{name} is {value}; it must be at least 0")
    return float(value)
