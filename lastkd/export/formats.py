"""The export formats: each writes a classifier to a file and opens the file as its user would."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lastkd.errors import UserError, nearest
from lastkd.plugins import import_object, is_import_path

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ABOUT = "lastkd.json"
"""Name under which a file stores its description, as JSON."""

LONGEST_CLIP = 1_000_000
"""Frames. torch 2.6 and 2.7 refuse a free number of frames without an upper bound."""

LARGEST_CONSTANT = 10_000
"""Elements. Larger intermediate constants are left for the runtime to compute when it opens the
file, which then stays small."""

Runner = Callable[["Tensor"], "Tensor"]
"""Joints `(T, M, V, 3)` to logits `(1, K)`."""


class ExportFormat(ABC):
    """One kind of file. The module is imported without torch, so methods import what they need.

    Attributes:
        name: how `--format` calls it.
        suffix: of its files.
        help: one phrase for the command's help.
        takes_int8: whether its files can be quantised to 8 bits.
        packages: that it imports beside lastkd's own dependencies.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    help: ClassVar[str]
    takes_int8: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()

    def require(self) -> None:
        """
        Raises:
            UserError: a package that the format needs isn't installed.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"format {self.name} needs the package {package}; pip install 'lastkd[export]'"
                )

    @abstractmethod
    def write(
        self, classifier: nn.Module, example: Tensor, path: Path, about: dict[str, Any]
    ) -> None:
        """Writes one file.

        Args:
            classifier: takes `joints` `(T, M, V, 3)` to logits `(1, K)`.
            example: joints to trace it with; their T stays free in the file.
            about: the file's description.

        Raises:
            OSError: the file can't be written.
        """

    @abstractmethod
    def open(self, path: Path) -> Runner:
        """The file in its own runtime, on one thread of the CPU."""


class Onnx(ExportFormat):
    """ONNX, opened with ONNX Runtime."""

    name = "onnx"
    suffix = ".onnx"
    help = "needs lastkd[export]"
    takes_int8 = True
    packages = ("onnx", "onnxruntime", "onnxscript")

    def write(
        self, classifier: nn.Module, example: Tensor, path: Path, about: dict[str, Any]
    ) -> None:
        import onnx
        import onnxscript.optimizer
        import torch

        with _quiet():
            exported = torch.onnx.export(
                _program(classifier, example),
                dynamo=True,
                input_names=["joints"],
                output_names=["logits"],
                verbose=False,
                optimize=False,
            )
            assert exported is not None
            onnxscript.optimizer.optimize(exported.model, output_size_limit=LARGEST_CONSTANT)
        model = exported.model_proto
        del model.metadata_props[:]
        for node in model.graph.node:
            node.ClearField("doc_string")
            del node.metadata_props[:]  # stack traces, with the paths of the exporting machine
        onnx.helper.set_model_props(model, {ABOUT: json.dumps(about)})
        onnx.save_model(model, path)

    def open(self, path: Path) -> Runner:
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        return lambda joints: torch.from_numpy(session.run(None, {"joints": joints.numpy()})[0])


class TorchScript(ExportFormat):
    """A frozen trace, opened with `torch.jit.load`."""

    name = "torchscript"
    suffix = ".pt"
    help = "runs in libtorch"

    def write(
        self, classifier: nn.Module, example: Tensor, path: Path, about: dict[str, Any]
    ) -> None:
        import torch

        with _quiet(), torch.no_grad():
            traced = torch.jit.freeze(torch.jit.trace(classifier, (example,)))
            torch.jit.save(traced, str(path), _extra_files={ABOUT: json.dumps(about)})

    def open(self, path: Path) -> Runner:
        import torch

        with _quiet():
            module = torch.jit.load(str(path))
        return _without_gradients(module)


class Pt2(ExportFormat):
    """torch.export's archive, opened with `torch.export.load`."""

    name = "pt2"
    suffix = ".pt2"
    help = "torch.export's own"

    def write(
        self, classifier: nn.Module, example: Tensor, path: Path, about: dict[str, Any]
    ) -> None:
        import torch

        buffer = io.BytesIO()  # a path would have to end with .pt2
        with _quiet():
            program = _program(classifier, example)
            torch.export.save(program, buffer, extra_files={ABOUT: json.dumps(about)})
        path.write_bytes(buffer.getvalue())

    def open(self, path: Path) -> Runner:
        import torch

        with _quiet():
            module = torch.export.load(io.BytesIO(path.read_bytes())).module()
        return _without_gradients(module)


FORMATS: dict[str, type[ExportFormat]] = {form.name: form for form in (Onnx, TorchScript, Pt2)}
"""By name, in the order of the help."""


def get_format(name: str) -> ExportFormat:
    """The format of a name, or of the class that `package.module:Class` names.

    Raises:
        UserError: there is no such format, or the class isn't an `ExportFormat`.
    """
    if name in FORMATS:
        return FORMATS[name]()
    if not is_import_path(name):
        raise UserError(
            f"export format {name!r} is unknown; {nearest(name, FORMATS)} (or name your own as "
            "package.module:Class)"
        )
    found = import_object(name, "class")
    if not (isinstance(found, type) and issubclass(found, ExportFormat)):
        raise UserError(f"{name}: is no subclass of lastkd.export.formats.ExportFormat")
    return found()


def _program(classifier: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The classifier's graph, with the number of frames left free."""
    import torch

    frames = torch.export.Dim("frames", min=2, max=LONGEST_CLIP)
    with torch.no_grad():
        return torch.export.export(
            classifier, (example,), dynamic_shapes={"joints": {0: frames}}, strict=False
        )


def _without_gradients(module: Callable[[Tensor], Tensor]) -> Runner:
    import torch

    @torch.no_grad()
    def run(joints: Tensor) -> Tensor:
        return module(joints)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what the exporters log and warn about their own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
