"""The training device: its name, copies to it, and whether it can hold the store."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from lastkd.data.store.clip_store import ClipStore


def device_name(device: torch.device) -> str:
    """The device's marketing name, such as `Tesla T4`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    models = [line.split(":")[1].strip() for line in cpuinfo.splitlines() if "model name" in line]
    return models[0] if models else platform.machine()


def view_device(store: ClipStore, device: torch.device) -> torch.device:
    """The training device if the store fits into half of its free memory, else the CPU."""
    if device.type != "cuda":
        return device
    rows = int((store.frames * store.bodies).sum())
    needed = rows * store.layout.num_joints * 3 * 4
    free, _ = torch.cuda.mem_get_info(device)
    return device if needed < free / 2 else torch.device("cpu")
