"""What a sequence is told, and what each of its runs is told in turn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping, validated
from lastkd.pipeline.auto_tau import AUTO, USUAL_TAU
from lastkd.settings.architecture import get_architecture
from lastkd.settings.durations import checked_duration
from lastkd.settings.resolve import default_paths, resolve
from lastkd.settings.runs import DistillSettings, TrainSettings, setting_names
from lastkd.settings.students import model_of, parse_variants, students
from lastkd.settings.teachers import joined, missing_checkpoint

OF_THE_SEQUENCE = {
    *("data", "split", "seed", "run", "resume", "time_budget"),
    *("model", "variant", "teacher", "teacher_cache"),
}
"""Settings of a run that the sequence itself decides."""
_BY_KIND = ("teacher_settings", "standalone_settings", "distilled_settings")


def settings_of_runs(given: Mapping[str, Any] | None = None) -> set[str]:
    """The settings that a sequence hands on to its runs.

    Args:
        given: may name a loss from outside, whose settings are then included.
    """
    names = {*setting_names(TrainSettings), *setting_names(DistillSettings, given)}
    return names - OF_THE_SEQUENCE


KINDS = ("teacher", "standalone", "distilled")


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
    """A sequence: teacher, standalone students, distilled students, evaluations, report."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    heading: ClassVar[str] = "Sequence"

    data: Path = Field(
        description="prepared store (made by lastkd prepare)  "
        "[default: the path in configs/data/places.yaml]"
    )
    split: str = Field("xsub", description="split of the store: xsub, xview, xset, ...")
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
        None, description="stop with a checkpoint when so much time is over: 11h, 90m, 10h30m"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="of every run")
    teacher_settings: dict[str, Any] = Field(default_factory=dict)
    standalone_settings: dict[str, Any] = Field(default_factory=dict)
    distilled_settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.out or Path("runs") / f"{self.data.resolve().name}_{self.split}"

    @property
    def seed_numbers(self) -> range:
        """The students' seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def trains_teacher(self) -> bool:
        return self.teacher is None and "teacher" in self.only

    @property
    def teacher_folder(self) -> Path:
        return self.folder / "teacher"

    @property
    def teacher_checkpoint(self) -> Path:
        return self.teacher or self.teacher_folder / f"{self.teacher_epoch}.safetensors"

    def standalone_folder(self, seed: int) -> Path:
        """Holds the run folders of one seed's standalone students."""
        return self.folder / f"seed-{seed}" / "standalone"

    def distilled_folder(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}" / "distilled"

    def soft_labels(self, seed: int) -> Path:
        """Another seed sees other views, so each has soft labels of its own."""
        return self.folder / f"seed-{seed}" / "soft_labels"

    # --- what each run is told --------------------------------------------------------------

    def train_words(self, model: str, seed: int, folder: Path, *, teacher: bool) -> dict[str, Any]:
        """What lastkd.train is told for the teacher or for a standalone student."""
        own = self.teacher_settings if teacher else self.standalone_settings
        return {
            "model": model,
            **self._place(seed, folder),
            **_fitting(self.settings, TrainSettings),
            **own,
        }

    def distill_words(self, variants: tuple[str, ...], seed: int, folder: Path) -> dict[str, Any]:
        """What lastkd.distill is told."""
        said = {
            "variant": variants,
            **self._place(seed, folder),
            "teacher": self.teacher_checkpoint,
            "teacher_cache": self.soft_labels(seed),
            **_fitting(self.settings, DistillSettings, self.distilled_settings),
            **self.distilled_settings,
        }
        if said.get("tau") == AUTO:
            said["standalone"] = self.standalone_folder(seed)
        return said

    def _place(self, seed: int, folder: Path) -> dict[str, Any]:
        return {"data": self.data, "split": self.split, "seed": seed, "run": folder}

    def check(self) -> None:
        """Checks inputs and settings before anything is started.

        Raises:
            UserError: a setting is wrong, or data or teacher don't exist.
        """
        if not self.data.exists():
            raise UserError(
                f"{self.data}: no such store; make one with lastkd prepare SOURCE --out "
                f"{self.data} or name yours with --data"
            )
        missing = missing_checkpoint(self.teacher) if self.teacher else None
        if missing is not None:
            raise UserError(f"{missing}: no such teacher; leave --teacher away, and one is trained")
        distils_existing = "distilled" in self.only and not (self.teacher or self.trains_teacher)
        if distils_existing and not self.teacher_checkpoint.exists():
            raise UserError(
                f"{self.teacher_checkpoint}: no such teacher to distil; add teacher to --only, or "
                "name one with --teacher"
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
            model = model_of(variant)
            self.resolved_train(model, 0, self.standalone_folder(0), teacher=False)
            self.likely_distill(variant)

    def likely_distill(self, variant: str) -> DistillSettings:
        """The settings of a distillation, but for a tau that isn't known before its time."""
        said = self.distill_words((variant,), 0, self.distilled_folder(0))
        if said.pop("standalone", None) is not None:
            said["tau"] = USUAL_TAU
        return resolve(DistillSettings, said | {"variant": variant})

    def resolved_train(
        self, model: str, seed: int, folder: Path, *, teacher: bool
    ) -> TrainSettings:
        return resolve(TrainSettings, self.train_words(model, seed, folder, teacher=teacher))


def _fitting(
    said: dict[str, Any],
    kind: type[TrainSettings | DistillSettings],
    own: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings that a kind of run has.

    Args:
        own: settings of this kind alone, which may name the loss.
    """
    names = setting_names(kind, {**said, **(own or {})})
    return {name: value for name, value in said.items() if name in names}


def without_missing_figures(
    sequence: SequenceSettings, echo: Callable[[str], None]
) -> SequenceSettings:
    """The sequence without figures if matplotlib is missing, rather than a failure hours later."""
    if not sequence.figures or importlib.util.find_spec("matplotlib") is not None:
        return sequence
    echo(
        "matplotlib isn't installed, so the report will have no figures; pip install "
        "'lastkd[plots]', and the same command adds them, also later"
    )
    return sequence.model_copy(update={"figures": False})


def config_file(said: Path) -> Path:
    """A file of the user's, or one of `configs/sequence` by its name.

    Raises:
        UserError: it is neither.
    """
    if said.is_file():
        return said
    known = sorted(path.stem for path in (CONFIGS / "sequence").glob("*.yaml"))
    if said.stem in known and said.parent == Path():
        return CONFIGS / "sequence" / f"{said.stem}.yaml"
    raise UserError(f"{said}: no such file or sequence; {nearest(said.stem, known)}")


def sequence_settings(given: dict[str, Any], file: Path | None) -> SequenceSettings:
    """A sequence's settings from a file and, over it, the command line; both may be flat.

    Raises:
        UserError: a key is unknown or decided by the sequence itself, or a value doesn't fit.
    """
    from_file = read_mapping(config_file(file)) if file else {}
    where = str(file or "settings")
    own = set(SequenceSettings.model_fields)
    of_any_run = settings_of_runs(_flat(from_file) | given)
    for kind in ("settings", *_BY_KIND):
        section = from_file.get(kind) or {}
        if not isinstance(section, dict):
            raise UserError(f"{where}: {kind} must hold 'key: value' lines, one setting each")
        _check_keys(section, of_any_run, f"{where}: {kind}")
    _check_keys(from_file, own | of_any_run, where)
    said: dict[str, Any] = {}
    of_runs: dict[str, Any] = {}
    for level in (from_file, given):
        for name, value in level.items():
            if value is None:
                continue
            if name == "settings":
                of_runs |= value
            elif name in own:
                said[name] = value
            else:
                of_runs[name] = value
    _check_keys(of_runs, of_any_run, where)
    said.setdefault("data", default_paths().store)
    # what the command line says of every run goes before what a file says of one kind
    spoken = {name for name in given if name in of_any_run}
    for kind in _BY_KIND:
        section = said.get(kind, {})
        said[kind] = {k: v for k, v in section.items() if k not in spoken and v is not None}
    return validated(SequenceSettings, {**said, "settings": of_runs}, where)


def _flat(from_file: dict[str, Any]) -> dict[str, Any]:
    """A file's settings of its distillations, those in its sections included."""
    sections = (from_file.get(name) for name in ("settings", "distilled_settings"))
    return from_file | {k: v for one in sections if isinstance(one, dict) for k, v in one.items()}


def _check_keys(said: dict[str, Any], known: set[str], where: str) -> None:
    for key in said:
        if key not in known:
            hint = nearest(key, known)
            if key in OF_THE_SEQUENCE:
                hint = "the sequence decides it for each run"
            raise UserError(f"{where}: unknown key {key!r}; {hint}")


def option_words(said: dict[str, Any]) -> list[str]:
    """Settings as a command line spells them."""
    words: list[str] = []
    for name, value in said.items():
        spelled = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{spelled}" if value else f"--no-{spelled}")
        else:
            listed = ",".join(value) if isinstance(value, tuple) else str(value)
            words += [f"--{spelled}", listed]
    return words
