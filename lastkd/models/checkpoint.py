"""Checkpoints: a safetensors file whose metadata describe the model that it belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lastkd.data.class_names import numbered_classes
from lastkd.data.layouts import Layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.files.atomic import replacing
from lastkd.models.registry import SkeletonModel, build_model
from lastkd.settings.architecture import Architecture, parse_architecture

FORMAT = 1


class CheckpointInfo(BaseModel):
    """A checkpoint's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: Annotated[SerializeAsAny[Architecture], BeforeValidator(parse_architecture)]
    num_classes: int
    layout: Layout
    class_names: tuple[str, ...] = ()
    accuracy: dict[str, Any] = Field(
        default_factory=dict, description="top1, top5, mean_class in percent, and on which split"
    )
    epoch: int | None = Field(None, description="epochs trained, counted from 1")
    chosen_by: str | None = Field(None, description="how this epoch was selected")
    settings: dict[str, Any] = Field(default_factory=dict, description="of the training run")
    data_hash: str | None = Field(None, description="content hash of the store it was trained on")
    teacher_hash: str | None = Field(None, description="weights hash of its teacher")
    keep_bodies: bool = Field(
        False, description="whether its clips' bodies stay in their slots, absent or not"
    )
    origin: str = Field("lastkd", description="lastkd, or the public file it was converted from")

    @property
    def shown_classes(self) -> tuple[str, ...]:
        """A name for each class: a number where the checkpoint doesn't name them."""
        return self.class_names or numbered_classes(self.num_classes)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read, with its tensors on the CPU."""

    path: Path
    info: CheckpointInfo
    tensors: dict[str, Tensor]

    def build(self, factory: str | None = None) -> SkeletonModel:
        """The model with these weights, in `eval` mode on the CPU.

        Args:
            factory: `package.module:factory` of a model that isn't part of lastkd. A checkpoint
                names its factory but never runs it: whoever loads the checkpoint decides.

        Raises:
            UserError: a tensor is missing, left over or of another shape, the metadata describe no
                model, or the factory isn't the one that the checkpoint names.
        """
        architecture = self.info.architecture
        named = architecture.factory
        if factory != named:
            raise UserError(
                f"{self.path}: is a {architecture.name}; {factory} doesn't make it"
                if named is None
                else f"{self.path}: its model is made by {named}, which isn't part of lastkd; if "
                f"you trust that code, name it (--model {named}, from Python factory={named!r})"
            )
        if named is None:
            self._check_shapes()
        model = build_model(architecture, self.info.num_classes, self.info.layout)
        load_exactly(model, self.tensors, self.path)
        return model.eval()

    def _check_shapes(self) -> None:
        """Compares the tensors with the metadata, before wrong metadata build something huge.

        Raises:
            UserError: they differ, or the metadata describe no model.
        """
        try:
            with torch.device("meta"):
                model = build_model(self.info.architecture, self.info.num_classes, self.info.layout)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{self.path}: its metadata describe no model ({reason})") from None
        expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
        shapes = {key: tensor.shape for key, tensor in self.tensors.items()}
        check_shapes(expected, shapes, self.path)

    @property
    def weights_hash(self) -> str:
        """SHA-256 over the names, dtypes, shapes and bytes of the tensors."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def load_exactly(model: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Loads `tensors` into `model`; both must have the same keys and shapes.

    Raises:
        UserError: a key is missing, left over or of another shape; the error names file and key.
    """
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    check_shapes(expected, shapes, path)
    model.load_state_dict(tensors)


def check_shapes(
    expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size], path: Path
) -> None:
    """Compares the shapes of a file's tensors with a model's.

    Raises:
        UserError: as in `load_exactly`.
    """
    for key in expected:
        if key not in found:
            raise UserError(f"{path}: has no tensor {key!r}, which the model needs")
    for key, shape in found.items():
        if key not in expected:
            raise UserError(f"{path}: holds a tensor {key!r} that the model doesn't have")
        if shape != expected[key]:
            raise UserError(
                f"{path}: tensor {key!r} has shape {tuple(shape)} and the model "
                f"{tuple(expected[key])}"
            )


def save_checkpoint(path: Path, state: Mapping[str, Tensor], info: CheckpointInfo) -> None:
    """Writes a checkpoint atomically: the file appears complete or not at all.

    Raises:
        UserError: the disk is full or the folder can't be written.
    """
    tensors = {key: tensor.detach().to("cpu", copy=True) for key, tensor in state.items()}
    # versions that don't know the field read whatever they could have written
    left_out = None if info.keep_bodies else {"keep_bodies"}
    metadata = {"lastkd": str(FORMAT), "info": info.model_dump_json(exclude=left_out)}
    with replacing(path) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:  # how the library reports a full disk
            raise OSError(str(error)) from error


def read_info(path: str | Path) -> CheckpointInfo:
    """A checkpoint's metadata, without its tensors; raises as `read_checkpoint` does."""
    return _read(Path(path), tensors=False).info


def read_checkpoint(path: str | Path) -> Checkpoint:
    """A checkpoint's metadata and tensors.

    Raises:
        UserError: the file is missing, damaged, or not a checkpoint of lastkd.
    """
    return _read(Path(path), tensors=True)


def _read(path: Path, *, tensors: bool) -> Checkpoint:
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint; check the path")
    if path.suffix in (".pth", ".pt"):
        raise UserError(
            f"{path}: is a torch file; turn it into a checkpoint with lastkd convert {path} "
            f"{path.with_suffix('.safetensors')}"
        )
    try:
        with safe_open(path, "pt", device="cpu") as file:
            metadata = file.metadata() or {}
            loaded = {key: file.get_tensor(key) for key in list(file.keys())} if tensors else {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged or no safetensors file ({error})") from None
    if "info" not in metadata:
        raise UserError(f"{path}: is a safetensors file, but not a checkpoint of lastkd")
    if metadata.get("lastkd") != str(FORMAT):
        raise UserError(
            f"{path}: is of format {metadata.get('lastkd')}; this lastkd reads {FORMAT}"
        )
    try:
        info = CheckpointInfo.model_validate_json(metadata["info"])
    except (ValidationError, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: its metadata can't be read ({reason})") from None
    return Checkpoint(path, info, loaded)


def load_model(path: str | Path, *, factory: str | None = None) -> SkeletonModel:
    """The model of a checkpoint, in `eval` mode on the CPU; it maps the MIB dict to logits.

    Args:
        factory: `package.module:factory`, for a model that isn't part of lastkd.

    Raises:
        UserError: the file is missing, damaged, or its tensors don't fit its metadata.
    """
    return read_checkpoint(path).build(factory)


def check_fit(
    path: Path,
    num_classes: int,
    class_names: tuple[str, ...],
    joints: tuple[str, ...],
    store: ClipStore,
) -> None:
    """Checks that a checkpoint has the classes and joints of a store.

    Raises:
        UserError: they differ; the error names the first difference.
    """
    if num_classes != store.num_classes:
        raise UserError(
            f"{path}: knows {num_classes} classes and {store.path} has {store.num_classes}; "
            "choose the checkpoint and the store of the same set"
        )
    if joints != store.layout.joints:
        raise UserError(
            f"{path}: was trained on another skeleton ({len(joints)} joints) than {store.path} "
            f"holds ({store.layout.name}, {store.layout.num_joints} joints)"
        )
    if class_names and class_names != store.class_names:
        label, ours, theirs = next(
            (k, a, b)
            for k, (a, b) in enumerate(zip(class_names, store.class_names, strict=True))
            if a != b
        )
        raise UserError(
            f"{path}: its class {label} is {ours!r} and in {store.path} it is {theirs!r}; "
            "choose the checkpoint and the store of the same set"
        )
