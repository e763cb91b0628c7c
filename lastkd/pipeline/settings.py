"""The settings of a sequence, and the settings that it gives to each of its runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lastkd.data.store.clip_store import AUTO_SPLIT, ClipStore, holds_store
from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, validated
from lastkd.pipeline.auto_tau import AUTO, USUAL_TAU
from lastkd.pipeline.request import resolve_models
from lastkd.settings.architecture import get_architecture
from lastkd.settings.durations import checked_duration
from lastkd.settings.resolve import KINDS, default_paths, resolve
from lastkd.settings.runs import DistillSettings, TrainSettings, setting_names
from lastkd.settings.students import parse_variants, students
from lastkd.settings.teachers import joined, missing_checkpoint
from lastkd.terminal import Echo

OF_THE_SEQUENCE = {
    *("data", "split", "seed", "run", "resume", "time_budget"),
    *("model", "variant", "teacher", "teacher_cache", "standalone"),
}
"""Settings of a run that the sequence decides."""
SECTIONS = tuple(f"{kind}_settings" for kind in KINDS)
"""Settings of one kind of run alone."""


def settings_of_runs(given: Mapping[str, Any] | None = None) -> set[str]:
    """The names of the settings that a sequence passes on to its runs.

    Args:
        given: may name a loss from outside, whose settings are then included.
    """
    names = {*setting_names(TrainSettings), *setting_names(DistillSettings, given)}
    return names - OF_THE_SEQUENCE


def _kinds(value: Any) -> tuple[str, ...]:
    """Kinds of runs as users write them: `all`, `teacher,standalone`, or a list."""
    parts = value if isinstance(value, list | tuple) else [value]
    names = {name.strip() for part in parts for name in str(part).split(",")}
    if "all" in names:
        return KINDS
    for name in names:
        if name not in KINDS:
            raise ValueError(f"{name!r} is no kind of run; {nearest(name, [*KINDS, 'all'])}")
    return tuple(kind for kind in KINDS if kind in names)


class SequenceSettings(BaseModel):
    """A sequence: teacher, standalone students, distilled students, evaluations, report.

    Attributes:
        settings: of every run that has them.
        teacher_settings, standalone_settings, distilled_settings: of one kind of run, overriding
            `settings`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    heading: ClassVar[str] = "Sequence"

    data: Path = Field(
        description="prepared store (made by lastkd prepare)  "
        "[default: the path in configs/data/places.yaml]"
    )
    split: str = Field(
        AUTO_SPLIT,
        description="split of the store: xsub, xview, ..., or auto: its only one, or xsub",
    )
    out: Path | None = Field(
        None, description="folder of all runs and the report [default: runs/STORE_SPLIT]"
    )
    teacher_model: str = Field("last_v2_base", description="model that is trained as teacher")
    teacher: Annotated[Path | None, BeforeValidator(joined)] = Field(
        None,
        description="checkpoint of an existing teacher, or several that teach as an ensemble; none "
        "is trained then",
    )
    teacher_epoch: Literal["best", "last"] = Field(
        "best",
        description="epoch of the trained teacher that teaches; best is chosen on the validation "
        "part where there is one, else on the test part",
    )
    variant: Annotated[tuple[str, ...], BeforeValidator(parse_variants)] = Field(
        tuple(students()),
        description="students: nano, small, base, large, several (nano,large) or all",
    )
    seeds: int = Field(
        1, ge=1, description="number of seeds of the students; one teacher serves all"
    )
    first_seed: int = Field(0, ge=0, description="the first of the students' seeds")
    only: Annotated[tuple[str, ...], BeforeValidator(_kinds)] = Field(
        KINDS,
        description="kinds of runs to do: teacher, standalone, distilled, or several of them",
    )
    launch_config: Path | None = Field(
        None,
        description="config for accelerate launch: a file, or kaggle_t4x2, gpu, cpu, multi_node "
        "[default: one GPU, or else one process on the CPU]",
    )
    figures: bool = Field(True, description="draw the report's figures (needs lastkd[plots])")
    time_budget: Annotated[str | None, AfterValidator(checked_duration)] = Field(
        None, description="time after which to stop with a checkpoint: 11h, 90m, 10h30m"
    )
    settings: dict[str, Any] = Field(default_factory=dict)
    teacher_settings: dict[str, Any] = Field(default_factory=dict)
    standalone_settings: dict[str, Any] = Field(default_factory=dict)
    distilled_settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of all runs and the report."""
        return self.out or Path("runs") / f"{self.data.resolve().name}_{self.split}"

    @property
    def seed_numbers(self) -> range:
        """The students' seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def trains_teacher(self) -> bool:
        """Whether the teacher is one of the runs."""
        return self.teacher is None and "teacher" in self.only

    @property
    def teacher_folder(self) -> Path:
        return self.folder / "teacher"

    @property
    def teacher_checkpoint(self) -> Path:
        """The checkpoint that teaches, which the sequence may have yet to make."""
        return self.teacher or self.teacher_folder / f"{self.teacher_epoch}.safetensors"

    def standalone_folder(self, seed: int) -> Path:
        """The parent of the run folders of one seed's standalone students."""
        return self.folder / f"seed-{seed}" / "standalone"

    def distilled_folder(self, seed: int) -> Path:
        """The parent of the run folders of one seed's distilled students."""
        return self.folder / f"seed-{seed}" / "distilled"

    def soft_labels(self, seed: int) -> Path:
        """The teacher cache of one seed: soft labels depend on the views, and these on the seed."""
        return self.folder / f"seed-{seed}" / "soft_labels"

    # --- settings of each run ---------------------------------------------------------------

    def train_options(
        self, models: tuple[str, ...], seed: int, folder: Path, *, teacher: bool
    ) -> dict[str, Any]:
        """The options of `lastkd.train` for the teacher or for standalone students."""
        of_kind = self.teacher_settings if teacher else self.standalone_settings
        return {
            "model": models,
            **self._of_every_run(seed, folder),
            **_known(self.settings, TrainSettings),
            **of_kind,
        }

    def distill_options(self, variants: tuple[str, ...], seed: int, folder: Path) -> dict[str, Any]:
        """The options of `lastkd.distill`."""
        options = {
            "variant": variants,
            **self._of_every_run(seed, folder),
            "teacher": self.teacher_checkpoint,
            "teacher_cache": self.soft_labels(seed),
            **_known(self.settings, DistillSettings, self.distilled_settings),
            **self.distilled_settings,
        }
        if options.get("tau") == AUTO or "standalone" in self.only:
            options["standalone"] = self.standalone_folder(seed)
        return options

    def _of_every_run(self, seed: int, folder: Path) -> dict[str, Any]:
        return {"data": self.data, "split": self.split, "seed": seed, "run": folder}

    def check(self) -> None:
        """Checks inputs and settings before anything is started.

        Raises:
            UserError: a setting is wrong, or data or teacher don't exist.
        """
        if not self.data.exists():
            raise UserError(
                f"{self.data}: no such store; make one with lastkd prepare SOURCE --out "
                f"{self.data} or give yours with --data"
            )
        missing = missing_checkpoint(self.teacher) if self.teacher else None
        if missing is not None:
            raise UserError(f"{missing}: no such teacher; leave --teacher out, and one is trained")
        distils_existing = "distilled" in self.only and not (self.teacher or self.trains_teacher)
        if distils_existing and not self.teacher_checkpoint.exists():
            raise UserError(
                f"{self.teacher_checkpoint}: no such teacher to distil; add teacher to --only, or "
                "give one with --teacher"
            )
        self.check_settings()

    def check_settings(self) -> None:
        """Checks the settings of every kind of run.

        Raises:
            UserError: one is wrong.
        """
        get_architecture(self.teacher_model)
        self.resolved_train(self.teacher_model, 0, self.teacher_folder, teacher=True)
        for variant in self.variant:
            self.likely_distill(variant)
        above = self.standalone_folder(0)
        resolve_models(self.train_options(self.variant, 0, above, teacher=False), None)

    def likely_distill(self, variant: str) -> DistillSettings:
        """The settings of a distillation; `tau: auto` is replaced by a guess of equal cost."""
        options = self.distill_options((variant,), 0, self.distilled_folder(0))
        if options.get("tau") == AUTO:
            options["tau"] = USUAL_TAU
        return resolve(DistillSettings, options | {"variant": variant})

    def resolved_train(
        self, model: str, seed: int, folder: Path, *, teacher: bool
    ) -> TrainSettings:
        """The settings of the teacher's or a standalone student's run."""
        options = self.train_options((model,), seed, folder, teacher=teacher)
        return resolve(TrainSettings, options | {"model": model})


def _known(
    settings: dict[str, Any],
    kind: type[TrainSettings | DistillSettings],
    of_kind: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings that a kind of run has.

    Args:
        of_kind: settings of this kind alone, which may name the loss.
    """
    names = setting_names(kind, {**settings, **(of_kind or {})})
    return {name: value for name, value in settings.items() if name in names}


def without_missing_figures(sequence: SequenceSettings, echo: Echo) -> SequenceSettings:
    """The sequence; without figures if matplotlib is missing, as hours later it would fail."""
    if not sequence.figures or importlib.util.find_spec("matplotlib") is not None:
        return sequence
    echo(
        "matplotlib isn't installed, so the report will have no figures; pip install "
        "'lastkd[plots]', and the same command adds them, also later"
    )
    return sequence.model_copy(update={"figures": False})


def config_file(name: Path) -> Path:
    """The file of that path, or one in `configs/sequence` of that name.

    Raises:
        UserError: there is neither.
    """
    if name.is_file():
        return name
    known = sorted(path.stem for path in (CONFIGS / "sequence").glob("*.yaml"))
    if name.stem in known and name.parent == Path():
        return CONFIGS / "sequence" / f"{name.stem}.yaml"
    raise UserError(f"{name}: no such file or sequence; {nearest(name.stem, known)}")


def sequence_settings(given: dict[str, Any], file: Path | None) -> SequenceSettings:
    """A sequence's settings from a file, overridden by the command line.

    Both may mix settings of the sequence with settings of its runs.

    Raises:
        UserError: a key is unknown or decided by the sequence, a value is invalid, or the store has
            several splits to choose from.
    """
    from_file = read_mapping(config_file(file)) if file else {}
    where = str(file or "settings")
    of_sequence = set(SequenceSettings.model_fields)
    of_runs = settings_of_runs(_flat(from_file) | given)
    for kind in ("settings", *SECTIONS):
        section = from_file.get(kind) or {}
        if not isinstance(section, dict):
            raise UserError(f"{where}: {kind} must hold 'key: value' lines, one setting each")
        _check_keys(section, of_runs, f"{where}: {kind}")
    _check_keys(from_file, of_sequence | of_runs, where)
    values: dict[str, Any] = {"data": default_paths().store}
    run_values: dict[str, Any] = {}
    for level in (from_file, given):
        for name, value in level.items():
            if value is None:
                continue
            if name == "settings":
                run_values |= value
            elif name in of_sequence:
                values[name] = value
            else:
                run_values[name] = value
    _check_keys(run_values, of_runs, where)
    # the command line overrides what the file gives to one kind of run
    overridden = {name for name in given if name in of_runs}
    for kind in SECTIONS:
        section = values.get(kind, {})
        values[kind] = {k: v for k, v in section.items() if k not in overridden and v is not None}
    sequence = validated(SequenceSettings, {**values, "settings": run_values}, where)
    if sequence.split == AUTO_SPLIT and holds_store(sequence.data):
        split = ClipStore.open(sequence.data).split_name()
        return sequence.model_copy(update={"split": split})
    return sequence


def _flat(from_file: dict[str, Any]) -> dict[str, Any]:
    """A file's settings of its distillations, including those in its sections."""
    sections = (from_file.get(name) for name in ("settings", "distilled_settings"))
    return from_file | {
        k: v for section in sections if isinstance(section, dict) for k, v in section.items()
    }


def _check_keys(settings: dict[str, Any], known: set[str], where: str) -> None:
    for key in settings:
        if key not in known:
            hint = nearest(key, known)
            if key in OF_THE_SEQUENCE:
                hint = "the sequence decides it for each run"
            raise UserError(f"{where}: unknown key {key!r}; {hint}")


def command_line(options: Mapping[str, Any]) -> list[str]:
    """Options as arguments of a command line: `--epochs 3 --no-compile --variant nano,base`."""
    arguments: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            arguments += [f"--{flag}", text]
    return arguments
