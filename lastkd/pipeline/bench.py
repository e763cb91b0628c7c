"""What distillation costs on this machine: its parts are timed in turn, round by round.

The store, the views, the teacher's checkpoint, the training loop and the cache of soft labels are
those of real runs. Only the clips are generated: random walks with NTU's 25 joints, about 75
frames long, one in five with two bodies.
"""

from __future__ import annotations

import statistics
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
from lastkd.data.ntu import NTU_60
from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.writer import StoreWriter
from lastkd.data.views import Views
from lastkd.distributed.device import device_name, view_device
from lastkd.models.checkpoint import read_checkpoint
from lastkd.pipeline.measure import UNRECORDED, TimedRun, elapsed_s, save_stand_in
from lastkd.settings.architecture import get_architecture
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.settings.views import ViewSettings
from lastkd.training.batches import Batch
from lastkd.training.teacher import FrozenTeacher, TeacherIdentity
from lastkd.training.teacher_cache import CacheKey, TeacherCache

LAYOUT = "ntu25"
RECIPE_EPOCHS = 70
VIEW_CLIPS = 256
"""Clips a call when only views are timed."""


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Attributes:
        teacher: the teacher's model.
        variants: the students.
        batch_size: clips a step.
        frames: frames of a view, T.
        rounds: how often everything is timed; the figures are medians over the rounds.
        steps: a student's steps per measurement, if no live teacher slows them down.
        compile: whether the students are compiled.
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
    """The measurements.

    Attributes:
        ms: milliseconds a step, by part and round.
        views_clips_per_s: by round.
        largest_difference: between the logits of the plain and the lean teacher, relative to the
            largest logit.
        cache_mb: size of the soft labels of NTU 60 for the recipe's epochs.
    """

    device: str
    ms: dict[str, list[float]] = field(default_factory=dict)
    views_clips_per_s: list[float] = field(default_factory=list)
    largest_difference: float = 0.0
    cache_mb: float = 0.0

    def median_ms(self, part: str) -> float:
        return statistics.median(self.ms[part])

    def ratio(self, part: str, *to: str) -> float:
        """Median over the rounds of a part's time relative to the sum of others'."""
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


def random_store(
    out: Path, train_clips: int, *, test_clips: int = 1, classes: int = NTU_60.num_classes
) -> ClipStore:
    """A store of random walks of NTU's shape; one clip in five has two bodies."""
    rng = np.random.Generator(np.random.Philox(key=0))
    layout = get_layout(LAYOUT)
    names = [f"clip{i}" for i in range(train_clips + test_clips)]
    with StoreWriter(out, layout) as writer:
        for i, name in enumerate(names):
            T = int(np.clip(rng.normal(75, 20), 30, 150))
            M = 2 if i % 5 == 0 else 1
            steps = 0.1 * rng.standard_normal((T, M, layout.num_joints, 3))
            writer.add(Clip(name, i % classes, steps.cumsum(axis=0, dtype=np.float32), 1, 1, 1))
        writer.finish(
            class_names=numbered_classes(classes),
            splits={"xsub": {"train": names[:train_clips], "test": names[train_clips:]}},
            source="random walks",
            counts={},
        )
    return ClipStore.open(out)


def view_settings(frames: int) -> ViewSettings:
    """The recipe's views at another length."""
    recipe = resolve(TrainSettings, {"model": "last_e_nano", "frames": frames})
    return ViewSettings.model_validate(recipe.model_dump(include=set(ViewSettings.model_fields)))


class Bench:
    """The parts of distillation, made once and timed in turn.

    Args:
        folder: for the store, the teacher and the cache.
    """

    def __init__(self, settings: BenchSettings, folder: Path, accelerator: Accelerator) -> None:
        self.settings = settings
        self.folder = folder
        self.accelerator = accelerator
        self.device = accelerator.device
        # a step of the teacher takes minutes on a CPU, so only one is timed there
        self.live_steps = settings.steps if self.device.type == "cuda" else 1
        self.store = random_store(folder / "store", settings.steps * settings.batch_size)
        views = view_settings(settings.frames)
        torch.manual_seed(0)
        self.teacher = save_stand_in(
            folder / "teacher.safetensors",
            get_architecture(settings.teacher),
            self.store,
            Views(self.store, views, torch.device("cpu")),
        )
        self.views = Views(self.store, views, view_device(self.store, self.device))
        self.result = BenchResult(f"{device_name(self.device)}, {torch.get_num_threads()} threads")
        self.parts = self._parts()

    def _cache(self, name: str, clips: int) -> TeacherCache:
        settings = resolve(DistillSettings, self._given(variant=self.settings.variants[0]))
        identity = TeacherIdentity.of(self.teacher, self.store)
        parts = split_parts(self.store, settings.split)
        key = CacheKey.of(identity, self.store, parts, seed=settings.seed, views=settings)
        key = key.model_copy(update={"clips": clips})
        return TeacherCache.open(self.folder / name, key, identity)

    def _given(self, **more: Any) -> dict[str, Any]:
        settings = self.settings
        return {
            "batch_size": settings.batch_size,
            "frames": settings.frames,
            "epochs": settings.rounds + 1,
            "compile": settings.compile,
            **UNRECORDED,
            **more,
        }

    def _parts(self) -> dict[str, Callable[[], float]]:
        """Functions that return the milliseconds of one step, by name, in the order of a round."""
        settings = self.settings
        clips = len(self.store.split("xsub")[0])
        cache = self._cache("cache", clips)
        for epoch in range(1, settings.rounds + 2):
            # as an earlier run would have left them; the values don't matter
            cache.write(epoch, torch.randn(clips, NTU_60.num_classes).half())
        distilled = {v: resolve(DistillSettings, self._given(variant=v)) for v in settings.variants}
        parts = self._teacher_parts()
        for variant, live in distilled.items():
            alone = resolve(TrainSettings, self._given(model=live.model_name))
            replay = live.model_copy(update={"teacher_cache": cache.folder})
            parts[f"{variant} alone"] = self._step([alone], settings.steps)
            parts[f"{variant} replay"] = self._step([replay], settings.steps)
            parts[f"{variant} live"] = self._step([live], self.live_steps)
        parts["together"] = self._step(list(distilled.values()), self.live_steps)
        return parts

    def _step(self, settings: Sequence[RunSettings], steps: int) -> Callable[[], float]:
        run = TimedRun(settings, self.store, self.teacher, self.accelerator, self.folder / "runs")
        return lambda: 1000 * run.steps_s(steps) / steps

    def _teacher_parts(self) -> dict[str, Callable[[], float]]:
        clips = np.arange(self.settings.batch_size)
        _, streams, bodies, _ = Batch.of(clips, self.views, self.views.draw(0, 1), self.device)
        lean = FrozenTeacher(self.teacher, self.store, self.device)
        plain = read_checkpoint(self.teacher).build().requires_grad_(False).to(self.device)
        expected = plain(streams, bodies)
        difference = (lean(streams, bodies) - expected).abs().max() / expected.abs().max()
        self.result.largest_difference = float(difference)
        precision = torch.float16 if self.device.type == "cuda" else torch.float32
        plain = plain.to(precision)  # as the lean one runs
        cast = {name: stream.to(precision) for name, stream in streams.items()}
        return {
            "plain teacher": lambda: self._ms(lambda: plain(cast, bodies)),
            "lean teacher": lambda: self._ms(lambda: lean(streams, bodies)),
        }

    def _ms(self, work: Callable[[], object]) -> float:
        return 1000 * elapsed_s(self.device, work)

    def _cache_mb(self) -> float:
        """Size of the cache of the whole recipe on NTU 60, from one epoch's file."""
        clips, _ = NTU_60.sizes["xsub"]
        cache = self._cache("size", clips)
        cache.write(1, torch.zeros(clips, NTU_60.num_classes).half())
        return RECIPE_EPOCHS * cache.path(1).stat().st_size / 1e6

    @property
    def measurements(self) -> int:
        """The number of measurements that `run` makes."""
        return (self.settings.rounds + 1) * (len(self.parts) + 1)

    def run(self, on_progress: Callable[[int, str], None]) -> BenchResult:
        """Times everything in turn, `rounds` times after a round that isn't counted.

        Args:
            on_progress: called with the number of measurements made and the name of the next one.
        """
        clips = np.resize(np.arange(len(self.store)), VIEW_CLIPS)
        done = 0
        for epoch in range(1, self.settings.rounds + 2):
            counted = epoch > 1
            for name, part in self.parts.items():
                on_progress(done, name)
                ms = part()
                done += 1
                if counted:
                    self.result.ms.setdefault(name, []).append(ms)
            on_progress(done, "views")
            cut = partial(self.views.training, clips, self.views.draw(0, epoch))
            ms = min(self._ms(cut) for _ in range(3))
            done += 1
            if counted:
                self.result.views_clips_per_s.append(1000 * VIEW_CLIPS / ms)
        self.result.cache_mb = self._cache_mb()
        return self.result
