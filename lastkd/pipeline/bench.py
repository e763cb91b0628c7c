"""What distilling costs on this machine: each part of it timed in turn, round by round.

Everything that is timed is the real thing: a store, views, a teacher's checkpoint, the training
loop, a cache of soft labels. Only the clips are made up: random walks of NTU's shape, about 75
frames long, one in five with two bodies.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from lastkd.data.class_names import numbered_classes
from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.data.views import Views
from lastkd.distributed.device import device_name, view_device
from lastkd.models.checkpoint import CheckpointInfo, read_checkpoint, save_checkpoint
from lastkd.models.registry import build_model
from lastkd.settings.architecture import get_architecture
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.settings.views import ViewSettings
from lastkd.terminal import Progress
from lastkd.training.batches import Batch
from lastkd.training.loop import TrainingRun
from lastkd.training.soft_labels import open_soft_labels
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache

LAYOUT = "ntu25"
NTU60_CLASSES, NTU60_TRAIN, RECIPE_EPOCHS = 60, 40_091, 70
VIEW_CLIPS = 256
"""Clips a call when views are timed by themselves."""


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Attributes:
        teacher: model of the teacher, a LAST-v2.
        variants: of the students.
        batch_size: clips a step.
        frames: of a view, T.
        rounds: how often everything is timed; medians are over them.
        steps: steps of a student without a live teacher that are timed together.
        compile: whether the students' steps are compiled.
    """

    teacher: str
    variants: tuple[str, ...]
    batch_size: int = 16
    frames: int = 64
    rounds: int = 5
    steps: int = 8
    compile: bool = False


@dataclass
class BenchResult:
    """Milliseconds a step (of `batch_size` clips) by part and round, and what was compared."""

    device: str
    ms: dict[str, list[float]] = field(default_factory=dict)
    views_clips_per_s: list[float] = field(default_factory=list)
    largest_difference: float = 0.0
    cache_mb: float = 0.0

    def median_ms(self, part: str) -> float:
        return statistics.median(self.ms[part])

    def ratio(self, part: str, *to: str) -> float:
        """Median over the rounds of a part's time over the sum of others' in the same round."""
        rounds = zip(self.ms[part], *(self.ms[other] for other in to), strict=True)
        return float(statistics.median(first / sum(rest) for first, *rest in rounds))

    def to_dict(self, variants: Sequence[str]) -> dict[str, Any]:
        ratios: dict[str, Any] = {
            "lean_teacher": self.ratio("lean teacher", "plain teacher"),
            "together": self.ratio("together", *(f"{variant} live" for variant in variants)),
        }
        for variant in variants:
            alone = f"{variant} alone"
            ratios[variant] = {
                kind: self.ratio(f"{variant} {kind}", alone) for kind in ("replay", "live")
            }
        return {
            "device": self.device,
            "ratios": ratios,
            "views_clips_per_s": round(statistics.median(self.views_clips_per_s)),
            "largest_difference": self.largest_difference,
            "cache_mb": round(self.cache_mb, 1),
            "ms": {part: round(self.median_ms(part), 2) for part in self.ms},
        }


def made_up_store(out: Path, train_clips: int, *, classes: int = NTU60_CLASSES) -> ClipStore:
    """A store of random walks of NTU's shape; one clip in five has two bodies."""
    rng = np.random.Generator(np.random.Philox(key=0))
    layout = get_layout(LAYOUT)
    names = [f"clip{i}" for i in range(train_clips + 1)]
    with StoreWriter(out, layout) as writer:
        for i, name in enumerate(names):
            T = int(np.clip(rng.normal(75, 20), 30, 150))
            M = 2 if i % 5 == 0 else 1
            steps = 0.1 * rng.standard_normal((T, M, layout.num_joints, 3))
            writer.add(Clip(name, i % classes, steps.cumsum(axis=0, dtype=np.float32), 1, 1, 1))
        writer.finish(
            class_names=numbered_classes(classes),
            splits={"xsub": {"train": names[:-1], "test": names[-1:]}},
            source="random walks",
            counts={},
        )
    return ClipStore.open(out)


def made_up_teacher(path: Path, name: str, store: ClipStore, frames: int) -> Path:
    """An untrained teacher whose norms fit its features, averaging over both bodies as the public
    design does, so that the plain formulation computes what the design says."""
    torch.manual_seed(0)
    architecture = get_architecture(name)
    model = build_model(architecture, store.num_classes, store.layout)
    views = Views(store, view_settings(frames), torch.device("cpu"))
    clips = np.arange(min(4, len(store)))
    with torch.no_grad():
        for _ in range(2):
            model(views.evaluation(clips), views.bodies(clips))
    info = CheckpointInfo(
        architecture=architecture,
        num_classes=store.num_classes,
        layout=store.layout,
        class_names=store.class_names,
    )
    save_checkpoint(path, model.state_dict(), info)
    return path


def view_settings(frames: int) -> ViewSettings:
    """The recipe's views at another length."""
    recipe = resolve(TrainSettings, {"model": "last_e_nano", "frames": frames})
    return ViewSettings.model_validate(recipe.model_dump(include=set(ViewSettings.model_fields)))


class Bench:
    """The parts of distilling, made once and run in turn.

    Args:
        folder: for the store, the teacher, the runs and the cache.
    """

    def __init__(self, settings: BenchSettings, folder: Path, accelerator: Accelerator) -> None:
        self.settings = settings
        self.folder = folder
        self.accelerator = accelerator
        self.device = accelerator.device
        # a CPU spends minutes on a teacher's step, so there an epoch beside it is one step long
        live_steps = settings.steps if self.device.type == "cuda" else 1
        self.steps = {"short": live_steps, "long": settings.steps}
        self.stores = {
            size: made_up_store(folder / size, steps * settings.batch_size)
            for size, steps in self.steps.items()
        }
        self.teacher = made_up_teacher(
            folder / "teacher.safetensors", settings.teacher, self.stores["long"], settings.frames
        )
        self.result = BenchResult(f"{device_name(self.device)}, {torch.get_num_threads()} threads")
        self.progress = Progress("bench", 1, shown=False)
        self.epoch = 0
        self.parts = self._parts()

    def _training(self, settings: Sequence[RunSettings], size: str, name: str) -> TrainingRun:
        store = self.stores[size]
        distilled = [own for own in settings if isinstance(own, DistillSettings)]
        labels = (
            open_soft_labels(distilled, store, self.teacher, self.accelerator)
            if distilled
            else None
        )
        folders = [self.folder / "runs" / f"{name} {own.model_name}" for own in settings]
        return TrainingRun(settings, store, labels, self.accelerator, folders)

    def _cache(self, name: str, clips: int) -> TeacherCache:
        settings = resolve(DistillSettings, self._given(variant=self.settings.variants[0]))
        store = self.stores["long"]
        identity = TeacherIdentity.of(self.teacher, store)
        key = CacheKey.of(identity, store, split=settings.split, seed=settings.seed, views=settings)
        key = key.model_copy(update={"clips": clips})
        return TeacherCache.open(self.folder / name, key, identity)

    def _given(self, **more: Any) -> dict[str, Any]:
        settings = self.settings
        return {
            "batch_size": settings.batch_size,
            "frames": settings.frames,
            "epochs": settings.rounds + 1,
            "log_every": 10**6,  # one report an epoch, as its end
            "checkpoint_minutes": 10**6,
            "compile": settings.compile,
            **more,
        }

    def _parts(self) -> dict[str, Callable[[], float]]:
        """By name, what gives the milliseconds of one step; in the order of a round."""
        settings = self.settings
        clips = len(self.stores["long"].split("xsub")[0])
        cache = self._cache("cache", clips)
        for epoch in range(1, settings.rounds + 2):
            # as a run before would have left them; what they say doesn't matter
            cache.write(epoch, torch.randn(clips, NTU60_CLASSES).half())
        distilled = {v: resolve(DistillSettings, self._given(variant=v)) for v in settings.variants}
        parts = self._teacher_parts()
        for variant, live in distilled.items():
            alone = resolve(TrainSettings, self._given(model=live.model_name))
            replay = live.model_copy(update={"teacher_cache": cache.folder})
            parts[f"{variant} alone"] = self._epoch([alone], "long", "alone")
            parts[f"{variant} replay"] = self._epoch([replay], "long", "replay")
            parts[f"{variant} live"] = self._epoch([live], "short", "live")
        parts["together"] = self._epoch(list(distilled.values()), "short", "together")
        return parts

    def _epoch(self, settings: Sequence[RunSettings], size: str, name: str) -> Callable[[], float]:
        run = self._training(settings, size, name)

        return lambda: (
            self._ms(lambda: run.train_epoch(self.epoch, self.progress)) / self.steps[size]
        )

    def _teacher_parts(self) -> dict[str, Callable[[], float]]:
        store = self.stores["long"]
        views = self._views()
        clips = np.arange(self.settings.batch_size)
        _, streams, bodies, _ = Batch.of(clips, views, views.draw(0, 1), self.device)
        lean = FrozenTeacher(self.teacher, store, self.device)
        plain = read_checkpoint(self.teacher).build().requires_grad_(False).to(self.device)
        expected = plain(streams, bodies)
        difference = (lean(streams, bodies) - expected).abs().max() / expected.abs().max()
        self.result.largest_difference = float(difference)
        plain = plain.to(lean.precision)
        cast = {name: stream.to(lean.precision) for name, stream in streams.items()}
        return {
            "plain teacher": lambda: self._ms(lambda: plain(cast, bodies)),
            "lean teacher": lambda: self._ms(lambda: lean(streams, bodies)),
        }

    def _views(self) -> Views:
        store = self.stores["long"]
        return Views(store, view_settings(self.settings.frames), view_device(store, self.device))

    def _ms(self, call: Callable[[], Any]) -> float:
        started = time.perf_counter()
        call()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return 1000 * (time.perf_counter() - started)

    def _cache_mb(self) -> float:
        """What the cache of a whole recipe on NTU 60 takes, from an epoch's file as written."""
        cache = self._cache("size", NTU60_TRAIN)
        cache.write(1, torch.zeros(NTU60_TRAIN, NTU60_CLASSES).half())
        return RECIPE_EPOCHS * cache.path(1).stat().st_size / 1e6

    @property
    def measurements(self) -> int:
        """How many `run` makes."""
        return (self.settings.rounds + 1) * (len(self.parts) + 1)

    def run(self, done: Callable[[int, str], None]) -> BenchResult:
        """Times everything in turn, `rounds` times after one round that isn't counted.

        Args:
            done: called with the number of measurements made, and with which one is next.
        """
        views = self._views()
        some = np.resize(np.arange(len(self.stores["long"])), VIEW_CLIPS)
        made = 0
        for epoch in range(1, self.settings.rounds + 2):
            self.epoch, counted = epoch, epoch > 1
            for name, part in self.parts.items():
                done(made, name)
                spent = part()
                made += 1
                if counted:
                    self.result.ms.setdefault(name, []).append(spent)
            draws = views.draw(0, epoch)
            spent = min(self._ms(partial(views.training, some, draws)) for _ in range(3))
            made += 1
            if counted:
                self.result.views_clips_per_s.append(1000 * VIEW_CLIPS / spent)
        self.result.cache_mb = self._cache_mb()
        return self.result
