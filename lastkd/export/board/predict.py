"""Names the action in a clip or a stream of skeletons. Needs numpy and onnxruntime, nothing else.

    python predict.py                       the clip that lies beside this file
    python predict.py clip.npy              joints (frames, bodies, joints, 3), as README.md says

From Python:
    recogniser = Recogniser()
    print(recogniser.predict(joints)[:5])   a whole clip: (action, probability), likeliest first
    answer = recogniser.push(pose, time)    a stream's next pose; None or (action, probability)
"""

from __future__ import annotations

import json
import sys
import time as clock
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime


class Recogniser:
    """The model that lies beside this file, on one thread."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        about = json.loads((Path(folder) / "labels.json").read_text(encoding="utf-8"))
        self.classes, self.bodies, self.joints = about["classes"], about["bodies"], about["joints"]
        self.dimensions, self.stream = about["dimensions"], about["stream"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(Path(folder) / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.reset()

    def reset(self) -> None:
        """Forgets the stream."""
        self._frames: list[tuple[float, Any]] = []
        self._due, self._smoothed_at, self._smoothed, self._shown = np.inf, 0.0, np.zeros(0), -1

    def probabilities(self, clip: Any) -> Any:
        """`(classes,)` for joints `(frames, bodies, joints, 3)`, in the sensor's own unit."""
        clip = np.asarray(clip, np.float32)
        clip = clip[:, None] if clip.ndim == 3 else clip
        if clip.ndim != 4 or clip.shape[2:] != (len(self.joints), 3) or len(clip) < 2:
            raise ValueError(f"shape {clip.shape}, not (2 or more, bodies, {len(self.joints)}, 3)")
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
        now, window = clock.monotonic() if time is None else time, self.stream["window_s"]
        if self._frames and not 0 < now - self._frames[-1][0] < window / 2:
            self.reset()  # the stream was interrupted
        if pose is not None:
            pose = np.nan_to_num(np.asarray(pose, np.float32).reshape(-1, len(self.joints), 3))
            full = np.zeros((self.bodies, len(self.joints), 3), np.float32)
            full[: len(pose)] = pose[: self.bodies]
            self._frames.append((now, full))
            self._due = min(self._due, now + 0.97 * self.stream["shortest_s"])
        self._frames = [frame for frame in self._frames if frame[0] > now - window * (1 - 1e-6)]
        if now < self._due or len(self._frames) < 2:
            return None
        self._due = now + self.stream["step_s"]
        return self._answer(now)

    def _answer(self, now: float) -> tuple[str, float]:
        times = np.array([time for time, _ in self._frames])
        clip = np.stack([full for _, full in self._frames])
        even = np.linspace(times[0], times[-1], len(times))  # frames may come unevenly
        after = np.searchsorted(times, even).clip(1, len(times) - 1)
        share = ((even - times[after - 1]) / np.diff(times)[after - 1]).clip(0, 1)
        share = share.astype(np.float32)[:, None, None, None]
        clip = clip[after - 1] * (1 - share) + clip[after] * share
        shares = self.probabilities(clip)
        if len(self._smoothed):
            kept = np.exp(8 * (self._smoothed_at - now) / self.stream["window_s"])
            shares = kept * self._smoothed + (1 - kept) * shares
        self._smoothed, self._smoothed_at, best = shares, now, int(shares.argmax())
        if self._speed(clip, even[1] - even[0]) < self.stream["stillness"]:
            self._shown, self._smoothed = -1, shares[:0]  # the next movement begins here
            self._frames = [frame for frame in self._frames if frame[0] >= now - 0.576]
        elif shares[best] >= self.stream["threshold"]:
            self._shown = best
        elif self._shown >= 0 and shares[self._shown] < self.stream["threshold"] / 2:
            self._shown = -1
        return self.classes[self._shown] if self._shown >= 0 else "nothing", float(shares[best])

    def _speed(self, clip: Any, frame_s: float) -> float:
        """Of the quickest quarter of the joints of late, in body heights per second."""
        frames = max(round(0.16 / frame_s), 1)
        recent = clip[-3 * frames :]
        if len(recent) < 3 * frames:
            return np.inf
        seen = recent.any(axis=3).all(axis=0)[..., None]  # throughout
        poses = recent.reshape(3, frames, *clip.shape[1:]).mean(axis=1)[..., : self.dimensions]
        moved = np.linalg.norm(np.diff(poses, axis=0), axis=3).mean(axis=0) * seen[..., 0]
        top = poses[-1].max(axis=1, where=seen, initial=-np.inf)
        height = (top - poses[-1].min(axis=1, where=seen, initial=np.inf)).max(axis=1)
        quickest = np.sort(moved, axis=1)[:, -((moved.shape[1] + 3) // 4) :].mean(axis=1)
        return max((quickest / height / frames / frame_s)[height > 0], default=np.inf)


if __name__ == "__main__":
    path = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("sample.npy")
    for name, share in Recogniser().predict(np.load(path, allow_pickle=False))[:5]:
        print(f"{100 * share:6.2f} %  {name}")
