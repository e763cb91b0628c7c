"""The part of the pretended device that torch's C++ side has to know, built on the spot."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
TORCH = Path(str(importlib.util.find_spec("torch").origin)).parent


_loaded: list[ctypes.CDLL] = []


def load() -> ctypes.CDLL:
    """The device guard and hooks, built once for a version of torch and kept among the temporaries.

    Raises:
        RuntimeError: there is no compiler, or it fails.
    """
    if _loaded:
        return _loaded[0]
    if torch.version.cuda is not None and torch.cuda.is_available():
        raise RuntimeError("there is a real device")
    compiler = shutil.which("g++")
    if compiler is None:
        raise RuntimeError("there is no g++")
    source = HERE / "device.cpp"
    key = hashlib.sha256(source.read_bytes() + torch.__version__.encode()).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"pretended-cuda-{key}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            part = Path(folder) / built.name
            include = [f"-I{TORCH / 'include'}", f"-I{TORCH / 'include/torch/csrc/api/include'}"]
            libraries = [f"-L{TORCH / 'lib'}", "-lc10", "-ltorch_cpu"]
            abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
            command = [compiler, "-O1", "-shared", "-fPIC", "-std=c++20", abi, str(source)]
            done = subprocess.run(
                [*command, *include, *libraries, "-o", str(part)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"g++ fails: {done.stderr.strip()[-500:]}")
            part.replace(built)
    _loaded.append(ctypes.CDLL(str(built)))
    return _loaded[0]


def _why_not() -> str | None:
    try:
        load()
    except RuntimeError as error:
        return str(error)
    return None


_reason = _why_not()
needed = pytest.mark.skipif(_reason is not None, reason=f"pretended CUDA: {_reason}")
