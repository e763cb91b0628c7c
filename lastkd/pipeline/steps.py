"""The steps of a sequence: what each has done already, and the command that does the rest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from lastkd.data.open_source import SYNTHETIC
from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.pipeline.auto_tau import AUTO
from lastkd.pipeline.request import resolve_all
from lastkd.pipeline.runner import Command, Step, StepStatus
from lastkd.pipeline.settings import SequenceSettings, command_line
from lastkd.runs.events import FILE_NAME, LAST
from lastkd.runs.folder import RunFolder, is_live, positions
from lastkd.runs.identity import identity, refuse_another_run
from lastkd.runs.log import PREDICTIONS, Run
from lastkd.settings.architecture import is_factory, short_name
from lastkd.settings.runs import RunSettings
from lastkd.settings.students import model_of
from lastkd.settings.teachers import missing_checkpoint
from lastkd.training.teacher import TeacherIdentity


class SequenceStep(Step):
    """A step of a sequence.

    Attributes:
        parts: the parts of a measurement that the step's time is estimated from.
    """

    parts: tuple[str, ...] = ()


class PreparationStep(SequenceStep):
    """Makes the store of the built-in synthetic set."""

    title = "synthetic store"

    def __init__(self, store: Path) -> None:
        self.store = store

    def status(self) -> StepStatus:
        return _all_or_nothing(self.store.exists())

    def command(self) -> Command:
        return Command("lastkd", ("prepare", SYNTHETIC, "--out", str(self.store)), launched=False)


class TrainingStep(SequenceStep):
    """Trains one model, or several students together, each into its run folder."""

    def __init__(
        self, sequence: SequenceSettings, title: str, part: str, seed: int, folders: Sequence[Path]
    ) -> None:
        self.sequence = sequence
        self.title = title
        self.part = part
        self.parts = (part,)
        self.seed = seed
        self.folders = list(folders)

    @abstractmethod
    def settings(self) -> list[RunSettings]:
        """The settings of each folder's run."""

    def likely_settings(self) -> RunSettings:
        """The settings that decide how long a run takes, available before the others."""
        return self.settings()[0]

    def status(self) -> StepStatus:
        shares: list[float] = []
        text, reason, done = "to do", "", True
        for number, folder in enumerate(self.folders):
            run = RunFolder(folder).read()
            done = done and run is not None and run.finished
            if run is None:
                shares.append(0.0)
                continue
            self._check(number, run)
            total = int(run.start["total_steps"])
            reached = max((position.step for position in positions(folder)), default=0)
            step = total if run.finished else reached
            shares.append(step / total)
            if is_live(folder):
                text = f"at work, after step {step:,} of {total:,}"
            elif not run.finished:
                text, reason = f"goes on after step {step:,} of {total:,} ({run.ended})", run.ended
        text = "done" if done else text
        return StepStatus(done, sum(shares) / len(shares), text, reason)

    def _check(self, number: int, run: Run) -> None:
        settings = self.settings()[number]
        start = run.start
        taught = start.get("teacher") is not None
        expected = identity(
            settings.model_dump(mode="json"),
            data=data_hash(self.sequence.data),
            teacher=teacher_hash(self.sequence) if taught else None,
            architecture=start.get("architecture"),
            # another number of processes matters only to the command that resumes the run
            global_batch=settings.batch_size * start["processes"] * settings.accumulation,
            precision=start["device"]["precision"],
            validation=validation_hash(
                self.sequence.data, settings.split, settings.validation, settings.performers
            ),
        )
        refuse_another_run(run, expected, option="--out")


class TeacherStep(TrainingStep):
    """Trains the teacher."""

    def __init__(self, sequence: SequenceSettings) -> None:
        model, folder = sequence.teacher_model, sequence.teacher_folder
        super().__init__(sequence, f"{model}, teacher", "teacher", 0, [folder])
        self.model = model

    def settings(self) -> list[RunSettings]:
        return [self.sequence.resolved_train(self.model, 0, self.folders[0], teacher=True)]

    def command(self) -> Command:
        options = self.sequence.train_options((self.model,), 0, self.folders[0], teacher=True)
        arguments = tuple(command_line(options))
        return Command("lastkd.train", arguments, budgeted=True, folders=tuple(self.folders))


class StudentsStep(TrainingStep):
    """Trains the students of one seed together.

    Args:
        part: `standalone` or `distilled`.
        parent: of the students' run folders.
    """

    def __init__(self, sequence: SequenceSettings, part: str, seed: int, parent: Path) -> None:
        folders = [parent / short_name(variant) for variant in sequence.variant]
        names = ", ".join(map(short_name, sequence.variant))
        super().__init__(sequence, f"{names} {part}, seed {seed}", part, seed, folders)
        self.parent = parent

    @property
    def run_option(self) -> Path:
        """The value of `--run`: the run folder of one student, or the parent of several."""
        return self.folders[0] if len(self.folders) == 1 else self.parent


class StandaloneStep(StudentsStep):
    """Trains the students of one seed without a teacher, on one pass of the views."""

    def __init__(self, sequence: SequenceSettings, seed: int) -> None:
        super().__init__(sequence, "standalone", seed, sequence.standalone_folder(seed))

    def settings(self) -> list[RunSettings]:
        return [
            self.sequence.resolved_train(model_of(variant), self.seed, folder, teacher=False)
            for variant, folder in zip(self.sequence.variant, self.folders, strict=True)
        ]

    def command(self) -> Command:
        options = self.sequence.train_options(
            self.sequence.variant, self.seed, self.run_option, teacher=False
        )
        arguments = tuple(command_line(options))
        return Command("lastkd.train", arguments, budgeted=True, folders=tuple(self.folders))


class DistillationStep(StudentsStep):
    """Distils the students of one seed, on one pass of the teacher."""

    def __init__(self, sequence: SequenceSettings, seed: int) -> None:
        super().__init__(sequence, "distilled", seed, sequence.distilled_folder(seed))

    def settings(self) -> list[RunSettings]:
        options = self.sequence.distill_options(self.sequence.variant, self.seed, self.parent)
        if options.get("tau") != AUTO:  # nothing else depends on the standalone runs
            options.pop("standalone", None)
        return [*resolve_all(options, None, echo=lambda text: None)]

    def likely_settings(self) -> RunSettings:
        return self.sequence.likely_distill(self.sequence.variant[0])

    def command(self) -> Command:
        options = self.sequence.distill_options(self.sequence.variant, self.seed, self.run_option)
        arguments = tuple(command_line(options))
        return Command("lastkd.distill", arguments, budgeted=True, folders=tuple(self.folders))


class EvaluationStep(SequenceStep):
    """Evaluates the last epochs of finished runs on the test part and keeps the predictions.

    Args:
        title: what is evaluated.
        runs: each run's folder with its model.
        factory: the one that makes these models, if they aren't part of lastkd.
    """

    def __init__(
        self,
        sequence: SequenceSettings,
        title: str,
        runs: Mapping[Path, str],
        factory: str | None = None,
    ) -> None:
        self.sequence = sequence
        self.title = f"evaluation of {title}"
        self.runs = dict(runs)
        self.factory = factory
        self.parts = tuple(f"evaluation of {model}" for model in dict.fromkeys(runs.values()))

    @property
    def left(self) -> dict[Path, str]:
        """The runs that aren't evaluated yet, with their models."""
        return {run: model for run, model in self.runs.items() if not (run / PREDICTIONS).exists()}

    def status(self) -> StepStatus:
        left = len(self.left)
        done = len(self.runs) - left
        text = "done" if not left else f"goes on after {done} of {len(self.runs)} runs"
        return StepStatus(not left, done / len(self.runs), text if done else "to do")

    def command(self) -> Command:
        arguments = [
            *("evaluate", *(str(run / LAST) for run in self.left), "--keep"),
            *("--data", str(self.sequence.data), "--split", self.sequence.split),
        ]
        if self.factory:
            arguments += ["--model", self.factory]
        return Command("lastkd", tuple(arguments))


def evaluation_steps(
    sequence: SequenceSettings, title: str, runs: Mapping[Path, str]
) -> list[EvaluationStep]:
    """One step for the runs of lastkd's own models, and one for those of each factory."""
    groups: dict[str | None, dict[Path, str]] = {}
    for run, model in runs.items():
        groups.setdefault(model if is_factory(model) else None, {})[run] = model
    return [
        EvaluationStep(sequence, f"{factory}, {title}" if factory else title, group, factory)
        for factory, group in groups.items()
    ]


class ReportStep(SequenceStep):
    """Writes the table and figures of all runs."""

    title = "report"

    def __init__(self, sequence: SequenceSettings, runs: Sequence[Path]) -> None:
        self.sequence = sequence
        self.runs = runs
        self.out = sequence.folder / "report"

    def status(self) -> StepStatus:
        written = self.out / "07_Experiments.md"
        sources = [run / name for run in self.runs for name in (FILE_NAME, PREDICTIONS)]
        done = written.exists() and all(
            source.exists() and source.stat().st_mtime <= written.stat().st_mtime
            for source in sources
        )
        if self.sequence.figures:  # an earlier report may have left them out
            done = done and any(self.out.glob("*.png"))
        return _all_or_nothing(done)

    def command(self) -> Command:
        arguments = ["report", str(self.sequence.folder), "--out", str(self.out)]
        if not self.sequence.figures:
            arguments.append("--no-figures")
        return Command("lastkd", tuple(arguments), launched=False)


def make_steps(sequence: SequenceSettings) -> list[SequenceStep]:
    """All steps in their order: seed after seed, so that the first is soon complete."""
    steps: list[SequenceStep] = []
    runs: list[Path] = []
    if sequence.trains_teacher:
        evaluated = {sequence.teacher_folder: sequence.teacher_model}
        steps += [TeacherStep(sequence), *evaluation_steps(sequence, "teacher", evaluated)]
        runs += evaluated
    for seed in sequence.seed_numbers:
        trainings: list[StudentsStep] = []
        if "standalone" in sequence.only:
            trainings.append(StandaloneStep(sequence, seed))
        if "distilled" in sequence.only:
            trainings.append(DistillationStep(sequence, seed))
        evaluated = {
            folder: model_of(variant)
            for training in trainings
            for folder, variant in zip(training.folders, sequence.variant, strict=True)
        }
        steps += [*trainings, *evaluation_steps(sequence, f"seed {seed}", evaluated)]
        runs += evaluated
    return [*steps, ReportStep(sequence, runs)]


def _all_or_nothing(done: bool) -> StepStatus:
    """The status of a step that leaves nothing half-done."""
    return StepStatus(done, float(done), "done" if done else "to do")


@lru_cache
def data_hash(data: Path) -> str:
    return str(ClipStore.open(data).content_hash)


@lru_cache
def validation_hash(
    data: Path, split: str, validation: str | None, performers: str | None
) -> str | None:
    """Hash of the validation part; None where there is none."""
    if validation is None:
        return None
    return split_parts(ClipStore.open(data), split, validation, performers).validation_hash


def teacher_hash(sequence: SequenceSettings) -> str | None:
    """Hash of the teacher's weights; None where there are none yet."""
    checkpoint = sequence.teacher_checkpoint
    if missing_checkpoint(checkpoint) is not None:
        return None
    return _weights_hash(checkpoint, sequence.data)


@lru_cache
def _weights_hash(checkpoint: Path, data: Path) -> str:
    return TeacherIdentity.of(checkpoint, ClipStore.open(data)).weights_hash
