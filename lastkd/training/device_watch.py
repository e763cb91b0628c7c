"""Memory, utilisation and temperature of the machine, recorded in a run's event log.

Sampled when the run reports a step, so it needs neither a thread nor a process.
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
    """One CUDA device as its driver reports it, over all processes.

    A figure that the driver doesn't report is None: some laptops and shared devices hide theirs,
    and without `nvidia-ml-py` there are none.
    """

    def query(read: Callable[[int], int]) -> int | None:
        try:
            return read(index)
        except Exception:  # NVML has one exception class per error code
            return None

    total = torch.cuda.get_device_properties(index).total_memory
    used = query(torch.cuda.device_memory_used)
    return {
        "index": index,
        "name": torch.cuda.get_device_name(index),
        "memory_used_mb": None if used is None else used // _MB,
        "memory_total_mb": total // _MB,
        "use_percent": query(torch.cuda.utilization),
        "temperature_c": query(torch.cuda.temperature),
    }


def cpu_seconds() -> tuple[float, float]:
    """Busy and total seconds over all processors since the machine started."""
    times = psutil.cpu_times()._asdict()
    for included_in_others in ("guest", "guest_nice"):
        times.pop(included_in_others, None)
    total = sum(times.values())
    return total - times["idle"] - times.get("iowait", 0.0), total


class DeviceWatch:
    """Writes a `device` event after a step event, at most one every `every_s` seconds.

    Args:
        folder: the run folder, whose disk is watched.
        write: appends one event to the log.
        device: the device that this process trains on; the GPUs of all local ranks are reported.
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
        """Receives each event of the run."""
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
        # psutil measures since anyone's last call, and several runs share a process
        (busy_before, before), (busy, now) = self._cpu, cpu_seconds()
        if now <= before:
            return None
        self._cpu = busy, now
        # the time spent waiting for disks may decrease, so the quotient needs bounds
        return round(100 * min(max((busy - busy_before) / (now - before), 0.0), 1.0), 1)
