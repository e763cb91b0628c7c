"""`lastkd check`: whether a machine is fit for training, before hours are spent on it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from accelerate import Accelerator
from packaging.requirements import Requirement

from lastkd.data.store.clip_store import AUTO_SPLIT, CLIPS_FILE, ClipStore
from lastkd.data.views import Views
from lastkd.distributed.accelerator import make_accelerator, precision_in_use
from lastkd.distributed.device import device_name, view_device
from lastkd.distributed.launch import Launch, environment_alone
from lastkd.errors import UserError
from lastkd.models.registry import build_model
from lastkd.pipeline.bench import random_store, view_settings
from lastkd.pipeline.check_device import DeviceProbe
from lastkd.pipeline.measure import save_stand_in
from lastkd.pipeline.pace import NTU60, measure_pace, sequence_of, student_models
from lastkd.settings.architecture import get_architecture
from lastkd.training.compilation import compile_refusal
from lastkd.version import __version__

State = Literal["ok", "warning", "failed", "skipped"]
SHOWN_VERSIONS = ("torch", "accelerate", "safetensors", "numpy", "pydantic", "textual")
TEACHER_LIMIT = {"no": 1e-4, "fp16": 1e-2, "bf16": 5e-2}
"""By precision: the most that a teacher's logits may differ from float32, relative to the largest.
Plain and fused formulation differ by rounding alone, about 1e-6; fp16 moves them by about 1e-3."""
STUDENT_LIMIT = {"no": 1e-4, "fp16": 0.1, "bf16": 0.3}
"""The same for a student's gradients as one vector, which in fp16 are 0.6 to 2.6 % off in norm."""
RANKS_TIMEOUT_S = 120
PROBED_FRAMES = 32
SLOW_DISK_MB_S = 20
READ_MB = 256
BYTES_PER_WEIGHT = 32
"""Of a run folder: best and last (4 each), and three checkpoints of weights and momentum (8 each):
two are kept while the third is written."""


@dataclass(frozen=True)
class CheckSettings:
    """What is checked.

    Attributes:
        data: a store; None for generated clips.
        split: of the store.
        out: where runs would be written.
        launch_config: as of `lastkd sequence`.
        gpus: the number needed.
        teacher_model: the teacher that would be trained.
        pace: whether to time the steps of a sequence.
    """

    data: Path | None = None
    split: str = AUTO_SPLIT
    out: Path = Path("runs")
    launch_config: Path | None = None
    gpus: int = 0
    teacher_model: str = "last_v2_base"
    pace: bool = True


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        detail: one sentence; for `failed` and `warning` with the way out.
        seconds: that the check took.
        values: the figures behind the sentence.
    """

    name: str
    state: State
    detail: str
    seconds: float
    values: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


Outcome = tuple[State, str, dict[str, Any]]


class Checks:
    """The checks in their order.

    Args:
        folder: for generated clips and a stand-in teacher; removed by the caller.
    """

    def __init__(self, settings: CheckSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.launch = (
            Launch.find(settings.launch_config) if settings.launch_config else Launch.default()
        )

    def run(self, on_start: Callable[[str], None]) -> Iterator[Finding]:
        """Yields each finding as soon as it is known; the device's checks end at its first failure.

        Args:
            on_start: called with the name of the check that begins.
        """
        for name, check in self.checks().items():
            on_start(name)
            started = time.perf_counter()
            try:
                state, detail, values = check()
            except UserError as error:
                state, detail, values = "failed", str(error), {}
            except Exception as error:  # a broken driver or library may raise anything
                reason = " ".join(str(error).split())[:300]
                state, detail, values = "failed", f"{type(error).__name__}: {reason}", {}
            yield Finding(name, state, detail, round(time.perf_counter() - started, 2), values)
            if name == "devices" and state == "failed":
                return

    def checks(self) -> dict[str, Callable[[], Outcome]]:
        """The checks by name."""
        checks: dict[str, Callable[[], Outcome]] = {
            "versions": self.versions,
            "devices": self.devices,
            "teacher": self.teacher,
            "student": self.student,
            "losses": self.losses,
            "compile": self.compile,
            "processes": self.processes,
            "store": self.store,
            "disk": self.disk,
        }
        if self.settings.pace:
            checks["pace"] = self.pace
        return checks

    # --- the machine ------------------------------------------------------------------------

    def versions(self) -> Outcome:
        """Installed versions, against the bounds in lastkd's metadata."""
        installed = {name: _version(name) for name in SHOWN_VERSIONS}
        shown = ", ".join(f"{name} {version}" for name, version in installed.items())
        detail = f"lastkd {__version__}, Python {platform.python_version()}, {shown}"
        try:
            required = [Requirement(text) for text in importlib.metadata.requires("lastkd") or ()]
        except importlib.metadata.PackageNotFoundError:  # unpacked, as in a Kaggle kernel
            required = []
        for requirement in required:
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            version = _version(requirement.name)
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                needed = f"{requirement.name}{requirement.specifier}"
                return "failed", f"{needed} is needed and {version or 'none'} is here", installed
        return "ok", detail, installed

    def devices(self) -> Outcome:
        """Every GPU with memory, compute capability and a kernel that really runs on it."""
        needed = self.settings.gpus
        memory = psutil.virtual_memory()
        cpu = (
            f"{device_name(torch.device('cpu'))}, {os.cpu_count()} cores, "
            f"{memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} GB memory free"
        )
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        values: dict[str, Any] = {"cpu": cpu, "gpus": []}
        if count < needed:
            why = ""
            if count == 0 and shutil.which("nvidia-smi"):
                why = f"; a driver is here, but torch {torch.__version__} finds no GPU by it"
            return "failed", f"{needed} GPUs are needed and {count} are here{why}", values
        lines: list[str] = []
        state: State = "ok"
        for number in range(count):
            device = torch.device("cuda", number)
            major, minor = torch.cuda.get_device_capability(device)
            free, total = torch.cuda.mem_get_info(device)
            about = f"{torch.cuda.get_device_name(device)} (compute {major}.{minor})"
            values["gpus"].append(
                {"name": about, "free_gb": round(free / 1e9, 1), "total_gb": round(total / 1e9, 1)}
            )
            try:
                _one_kernel(device)
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:120]
                return (
                    "failed",
                    f"GPU {number}, {about}: torch {torch.__version__} can't run on it ({reason}); "
                    "choose another GPU, or a build of torch for this one",
                    values,
                )
            lines.append(f"{about}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free")
            if free < 0.5 * total:
                state = "warning"
                lines[-1] += " (another process holds the rest; see nvidia-smi)"
        return state, "; ".join([*lines, cpu]), values

    # --- what it computes -------------------------------------------------------------------

    def _accelerator(self) -> Accelerator:
        return make_accelerator(mixed_precision=self.launch.mixed_precision)

    def _probe(self) -> DeviceProbe:
        path, teacher = self.folder / "store", self.folder / "teacher.safetensors"
        store = ClipStore.open(path) if path.exists() else random_store(path, 16)
        views = view_settings(PROBED_FRAMES)
        if not teacher.exists():
            torch.manual_seed(0)
            architecture = get_architecture(self.settings.teacher_model)
            save_stand_in(teacher, architecture, store, Views(store, views, torch.device("cpu")))
        return DeviceProbe(store, teacher, views, self._accelerator())

    def teacher(self) -> Outcome:
        """The frozen teacher in a run's precision against its plain form in float32."""
        probe = self._probe()
        deviation = probe.teacher_deviation()
        precision = "fp16" if probe.device.type == "cuda" else "no"
        limit = TEACHER_LIMIT[precision]
        values = {"relative": deviation.relative, "precision": precision, "limit": limit}
        detail = (
            f"{self.settings.teacher_model} in {_shown(precision)} differs from float32 by "
            f"{deviation.relative:.1e} of the largest logit"
        )
        if not deviation.finite:
            return "failed", f"{detail}, and isn't finite", values
        if deviation.relative > limit:
            return "failed", f"{detail}, more than {limit:g}; don't distil on this device", values
        return "ok", detail, values

    def student(self) -> Outcome:
        """A student's gradients in a run's precision against the CPU's, and whether they repeat."""
        probe = self._probe()
        deviation = probe.student_deviation()
        repeats = probe.repeats()
        precision = precision_in_use(probe.accelerator)
        limit = STUDENT_LIMIT[precision]
        values = {"relative": deviation.relative, "precision": precision, "repeats": repeats}
        detail = (
            f"nano's gradients in {_shown(precision)} differ from the CPU's by "
            f"{100 * deviation.relative:.2g} %"
        )
        if not deviation.finite or deviation.relative > limit:
            return "failed", f"{detail}, more than {100 * limit:g} %; don't train on it", values
        if not repeats:
            return "warning", f"{detail}; the same step twice gives other bytes", values
        return "ok", f"{detail}; the same step twice gives the same bytes", values

    def losses(self) -> Outcome:
        """Every loss, its value and its gradient, at logits of usual and of large scale."""
        checked, refused = self._probe().check_losses()
        if refused:
            return "failed", f"{', '.join(refused)}: value or gradient isn't finite", {}
        return "ok", f"{', '.join(checked)}: values and gradients are finite", {"losses": checked}

    def compile(self) -> Outcome:
        """Whether `--compile` would work; runs go without it where it doesn't."""
        device = self._accelerator().device
        if device.type == "cpu":
            return "skipped", "on a CPU compiled steps are slower", {}
        refusal = compile_refusal(device)
        if refusal is not None:
            return "skipped", refusal, {}
        return "ok", f"--compile works on {device_name(device)}", {}

    def processes(self) -> Outcome:
        """Two processes, or one for each GPU, that train together and end with the same weights."""
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if gpus == 1:
            return "skipped", "one GPU: nothing to agree with", {}
        launch = self.launch.with_processes(gpus or 2, cpu=not gpus)
        result = self.folder / "ranks.json"
        command = launch.argv("lastkd.pipeline.check_ranks", str(result))
        over = "NCCL" if gpus else "gloo"
        try:
            ended = subprocess.run(
                command,
                env=environment_alone(),
                capture_output=True,
                text=True,
                timeout=RANKS_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return (
                "failed",
                f"the processes don't answer each other over {over} within {RANKS_TIMEOUT_S} s; "
                "try again with NCCL_P2P_DISABLE=1 in the environment",
                {},
            )
        if ended.returncode or not result.exists():
            last = next(reversed(ended.stderr.strip().splitlines()), "no message")
            return "failed", f"the processes failed over {over}: {last.strip()[:200]}", {}
        values = json.loads(result.read_text(encoding="utf-8"))
        detail = f"{values['processes']} processes over {values['backend']}"
        if not values["agree"]:
            return "failed", f"{detail} end with different weights", values
        return "ok", f"{detail} agree; 10 MB take {values['exchange_ms']:.1f} ms", values

    # --- where it reads and writes ----------------------------------------------------------

    def store(self) -> Outcome:
        """The store: opened in place, its disk's speed, whether a GPU can hold it."""
        if self.settings.data is None:
            return "skipped", "no store is named; name yours with --data", {}
        started = time.perf_counter()
        store = ClipStore.open(self.settings.data)
        split = store.split_name(self.settings.split)
        train, test = store.split(split)
        opened_ms = 1000 * (time.perf_counter() - started)
        speed = _read_speed(self.settings.data / CLIPS_FILE)
        place = "main memory"
        if torch.cuda.is_available() and view_device(store, torch.device("cuda")).type == "cuda":
            place = "the GPU's memory"
        values = {"opened_ms": round(opened_ms, 1), "mb_s": round(speed), "train": len(train)}
        detail = (
            f"{len(train):,} training and {len(test):,} test clips of {split}, "
            f"opened in {opened_ms:.0f} ms, read at {speed:,.0f} MB/s, will be held in {place}"
        )
        if speed < SLOW_DISK_MB_S:
            return "warning", f"{detail}; copy the store to a faster disk", values
        return "ok", detail, values

    def disk(self) -> Outcome:
        """Room for the checkpoints and soft labels of a whole sequence."""
        out = self.settings.out.resolve()
        folder = next(path for path in (out, *out.parents) if path.exists())
        free = shutil.disk_usage(folder).free
        needed = self._bytes_of_a_sequence()
        values = {"free_gb": round(free / 1e9, 2), "needed_gb": round(needed / 1e9, 2)}
        detail = (
            f"{folder}: {free / 1e9:.1f} GB free, and a sequence of one seed needs "
            f"{needed / 1e9:.1f} GB"
        )
        if not os.access(folder, os.W_OK):
            return "failed", f"{folder}: can't be written; choose another --out", values
        if free < needed:
            return "failed", f"{detail}; make room, or choose another --out", values
        return ("warning" if free < 2 * needed else "ok"), detail, values

    def _bytes_of_a_sequence(self) -> float:
        settings = self.settings
        data = settings.data or Path("unused")
        sequence = sequence_of(data, settings.split, settings.out, settings.teacher_model)
        clips, classes = NTU60.train_clips, NTU60.classes
        if settings.data is not None:
            store = ClipStore.open(settings.data)
            clips, classes = len(store.split(settings.split)[0]), store.num_classes
        with torch.device("meta"):
            students = sum(_weights(model, classes) for model in student_models(sequence))
            teacher = _weights(settings.teacher_model, classes)
        epochs = sequence.likely_distill(sequence.variant[0]).epochs
        soft_labels = epochs * clips * classes * torch.float16.itemsize
        return BYTES_PER_WEIGHT * (teacher + 2 * students) + soft_labels

    # --- how long it takes ------------------------------------------------------------------

    def pace(self) -> Outcome:
        """A few real steps of each kind, and what a whole sequence takes by them."""
        settings = self.settings
        values = measure_pace(
            settings.data, settings.split, settings.teacher_model, self.launch, self.folder
        )
        return "ok", f"a whole sequence takes about {values['hours']:.1f} h here", values


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _shown(precision: str) -> str:
    return "float32" if precision == "no" else precision


def _weights(model: str, classes: int) -> int:
    built = build_model(get_architecture(model), classes)
    return sum(parameter.numel() for parameter in built.parameters())


def _one_kernel(device: torch.device) -> None:
    """
    Raises:
        RuntimeError: this build of torch has no kernels for the device.
    """
    x = torch.ones(64, 64, device=device, dtype=torch.float16)
    if float((x @ x).sum()) != 64**3:
        raise RuntimeError("a product comes out wrong")


def _read_speed(path: Path) -> float:
    """MB/s of reading a file's beginning, past the page cache where the system allows it."""
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started, done = time.perf_counter(), 0
        while done < READ_MB * 10**6 and (block := file.read(8 << 20)):
            done += len(block)
        return done / 1e6 / max(time.perf_counter() - started, 1e-9)
