"""Converts public LAST checkpoints (`.pth`), with every key accounted for."""

from __future__ import annotations

import pickle
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from lastkd.data.layouts import Layout, get_layout, layout_names
from lastkd.data.ntu import NTU_60, NTU_120
from lastkd.errors import UserError
from lastkd.models.checkpoint import CheckpointInfo, check_shapes, load_exactly, save_checkpoint
from lastkd.models.registry import SkeletonModel, build_model
from lastkd.settings.architecture import LastArchitecture, get_architecture, model_names

_WRAPPER = "module."  # the prefix that DataParallel and DDP give every key

_PUBLISHED = ("ntu25", "coco17", "sbu15", "ucla20", "uiprmd22")
"""Layouts of public checkpoints: preferred to others with as many joints."""


def convert(source: Path, out: Path, *, layout: str | None = None) -> CheckpointInfo:
    """Writes the checkpoint `out` from a public `.pth` and returns its metadata.

    Args:
        source: a bare `state_dict`, or a dict that holds one as `model_state_dict`.
        layout: of the skeletons, where the number of joints doesn't tell it.

    Raises:
        UserError: the file can't be read without running code, no model has these shapes, or a key
            is missing or left over (the error names it).
    """
    tensors = _state_dict(source)
    model = _recognise(tensors, source, layout)
    # cast before loading: the blocks' adjacencies share one tensor, and a cast model's wouldn't
    load_exactly(model, {key: value.to(_dtype(value)) for key, value in tensors.items()}, source)
    names = {60: NTU_60.class_names, 120: NTU_120.class_names}.get(model.num_classes, ())
    info = CheckpointInfo(
        architecture=model.architecture,
        num_classes=model.num_classes,
        layout=model.layout,
        class_names=tuple(names) if model.layout.name == "ntu25" else (),
        origin=f"converted from {source.name}",
    )
    save_checkpoint(out, model.state_dict(), info)
    return info


def _dtype(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.is_floating_point() else torch.int64


def _state_dict(source: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{source}: no such file; check the path") from None
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UserError(
            f"{source}: holds more than tensors, and loading it could run code; save its "
            f"state_dict alone ({reason})"
        ) from None
    # a damaged file raises whatever its opcodes and its archive happen to cause
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{source}: is damaged or no torch file ({reason})") from None
    if isinstance(content, dict) and "model_state_dict" in content:
        content = content["model_state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{source}: holds no state_dict, neither bare nor as 'model_state_dict'")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{source}: key {str(key)[:50]!r} of its state_dict is no tensor")
    if all(key.startswith(_WRAPPER) for key in content):
        content = {key.removeprefix(_WRAPPER): value for key, value in content.items()}
    return content


def _recognise(tensors: dict[str, Tensor], source: Path, layout: str | None) -> SkeletonModel:
    """The public model with these shapes.

    Raises:
        UserError: there is none; the error compares the tensors with those of the closest model.
    """
    for key, axes in (("fc.weight", 2), ("A", 3)):
        if key not in tensors or tensors[key].dim() != axes:
            raise UserError(f"{source}: has no {axes}-dimensional {key!r}, as every LAST model has")
    num_classes, V = tensors["fc.weight"].shape[0], tensors["A"].shape[-1]
    skeleton = _layout_of(V, source, layout)
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    candidates = []
    for name in model_names():
        architecture = get_architecture(name)
        if isinstance(architecture, LastArchitecture) and architecture.public:
            expected = _shapes(name, num_classes, skeleton)
            candidates.append((len(shapes.items() ^ expected.items()), name))
    nearest = min(candidates)[1]
    # before a model of that size is built, as a damaged file may state any size
    check_shapes(_shapes(nearest, num_classes, skeleton), shapes, source)
    return build_model(nearest, num_classes, skeleton)


@lru_cache(maxsize=64)
def _shapes(name: str, num_classes: int, layout: Layout) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = build_model(name, num_classes, layout)
    return {key: tensor.shape for key, tensor in model.state_dict().items()}


def _layout_of(num_joints: int, source: Path, layout: str | None) -> Layout:
    if layout is not None:
        chosen = get_layout(layout)
        if chosen.num_joints != num_joints:
            raise UserError(
                f"{source}: is for {num_joints} joints, and layout {layout} has {chosen.num_joints}"
            )
        return chosen
    fitting = [name for name in layout_names() if get_layout(name).num_joints == num_joints]
    fitting = [name for name in fitting if name in _PUBLISHED] or fitting
    if len(fitting) != 1:
        raise UserError(
            f"{source}: is for {num_joints} joints; name their layout with --layout "
            "(a name or a .yaml file)"
        )
    return get_layout(fitting[0])
