"""How well actions are found in a stream: frame by frame, and action by action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PAUSE = -1
"""Label of frames in which no action goes on, and of the answer "nothing"."""


class Action(NamedTuple):
    """One action in a stream: frames from `start` up to, not including, `stop`."""

    label: int
    start: int
    stop: int


@dataclass
class StreamScore:
    """Counts over any number of streams; `add` takes one more.

    Attributes:
        rate: frames per second of the streams.
        action_frames, pause_frames: how many there are.
        right_action_frames, right_pause_frames: where the answer was the action, or nothing.
        actions: how many there are.
        delays: for each action found within its own time, seconds from its start to the first
            right answer.
        false_alarms: times in which an action was shown that wasn't going on during any of them.
    """

    rate: float
    action_frames: int = 0
    pause_frames: int = 0
    right_action_frames: int = 0
    right_pause_frames: int = 0
    actions: int = 0
    delays: list[float] = field(default_factory=list)
    false_alarms: int = 0

    def add(self, actions: Sequence[Action], answers: NDArray[np.int64]) -> None:
        """Counts one stream.

        Args:
            actions: in their order; what lies between them is pause.
            answers: `(T,)`, what was shown during each frame, `PAUSE` for "nothing".
        """
        truth = truth_of(actions, len(answers))
        for action in actions:
            shown = answers[action.start : action.stop] == action.label
            if shown.any():
                self.delays.append(float(shown.argmax()) / self.rate)
        right, pause = answers == truth, truth == PAUSE
        self.action_frames += int((~pause).sum())
        self.pause_frames += int(pause.sum())
        self.right_action_frames += int(right[~pause].sum())
        self.right_pause_frames += int(right[pause].sum())
        self.actions += len(actions)
        for label, start, stop in _spells(answers):
            if not (truth[start:stop] == label).any():
                self.false_alarms += 1

    @property
    def minutes(self) -> float:
        return (self.action_frames + self.pause_frames) / self.rate / 60

    @property
    def frame_accuracy(self) -> float:
        """Percent of all frames with the right answer."""
        total = self.action_frames + self.pause_frames
        return _percent(self.right_action_frames + self.right_pause_frames, total)

    @property
    def action_accuracy(self) -> float:
        """Percent of the frames of actions."""
        return _percent(self.right_action_frames, self.action_frames)

    @property
    def pause_accuracy(self) -> float:
        """Percent of the frames between actions in which nothing was shown."""
        return _percent(self.right_pause_frames, self.pause_frames)

    @property
    def found(self) -> float:
        """Percent of the actions that were shown at some time while they went on."""
        return _percent(len(self.delays), self.actions)

    @property
    def false_alarms_per_minute(self) -> float:
        return self.false_alarms / self.minutes if self.minutes else 0.0

    @property
    def f1(self) -> float:
        """Percent: harmonic mean of the share found, and of the share of what is shown that is."""
        shown = len(self.delays) + self.false_alarms
        return _percent(2 * len(self.delays), self.actions + shown)

    def delay(self, percentile: float = 50) -> float | None:
        """Seconds from an action's start to the right answer, of those found; None of none."""
        return float(np.percentile(self.delays, percentile)) if self.delays else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `lastkd evaluate --stream --json` prints them."""
        median, late = self.delay(), self.delay(90)
        return {
            "minutes": round(self.minutes, 2),
            "actions": self.actions,
            "frame_accuracy": round(self.frame_accuracy, 2),
            "action_frame_accuracy": round(self.action_accuracy, 2),
            "pause_frame_accuracy": round(self.pause_accuracy, 2),
            "found": round(self.found, 2),
            "f1": round(self.f1, 2),
            "false_alarms_per_minute": round(self.false_alarms_per_minute, 2),
            "delay_median_s": None if median is None else round(median, 2),
            "delay_p90_s": None if late is None else round(late, 2),
        }


def truth_of(actions: Sequence[Action], frames: int) -> NDArray[np.int64]:
    """`(frames,)`: the action that goes on, `PAUSE` where none does."""
    truth = np.full(frames, PAUSE, np.int64)
    for action in actions:
        truth[action.start : action.stop] = action.label
    return truth


def _spells(answers: NDArray[np.int64]) -> list[Action]:
    """The times in which one action was shown without a break."""
    edges = np.flatnonzero(np.diff(answers)) + 1
    bounds = [0, *edges.tolist(), len(answers)]
    return [
        Action(int(answers[start]), start, stop)
        for start, stop in pairwise(bounds)
        if stop > start and answers[start] != PAUSE
    ]


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
