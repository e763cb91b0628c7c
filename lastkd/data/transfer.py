"""Copies from main memory to a GPU for which the host doesn't wait."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; from main memory to a GPU through pinned memory, asynchronously.

    A copy from pageable memory makes the host wait until the GPU has done all its earlier work.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
