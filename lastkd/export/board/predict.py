"""Names the action in a clip or a stream of skeletons. Needs numpy and onnxruntime, nothing else.

    python predict.py                       the clip that lies beside this file
    python predict.py clip.npy              joints (frames, bodies, joints, 3)

From Python:
    recogniser = Recogniser()
    print(recogniser.predict(joints)[:5])   a whole clip: (action, probability), likeliest first
    answer = recogniser.push(pose, time)    a stream's next pose; None or (action, probability)
"""

from __future__ import annotations

import json
import sys
import time as clock
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
NOTHING = "nothing"


class Recogniser:
    """The model that lies beside this file, on one thread."""

    def __init__(self, folder: str | Path = HERE) -> None:
        about = json.loads((Path(folder) / "labels.json").read_text(encoding="utf-8"))
        self.classes, self.bodies, self.joints = about["classes"], about["bodies"], about["joints"]
        stream = about["stream"]
        self.window, self.step, self.shortest = (
            stream[key] for key in ("window_s", "step_s", "shortest_s")
        )
        self.threshold, self.smoothing = stream["threshold"], stream["window_s"] / 8
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.reset()

    def reset(self) -> None:
        """Forgets the stream."""
        self._frames: deque[tuple[float, Any]] = deque()
        self._due: float | None = None
        self._smoothed: Any = None
        self._smoothed_at = 0.0

    def probabilities(self, clip: Any) -> Any:
        """`(classes,)` for joints `(frames, bodies, joints, 3)`, in the sensor's own unit."""
        clip = np.asarray(clip, np.float32)
        if clip.ndim == 3:
            clip = clip[:, None]
        if clip.ndim != 4 or clip.shape[2:] != (len(self.joints), 3) or len(clip) < 2:
            raise ValueError(
                f"joints have shape {clip.shape}, not (2 or more, bodies, {len(self.joints)}, 3)"
            )
        fitted = np.zeros((len(clip), self.bodies, *clip.shape[2:]), np.float32)
        fitted[:, : clip.shape[1]] = clip[:, : self.bodies]
        return self._session.run(None, {"joints": np.nan_to_num(fitted)})[0][0]

    def predict(self, clip: Any) -> list[tuple[str, float]]:
        """(action, probability) pairs for a whole clip, the likeliest first."""
        shares = self.probabilities(clip)
        return [(self.classes[k], float(shares[k])) for k in np.argsort(-shares)]

    def push(self, pose: Any, time: float | None = None) -> tuple[str, float] | None:
        """Takes one frame of a stream; (action, probability) when an answer is due, else None.

        pose: `(joints, 3)` or `(bodies, joints, 3)`, actor 1 first; None where nobody is seen.
        time: in seconds; now where it is left out.
        """
        now = clock.monotonic() if time is None else time
        if self._frames and not 0 < now - self._frames[-1][0] < self.window / 2:
            self.reset()  # the stream was interrupted
        if pose is not None:
            pose = np.asarray(pose, np.float32).reshape(-1, len(self.joints), 3)[: self.bodies]
            full = np.zeros((self.bodies, len(self.joints), 3), np.float32)
            full[: len(pose)] = pose
            self._frames.append((now, full))
        while self._frames and self._frames[0][0] <= now - self.window * (1 - 1e-6):
            self._frames.popleft()
        if len(self._frames) < 2 or now - self._frames[0][0] < 0.97 * self.shortest:
            return None
        if self._due is not None and now < self._due:
            return None
        self._due = now + self.step
        return self._answer(now)

    def _answer(self, now: float) -> tuple[str, float]:
        times = np.array([time for time, _ in self._frames])
        clip = np.stack([full for _, full in self._frames])
        even = np.linspace(times[0], times[-1], len(times))  # frames may come unevenly
        after = np.searchsorted(times, even).clip(1, len(times) - 1)
        share = (even - times[after - 1]) / (times[after] - times[after - 1])
        share = share.clip(0, 1).astype(np.float32)[:, None, None, None]
        shares = self.probabilities(clip[after - 1] * (1 - share) + clip[after] * share)
        if self._smoothed is not None:
            kept = np.exp(-(now - self._smoothed_at) / self.smoothing)
            shares = kept * self._smoothed + (1 - kept) * shares
        self._smoothed, self._smoothed_at = shares, now
        best = int(shares.argmax())
        action = self.classes[best] if shares[best] >= self.threshold else NOTHING
        return action, float(shares[best])


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "sample.npy"
    for name, share in Recogniser().predict(np.load(path, allow_pickle=False))[:5]:
        print(f"{100 * share:6.2f} %  {name}")
