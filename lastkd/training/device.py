"""Where the clips are held, and how their views get to the training device."""

from __future__ import annotations

import torch

from lastkd.data.store import ClipStore
from lastkd.data.views import Streams


def to_device(streams: Streams, device: torch.device) -> Streams:
    """Streams on a device; from pinned memory the copy runs beside the computation."""
    return {name: stream.to(device, non_blocking=True) for name, stream in streams.items()}


def view_device(store: ClipStore, device: torch.device) -> torch.device:
    """The training device where the store fits into half of its free memory, else the CPU."""
    if device.type != "cuda":
        return device
    rows = int((store.frames * store.bodies).sum())
    needed = rows * store.layout.num_joints * 3 * 4
    free, _ = torch.cuda.mem_get_info(device)
    return device if needed < free / 2 else torch.device("cpu")
