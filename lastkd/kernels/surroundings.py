"""What a kernel finds where it runs: versions, GPUs, processes to end."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import lastkd

_VERSIONS = ("torch", "accelerate", "safetensors", "numpy", "pydantic", "rich")


def described(working: Path) -> Iterator[str]:
    """Lines on this machine for whoever reads the log."""
    yield f"lastkd {lastkd.__version__} from {Path(lastkd.__file__).parent}"
    yield f"python {platform.python_version()}, {os.cpu_count()} cores"
    for name in _VERSIONS:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} is not installed"
    yield from gpus() or ["no GPU"]
    yield f"free in {working}: {shutil.disk_usage(working).free / 1e9:.1f} GB"


def gpus() -> list[str]:
    """A line for each GPU, asked without torch: it must not hold one before the children do."""
    if shutil.which("nvidia-smi") is None:
        return []
    asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [line for line in asked.stdout.splitlines() if line.startswith("GPU ")]


def stop_group(leader: int) -> None:
    """Ends a command and what it started: asked first, then not."""
    for sign, wait in ((signal.SIGTERM, 60.0), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(leader, sign)
        except ProcessLookupError:
            return
        time.sleep(wait)
