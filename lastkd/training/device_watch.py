"""What a run says of the machine it runs on: memory, use and temperature, now and then.

Taken between two reports of the run itself, so that it costs no thread and no process, and stands
in the event log like all else that a run says.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

EVERY_S = 10.0
_MB = 1 << 20


def gpu_state(index: int) -> dict[str, Any]:
    """One CUDA device as the driver sees it, all processes on it counted.

    A figure that the driver doesn't give is None: some laptops and shared devices hide theirs, and
    none is there without `nvidia-ml-py`.
    """

    def asked(read: Callable[[int], int]) -> int | None:
        try:
            return read(index)
        except Exception:  # NVML has an exception class for each of its codes
            return None

    total = torch.cuda.get_device_properties(index).total_memory
    used = asked(torch.cuda.device_memory_used)
    return {
        "index": index,
        "name": torch.cuda.get_device_name(index),
        "memory_used_mb": None if used is None else used // _MB,
        "memory_total_mb": total // _MB,
        "use_percent": asked(torch.cuda.utilization),
        "temperature_c": asked(torch.cuda.temperature),
    }


def cpu_seconds() -> tuple[float, float]:
    """Since the machine started, over all of its processors: at work, and in all."""
    times = psutil.cpu_times()._asdict()
    for part_of_others in ("guest", "guest_nice"):
        times.pop(part_of_others, None)
    whole = sum(times.values())
    return whole - times["idle"] - times.get("iowait", 0.0), whole


class DeviceWatch:
    """Writes a `device` event beside a step event, at most one every ten seconds.

    Args:
        folder: the run's, whose disk is watched.
        write: appends one event.
        device: what this process trains on; its neighbours on this machine have the indices around.
    """

    def __init__(
        self,
        folder: Path,
        write: Callable[..., None],
        device: torch.device,
        every_s: float = EVERY_S,
    ) -> None:
        self._folder = folder
        self._write = write
        self._every_s = every_s
        self._last = -every_s
        gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if device.type == "cuda" else 0
        self._gpus = range(min(gpus, torch.cuda.device_count()) if gpus else 0)
        self._cpu = cpu_seconds()

    def event(self, event: str, fields: dict[str, Any]) -> None:
        """Told of each event of the run."""
        now = time.monotonic()
        if event != "step" or now - self._last < self._every_s:
            return
        self._last = now
        memory = psutil.virtual_memory()
        self._write(
            "device",
            devices=[gpu_state(index) for index in self._gpus],
            cpu_percent=self._cpu_percent(),
            ram_used_mb=(memory.total - memory.available) // _MB,
            ram_total_mb=memory.total // _MB,
            disk_free_gb=round(shutil.disk_usage(self._folder).free / 1e9, 1),
        )

    def _cpu_percent(self) -> float | None:
        # psutil's own figure is since anybody's last call, and several runs share a process
        (busy_before, before), (busy, now) = self._cpu, cpu_seconds()
        if now <= before:
            return None
        self._cpu = busy, now
        # of the time spent waiting for disks less may be told than before
        return round(100 * min(max((busy - busy_before) / (now - before), 0.0), 1.0), 1)
