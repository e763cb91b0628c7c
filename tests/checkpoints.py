"""Checkpoints of untrained models, whose logits differ from clip to clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import lastkd
from lastkd.data.store.clip_store import ClipStore
from lastkd.models.checkpoint import CheckpointInfo, save_checkpoint
from lastkd.settings.architecture import Architecture


def untrained(
    path: Path,
    store: ClipStore | Path,
    model: str | Architecture = "last_v2_tiny",
    *,
    seed: int = 0,
    **replaced: Any,
) -> Path:
    """A model that fits a store, as the checkpoint `path`.

    Args:
        replaced: what the checkpoint says of itself in place of what the store says.
    """
    if isinstance(store, Path):
        store = ClipStore.open(store)
    known: dict[str, Any] = {
        "num_classes": store.num_classes,
        "layout": store.layout,
        "class_names": store.class_names,
    } | replaced
    torch.manual_seed(seed)
    built = lastkd.build_model(model, known["num_classes"], known["layout"])
    save_checkpoint(
        path, built.state_dict(), CheckpointInfo(architecture=built.architecture, **known)
    )
    return path
