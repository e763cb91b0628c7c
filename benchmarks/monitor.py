"""Times how long the monitor takes to open and refresh a long log, and measures its memory.

    python benchmarks/monitor.py            a million step events, 280 MB in a temporary folder
    python benchmarks/monitor.py --steps 100000 --size 80x24

Also times the command on a short run: until the first screen in a terminal of 80x24, and `--once`
as a whole.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import math
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
import uuid
from pathlib import Path

import psutil

EPOCH = 2500
START = time.time() - 86_400


def step_line(step: int) -> str:
    ce, soft = 0.5 + 3 * math.exp(-step / 2e5), 0.1 + 0.3 * math.exp(-step / 3e5)
    noise = 0.1 * math.sin(step * 12.9898) * math.cos(step * 0.0771)
    fields = {
        "event": "step",
        "time": round(START + step * 0.08, 3),
        "step": step,
        "epoch": 1 + step // EPOCH,
        "ce": ce + noise,
        "soft": soft + noise / 10,
        "soft_weight": 4.8,
        "teacher_ms": 12.345,
        "total": 0.7 * (ce + noise) + 4.8 * (soft + noise / 10),
        "lr": 0.01 * math.cos(step / 1e6),
        "grad_norm": 1.234567890123 + noise,
        "clips_per_s": 812.3,
        "student_ms": 7.891,
    }
    return json.dumps(fields) + "\n"


def write_log(path: Path, steps: int) -> None:
    """Writes a log as `EventLog` does, with an evaluation after each epoch."""
    settings = {"variant": "nano", "alpha": 0.7, "tau": 4.0, "epochs": steps // EPOCH + 1}
    start = {
        "event": "start",
        "time": START,
        "schema": 1,
        "run_id": uuid.uuid4().hex,
        "run": path.parent.name,
        "model": "last_e_nano",
        "parameters": 92_000,
        "settings": {**settings, "split": "xsub"},
        "global_batch": 64,
        "steps_per_epoch": EPOCH,
        "total_steps": steps + 100_000,
        "data": {"hash": "h", "source": "generated", "classes": 60, "train": 40091, "test": 16487},
        "teacher": {"model": "last_v2_base", "hash": "t", "accuracy": {"top1": 93.0}},
    }
    with path.open("w") as file:
        file.write(json.dumps(start) + "\n")
        for step in range(1, steps + 1):
            file.write(step_line(step))
            if step % EPOCH == 0:
                top1 = 88 - 60 * math.exp(-step / 1e5)
                epoch = {"event": "epoch", "time": START + step * 0.08, "epoch": step // EPOCH}
                epoch |= {"step": step, "top1": top1, "by_class": [top1] * 60, "seconds": 9.0}
                file.write(json.dumps(epoch) + "\n")


async def drive(folder: Path, size: tuple[int, int], refreshes: int) -> None:
    from lastkd.monitor.log.watcher import Watcher
    from lastkd.monitor.screen.app import MonitorApp

    log = folder / "long" / "events.jsonl"
    process = psutil.Process()
    before = process.memory_info().rss
    began, cpu = time.perf_counter(), time.process_time()
    watcher = Watcher([folder])
    app = MonitorApp(watcher)
    async with app.run_test(size=size) as pilot:
        first = time.perf_counter() - began
        while watcher.pending:
            await asyncio.sleep(0.001)
        await pilot.pause()
        opened = time.perf_counter() - began
        (run,) = watcher.runs
        cpu = time.process_time() - cpu
        memory_mb = (process.memory_info().rss - before) / 1e6
        print(
            f"first screen after {first:.2f} s, all of the log read and drawn after {opened:.2f} s "
            f"({cpu:.2f} s of a core)"
        )
        print(
            f"{run.step:,} steps, {len(run.epochs)} evaluations, best {run.best}, "
            f"{len(run.series.keys)} buckets, one step event in {run.stride} read; "
            f"{memory_mb:.0f} MB"
        )
        spent, cores = [], []
        for _ in range(refreshes):
            with log.open("a") as file:
                first_step = run.step + 1
                file.write("".join(step_line(first_step + i) for i in range(20)))
            began, cpu = time.perf_counter(), time.process_time()
            app.tick()
            app.screen._compositor.render_strips()
            spent.append(time.perf_counter() - began)
            cores.append(time.process_time() - cpu)
            await pilot.pause()
        spent.sort()
        cores.sort()
        print(
            f"a refresh at {size[0]}x{size[1]} (20 events read, all drawn): median "
            f"{1000 * spent[len(spent) // 2]:.1f} ms, worst {1000 * spent[-1]:.1f} ms "
            f"({1000 * cores[len(cores) // 2]:.1f} ms of a core)"
        )


def first_screen(command: list[str]) -> float:
    """Seconds from the start of the process until the loss chart is on the terminal."""
    began = time.perf_counter()
    process, terminal = pty.fork()
    if not process:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    written, took = b"", 0.0
    with contextlib.suppress(OSError):  # the process ended
        while part := os.read(terminal, 65536):
            written += part
            if not took and b"Loss" in written:
                took = time.perf_counter() - began
                os.write(terminal, b"q")
    os.waitpid(process, 0)
    os.close(terminal)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--size", default="200x60")
    parser.add_argument("--refreshes", type=int, default=30)
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed packages are, byte-compiled
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "short" / "run").mkdir(parents=True)
        write_log(folder / "short" / "run" / "events.jsonl", 1000)
        command = [sys.executable, "-m", "lastkd", "monitor", str(folder / "short")]
        starts = sorted(first_screen(command) for _ in range(9))
        print(
            f"lastkd monitor of a short run: first screen after {starts[4]:.2f} s "
            f"(median of 9; {starts[0]:.2f} to {starts[-1]:.2f})"
        )
        took = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([*command, "--once"], check=True, capture_output=True)
            took.append(time.perf_counter() - began)
        print(f"--once of it: median {sorted(took)[2]:.2f} s")
        (folder / "all" / "long").mkdir(parents=True)
        log = folder / "all" / "long" / "events.jsonl"
        write_log(log, options.steps)
        print(f"{options.steps:,} steps, {log.stat().st_size / 1e6:.0f} MB")
        asyncio.run(drive(folder / "all", (columns, rows), options.refreshes))


if __name__ == "__main__":
    main()
