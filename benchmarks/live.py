"""What a stream costs: milliseconds a prediction, frames that can be pushed, memory, start-up.

    python benchmarks/live.py                      all variants, torch and ONNX, on one CPU thread
    python benchmarks/live.py --variants nano --frames 1000000 --every 200 --onnx-only
    python benchmarks/live.py --picture            frames per second of the terminal picture

Weights are random: they cost what trained ones cost. Give it a quiet machine; `cpu` is the time of
the processor itself, which other processes disturb less than the clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

RATE = 30
MODEL_FRAMES = 64
GOALS = {"nano onnx ms": 2.0, "pushed frames/s": 1000, "start s": 1.0, "picture frames/s": 30}


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """Somebody who moves about: `(frames, 1, 25, 3)` metres."""
    draws = np.random.default_rng(seed)
    pose = draws.normal(0, 0.4, (1, 1, 25, 3))
    steps = draws.normal(0, 0.01, (frames, 1, 25, 3)).cumsum(axis=0)
    return (pose + steps + [0.2, 0.1, 3.0]).astype(np.float32)


def checkpoint(variant: str, folder: Path) -> Path:
    """An untrained student of NTU's 25 joints and 60 classes."""
    import torch

    from lastkd.data.layouts import get_layout
    from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
    from lastkd.models.registry import build_model

    torch.manual_seed(0)
    layout = get_layout("ntu25")
    model = build_model(f"last_e_{variant}", 60, layout)
    info = CheckpointInfo(architecture=model.architecture, num_classes=60, layout=layout)
    path = folder / f"{variant}.safetensors"
    save_checkpoint(path, model.state_dict(), info)
    return path


def measure(model: Path, frames: int, every: int) -> dict[str, float]:
    """Pushes `frames` frames, with a prediction after each `every`, as a stream of 30 frames/s."""
    import lastkd

    predictor = lastkd.StreamPredictor(model, window=2.5, step=every / RATE)
    poses = walk(3000)
    for number in range(300):
        predictor.push(poses[number], number / RATE)
    process = psutil.Process()
    before = process.memory_info().rss
    clocks, cpus = [], []
    begun, cpu_begun = time.perf_counter(), time.thread_time()
    for number in range(300, 300 + frames):
        cpu = time.thread_time()
        prediction = predictor.push(poses[number % len(poses)], number / RATE)
        if prediction is not None:
            clocks.append(prediction.milliseconds)
            cpus.append(1000 * (time.thread_time() - cpu))
    took, cpu_took = time.perf_counter() - begun, time.thread_time() - cpu_begun
    return {
        "ms median": round(float(np.median(clocks)), 2),
        "ms p99": round(float(np.percentile(clocks, 99)), 2),
        "ms cpu median": round(float(np.median(cpus)), 2),
        "ms least": round(min(clocks), 2),
        "frames/s": round(frames / took),
        "frames/s cpu": round(frames / cpu_took),
        "memory MB": round(process.memory_info().rss / 1e6),
        "grown MB": round((process.memory_info().rss - before) / 1e6, 1),
    }


def start_up(model: Path) -> dict[str, float]:
    """Seconds from the start of Python to the first prediction of 75 frames that are there."""
    program = textwrap.dedent(
        f"""
        import time, sys
        begun = time.perf_counter()
        import lastkd, numpy as np
        predictor = lastkd.StreamPredictor({str(model)!r})
        poses = np.random.default_rng(0).normal(size=(75, 1, 25, 3))
        for number, pose in enumerate(poses):
            predictor.push(pose, number / 30)
        answer = predictor.predict_now()
        print(time.perf_counter() - begun, time.process_time(), "torch" in sys.modules)
        """
    )
    results = []
    for _ in range(5):
        begun = time.perf_counter()
        text = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        results.append((time.perf_counter() - begun, float(text.split()[1]), text.split()[2]))
    return {
        "start s": round(min(result[0] for result in results), 2),
        "start cpu s": round(min(result[1] for result in results), 2),
        "with torch": results[0][2] == "True",
    }


def in_a_process(model: Path, frames: int, every: int) -> dict[str, float]:
    """`measure` in a fresh process on one thread, so that memory is that of this model alone."""
    command = [sys.executable, __file__, "--measure", str(model)]
    command += ["--frames", str(frames), "--every", str(every)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    values: dict[str, float] = json.loads(done.stdout)
    return values


async def picture(model: Path, size: tuple[int, int], seconds: float) -> dict[str, float]:
    """Draws a stream of 30 frames/s at a size for some seconds, as fast as it goes."""
    import lastkd
    from lastkd.data.frames import Frame
    from lastkd.live.screen.app import LiveApp
    from lastkd.live.screen.panels import LiveLine
    from lastkd.live.screen.state import LiveState
    from lastkd.live.session import LiveSession
    from lastkd.live.sources import FrameSource
    from lastkd.monitor.screen.glyphs import UNICODE
    from lastkd.monitor.screen.style import DARK

    class Walk(FrameSource):
        name, paced = "walk", True

        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for number, pose in enumerate(walk(10_000)):
                yield Frame(pose, number / RATE)

    session = LiveSession(lastkd.StreamPredictor(model), Walk())
    app = LiveApp(LiveState(session, model, DARK, UNICODE))
    async with app.run_test(size=size) as pilot:
        await pilot.pause(3)
        draws, cpu, begun = 0, time.process_time(), time.perf_counter()
        drawing = 0.0
        while time.perf_counter() - begun < seconds:
            started = time.thread_time()
            for widget in app.screen.query(LiveLine):
                widget.redraw()
            app.screen._compositor.render_update(full=True)
            drawing += time.thread_time() - started
            draws += 1
            await pilot.pause(1 / RATE)
        took = time.perf_counter() - begun
        used = time.process_time() - cpu
    return {
        "ms a picture, cpu": round(1000 * drawing / draws, 2),
        "frames/s on one core": round(draws / drawing),
        "cpu share at 30 frames/s": round(used / took, 2),
        "late s": round(app.state.late_s, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", default="nano,small,base,large")
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--onnx-only", action="store_true")
    parser.add_argument("--picture", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure, given.frames, given.every)))
        return
    from lastkd.export.checkpoint import export_checkpoint

    print(json.dumps({"goals": GOALS}))
    with tempfile.TemporaryDirectory() as folder:
        for variant in given.variants.split(","):
            trained = checkpoint(variant, Path(folder))
            exported = Path(export_checkpoint(trained).path)
            if given.picture:
                for size in ((80, 24), (120, 40)):
                    row = {"picture": f"{size[0]}x{size[1]}", "model": variant}
                    print(json.dumps(row | asyncio.run(picture(exported, size, 10))), flush=True)
                continue
            for kind, model in (("onnx", exported), ("torch", trained)):
                if kind == "torch" and given.onnx_only:
                    continue
                row = {
                    "model": variant,
                    "runs in": kind,
                    **in_a_process(model, given.frames, given.every),
                }
                print(json.dumps(row | start_up(model)), flush=True)


if __name__ == "__main__":
    main()
