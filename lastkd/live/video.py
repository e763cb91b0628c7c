"""Films and cameras: poses by MediaPipe's pose landmarker, as layout `mediapipe33`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision
from numpy.typing import NDArray

from lastkd.data.frames import Frame
from lastkd.data.tracking import Tracker
from lastkd.errors import UserError
from lastkd.live.classifier import ModelFacts
from lastkd.live.sources import FrameSource

JOINTS = 33
MOST_PEOPLE = 2
LONGEST_WAIT_S = 5.0
"""For how long a camera may give no picture before it counts as gone."""


class PoseVideo(FrameSource):
    """The poses in a film or before a camera.

    Args:
        path: of a film, or a camera's number.
        pose_model: MediaPipe's pose landmarker, a `.task` file.
        dimensions: 3 for landmarks in space (metres, y up), 2 for those in the picture (pixels).

    Raises:
        UserError: film, camera or model can't be opened.
    """

    def __init__(self, path: Path | int, pose_model: Path, dimensions: int) -> None:
        self.paced = isinstance(path, Path)
        self.name = path.name if isinstance(path, Path) else f"camera {path}"
        self._path, self._dimensions = path, dimensions
        self._options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(pose_model)),
            running_mode=vision.RunningMode.VIDEO,
            num_poses=MOST_PEOPLE,
        )
        try:
            vision.PoseLandmarker.create_from_options(self._options).close()
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{pose_model}: isn't MediaPipe's pose landmarker ({reason})") from None
        self._open().release()

    def frames(self, stop: threading.Event) -> Iterator[Frame | None]:
        capture, tracker = self._open(), Tracker()
        try:
            with vision.PoseLandmarker.create_from_options(self._options) as landmarker:
                last_ms, news = -1, time.monotonic()
                while not stop.is_set():
                    there, picture = capture.read()
                    if not there:
                        if self.paced or time.monotonic() - news > LONGEST_WAIT_S:
                            return
                        yield None
                        stop.wait(0.02)
                        continue
                    news = time.monotonic()
                    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self.paced else news
                    last_ms = max(last_ms + 1, round(1000 * seconds))  # it refuses to go back
                    image = mediapipe.Image(
                        image_format=mediapipe.ImageFormat.SRGB,
                        data=cv2.cvtColor(picture, cv2.COLOR_BGR2RGB),
                    )
                    result = landmarker.detect_for_video(image, last_ms)
                    yield self._frame(result, picture.shape[:2], tracker, seconds)
        finally:
            capture.release()

    def _frame(
        self,
        result: vision.PoseLandmarkerResult,
        size: tuple[int, int],
        tracker: Tracker,
        seconds: float,
    ) -> Frame:
        if not result.pose_landmarks:
            return Frame(time=seconds)
        height, width = size
        flat = np.array(
            [[(p.x * width, p.y * height, 0) for p in pose] for pose in result.pose_landmarks],
            np.float32,
        )
        scores = np.array(
            [[p.visibility for p in pose] for pose in result.pose_landmarks], np.float32
        )
        # in space everybody's hips are the origin; who is who shows in the picture alone
        ids = tracker.assign(flat, seconds)
        if self._dimensions == 2:
            return Frame(flat[..., :2], seconds, scores, ids)
        space: NDArray[np.float32] = np.array(
            [[(p.x, -p.y, -p.z) for p in pose] for pose in result.pose_world_landmarks],
            np.float32,
        )
        return Frame(space, seconds, ids=ids)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path) if isinstance(self._path, Path) else self._path)
        if not capture.isOpened():
            raise UserError(
                f"{self._path}: is no film that OpenCV can read; convert it to .mp4"
                if isinstance(self._path, Path)
                else f"{self.name}: can't be opened; is it connected, and free? Try --camera "
                f"{self._path + 1}"
            )
        if not self.paced:
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old picture is of no use
        return capture


def open_video(
    video: Path | None, camera: int | None, pose_model: Path | None, facts: ModelFacts
) -> PoseVideo:
    """A film or a camera as a source for a model.

    Raises:
        UserError: film, camera or pose model is missing or can't be opened, or the model knows
            another skeleton.
    """
    if len(facts.joints) != JOINTS:
        raise UserError(
            f"{facts.name}: knows {len(facts.joints)} joints of layout {facts.layout}, and "
            f"MediaPipe gives {JOINTS}; train it on a set of layout mediapipe33"
        )
    if pose_model is None or not pose_model.is_file():
        raise UserError(
            f"{pose_model or '--pose-model'}: no such file; fetch pose_landmarker_full.task from "
            "MediaPipe's page of models and name it with --pose-model"
        )
    if video is not None and not video.is_file():
        raise UserError(f"{video}: no such film; check the path")
    path = video if video is not None else camera
    assert path is not None
    return PoseVideo(path, pose_model, facts.dimensions)
