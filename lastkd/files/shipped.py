"""The folders of files shipped with lastkd: inside the package, or at the top of a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(folder: str, in_wheel: str) -> Path:
    packaged = _PACKAGE / in_wheel
    return packaged if packaged.is_dir() else _PACKAGE.parent / folder


CONFIGS = _shipped("configs", "configs")
LAUNCH_CONFIGS = _shipped("launch_configs", "launch_configs")
KERNELS = _shipped("kaggle", "kaggle/templates")
