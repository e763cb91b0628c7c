"""Where the YAML that comes with lastkd lies: inside the wheel, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _shipped(folder: str) -> Path:
    inside = _PACKAGE / folder  # a wheel carries the folders as package data
    return inside if inside.is_dir() else _PACKAGE.parent / folder


CONFIGS = _shipped("configs")
LAUNCH_CONFIGS = _shipped("launch_configs")
KERNELS = _shipped("kaggle")
