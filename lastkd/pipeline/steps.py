"""The steps of a sequence: what each has done already, and the command that does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock, Timeout

from lastkd.data.store.clip_store import ClipStore
from lastkd.pipeline.request import resolve_all
from lastkd.pipeline.settings import SequenceSettings, model_of, option_words
from lastkd.runs.events import FILE_NAME
from lastkd.runs.folder import LOCK, RunFolder, group_by_progress, positions
from lastkd.runs.identity import identity, refuse_another_run
from lastkd.runs.log import PREDICTIONS, Run
from lastkd.settings.architecture import is_factory, short_name
from lastkd.settings.runs import RunSettings
from lastkd.training.teacher import TeacherIdentity


@dataclass(frozen=True)
class StepStatus:
    """How far a step is.

    Attributes:
        share: of the step's work that needn't be done again.
        words: the same for the one who reads.
    """

    done: bool
    share: float
    words: str


@dataclass(frozen=True)
class Command:
    """A command of lastkd.

    Attributes:
        launched: under `accelerate launch`, or as a plain process.
        budgeted: it can be told a time budget, and stops by it with a checkpoint.
        folders: run folders that it writes.
    """

    module: str
    words: tuple[str, ...]
    launched: bool = True
    budgeted: bool = False
    folders: tuple[Path, ...] = ()


class Step(ABC):
    """One step.

    Attributes:
        part: which part of a measurement its time is told by.
    """

    title: str
    part: str

    @abstractmethod
    def standing(self) -> StepStatus:
        """
        Raises:
            UserError: a run folder holds a run that isn't this sequence's.
        """

    @abstractmethod
    def command(self) -> Command:
        """What does the rest of the step, or a first part of it."""


class Training(Step):
    """A step that makes run folders: one model by itself, or several students together."""

    def __init__(
        self, sequence: SequenceSettings, title: str, part: str, seed: int, folders: Sequence[Path]
    ) -> None:
        self.sequence = sequence
        self.title = title
        self.part = part
        self.seed = seed
        self.folders = list(folders)

    @abstractmethod
    def settings(self) -> list[RunSettings]:
        """Those of each folder's run."""

    def likely_settings(self) -> RunSettings:
        """How long a run is told to be, known before what decides the rest is there."""
        return self.settings()[0]

    def standing(self) -> StepStatus:
        shares: list[float] = []
        words, done = "to do", True
        for number, folder in enumerate(self.folders):
            run_folder = RunFolder(folder)
            found = run_folder.read()
            done = done and found is not None and found.finished
            if found is None:
                shares.append(0.0)
                continue
            self._check(number, found)
            total = int(found.start["total_steps"])
            places = positions(run_folder.path)
            step = total if found.finished else max((place.step for place in places), default=0)
            shares.append(step / total)
            if is_live(folder):
                words = f"at work, after step {step:,} of {total:,}"
            elif not found.finished:
                words = f"goes on after step {step:,} of {total:,} ({found.ended})"
        return StepStatus(done, sum(shares) / len(shares), "done" if done else words)

    def _check(self, number: int, run: Run) -> None:
        settings = self.settings()[number]
        start = run.start
        taught = start.get("teacher") is not None
        own = identity(
            settings.model_dump(mode="json"),
            data=data_hash(self.sequence.data),
            teacher=teacher_hash(self.sequence) if taught else None,
            architecture=start.get("architecture"),
            # the same settings on another number of processes are another run only for who goes on
            global_batch=settings.batch_size * start["processes"] * settings.accumulation,
            precision=start["device"]["precision"],
        )
        refuse_another_run(run, own, option="--out")


class Standalone(Training):
    """The teacher, or a student by itself."""

    def __init__(
        self, sequence: SequenceSettings, model: str, seed: int, folder: Path, *, teacher: bool
    ) -> None:
        title = f"{model}, teacher" if teacher else f"{short_name(model)} standalone, seed {seed}"
        part = "teacher" if teacher else f"{model} standalone"
        super().__init__(sequence, title, part, seed, [folder])
        self.model = model
        self.teacher = teacher

    def settings(self) -> list[RunSettings]:
        folder = self.folders[0]
        return [self.sequence.resolved_train(self.model, self.seed, folder, teacher=self.teacher)]

    def command(self) -> Command:
        said = self.sequence.train_words(
            self.model, self.seed, self.folders[0], teacher=self.teacher
        )
        words = tuple(option_words(said))
        return Command("lastkd.train", words, budgeted=True, folders=tuple(self.folders))


class Distillation(Training):
    """The students of one seed, on one pass of the teacher."""

    def __init__(self, sequence: SequenceSettings, seed: int) -> None:
        above = sequence.distilled_folder(seed)
        folders = [above / short_name(variant) for variant in sequence.variant]
        names = ", ".join(map(short_name, sequence.variant))
        super().__init__(sequence, f"{names} distilled, seed {seed}", "distilled", seed, folders)

    def settings(self) -> list[RunSettings]:
        above = self.sequence.distilled_folder(self.seed)
        given = self.sequence.distill_words(self.sequence.variant, self.seed, above)
        return [*resolve_all(given, None, say=lambda text: None)]

    def likely_settings(self) -> RunSettings:
        return self.sequence.likely_distill(self.sequence.variant[0])

    def command(self) -> Command:
        found = group_by_progress(self.folders)
        numbers = found.begun or found.new
        variants = tuple(self.sequence.variant[number] for number in numbers)
        folders = tuple(self.folders[number] for number in numbers)
        above = self.sequence.distilled_folder(self.seed)
        # its --run is the run's folder for one student, and that above for more
        folder = above if len(folders) > 1 else folders[0]
        words = option_words(self.sequence.distill_words(variants, self.seed, folder))
        return Command("lastkd.distill", tuple(words), budgeted=True, folders=folders)


class Evaluation(Step):
    """A finished run's last epoch on the test part, kept as predictions."""

    def __init__(self, sequence: SequenceSettings, model: str, run: Path) -> None:
        self.sequence = sequence
        self.run = run
        self.model = model
        self.title = f"evaluation of {run.relative_to(sequence.folder)}"
        self.part = f"evaluation of {model}"

    def standing(self) -> StepStatus:
        done = (self.run / PREDICTIONS).exists()
        return StepStatus(done, float(done), "done" if done else "to do")

    def command(self) -> Command:
        words = [
            *("evaluate", str(self.run / "last.safetensors")),
            *("--data", str(self.sequence.data), "--split", self.sequence.split),
            *("--predictions", str(self.run / PREDICTIONS)),
        ]
        if is_factory(self.model):
            words += ["--model", self.model]
        return Command("lastkd", tuple(words))


class Report(Step):
    """The table and figures of all runs."""

    title = "report"
    part = "report"

    def __init__(self, sequence: SequenceSettings, runs: Sequence[Path]) -> None:
        self.sequence = sequence
        self.runs = runs
        self.out = sequence.folder / "report"

    def standing(self) -> StepStatus:
        written = self.out / "07_Experiments.md"
        sources = [run / name for run in self.runs for name in (FILE_NAME, PREDICTIONS)]
        done = written.exists() and all(
            source.exists() and source.stat().st_mtime <= written.stat().st_mtime
            for source in sources
        )
        if self.sequence.figures:  # they may have been left out before
            done = done and any(self.out.glob("*.png"))
        return StepStatus(done, float(done), "done" if done else "to do")

    def command(self) -> Command:
        words = ["report", str(self.sequence.folder), "--out", str(self.out)]
        if not self.sequence.figures:
            words.append("--no-figures")
        return Command("lastkd", tuple(words), launched=False)


def make_steps(sequence: SequenceSettings) -> list[Step]:
    """All steps in their order: one seed after the other, so that the first is soon complete."""
    steps: list[Step] = []
    runs: list[Path] = []
    if sequence.trains_teacher:
        model, folder = sequence.teacher_model, sequence.teacher_folder
        steps.append(Standalone(sequence, model, 0, folder, teacher=True))
        steps.append(Evaluation(sequence, model, folder))
        runs.append(folder)
    for seed in range(sequence.seeds):
        alone, distilled = sequence.standalone_folder(seed), sequence.distilled_folder(seed)
        for variant in sequence.variant:
            folder = alone / short_name(variant)
            steps.append(Standalone(sequence, model_of(variant), seed, folder, teacher=False))
        steps.append(Distillation(sequence, seed))
        for above in (alone, distilled):
            for variant in sequence.variant:
                runs.append(above / short_name(variant))
                steps.append(Evaluation(sequence, model_of(variant), runs[-1]))
    return [*steps, Report(sequence, runs)]


def is_live(folder: Path) -> bool:
    """Whether a process is writing to a run folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # the run itself says why the folder can't be written


@lru_cache
def data_hash(data: Path) -> str:
    return str(ClipStore.open(data).content_hash)


def teacher_hash(sequence: SequenceSettings) -> str | None:
    """Of the weights that teach; None where they aren't there yet."""
    checkpoint = sequence.teacher_checkpoint
    if not is_factory(str(checkpoint)) and not checkpoint.exists():
        return None
    return _weights_hash(checkpoint, sequence.data)


@lru_cache
def _weights_hash(checkpoint: Path, data: Path) -> str:
    return TeacherIdentity.of(checkpoint, ClipStore.open(data)).weights_hash
