"""lastkd: knowledge distillation for skeleton action recognition.

import lastkd

model = lastkd.build_model("last_e_nano", num_classes=60, layout="ntu25")
model = lastkd.load_model("runs/nano/best.safetensors")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lastkd.origin  # noqa: F401 - it notes the time and the parent before slow imports

__version__ = "0.1.0"
__all__ = ["__version__", "build_model", "load_model"]

if TYPE_CHECKING:
    from lastkd.models import build_model, load_model


def __getattr__(name: str) -> Any:
    # torch takes seconds to import; commands that don't need it shouldn't wait for it
    if name in ("build_model", "load_model"):
        from lastkd import models

        return getattr(models, name)
    raise AttributeError(f"module 'lastkd' has no attribute {name!r}")
