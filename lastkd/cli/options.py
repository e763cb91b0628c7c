"""Command-line options made from typed settings: one for each field, in the fields' order."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lastkd.entry_point import PATH
from lastkd.errors import UserError
from lastkd.files.yaml_files import read_mapping
from lastkd.losses import LOSSES, Loss, load_loss
from lastkd.plugins import is_import_path
from lastkd.settings.resolve import defaults
from lastkd.settings.runs import ConfiguredSettings
from lastkd.settings.students import parse_variants, students
from lastkd.settings.teachers import join_teacher_words

_CLICK_TYPES: dict[type, Any] = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: PATH,
}
LOSS_HEADING = "Loss"
LOSS_NUMBERS = "*"
"""The key in `click_types` for all numeric loss settings without an entry of their own."""
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Variants(click.ParamType):  # type: ignore[type-arg]
    """Students as `parse_variants` takes them, as a tuple."""

    name = "variants"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        try:
            return parse_variants(value)
        except ValueError as error:
            self.fail(str(error))


class Temperature(click.ParamType):  # type: ignore[type-arg]
    """A number, or the word `auto`."""

    name = "float or auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        if value == "auto":
            return "auto"
        return float(click.FLOAT.convert(value, param, ctx))


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """`0.5` or `0.3,0.5`, as a tuple of numbers without repetitions."""

    name = "float,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        numbers = [click.FLOAT.convert(part.strip(), param, ctx) for part in value.split(",")]
        return tuple(dict.fromkeys(numbers))


class SettingOption(click.Option):
    """The option of one setting, shown in the help under its group's heading."""

    def __init__(
        self, name: str, annotation: Any, help_text: str, heading: str, type_: Any = None
    ) -> None:
        spelled = name.replace("_", "-")
        flag = annotation is bool
        super().__init__(
            [f"--{spelled}/--no-{spelled}" if flag else f"--{spelled}"],
            type=type_ or _click_type(annotation),
            default=None,
            help=help_text,
        )
        self.heading = heading


def _click_type(annotation: Any) -> Any:
    """The type of a field's option; None if an option can't hold such a value."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        annotation = parts[0] if len(parts) == 1 else None
    if typing.get_origin(annotation) is typing.Literal:
        return click.Choice(typing.get_args(annotation))
    if annotation == tuple[str, ...]:
        return click.STRING  # the model's validator splits it
    return _CLICK_TYPES.get(annotation)


def _shown(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return ""
    return f"  [default: {default:g}]" if isinstance(default, float) else f"  [default: {default}]"


def options_of(
    model: type[BaseModel], click_types: Mapping[str, Any] | None = None
) -> list[SettingOption]:
    """An option for every setting of a command, in the order of the help.

    That order is the fields' in the model's class, then in its base classes from left to right. The
    options of the losses follow the field `loss`. Mappings and lists can be given in files alone.

    Args:
        click_types: by setting, the type of its option if it isn't the field's.
    """
    click_types = click_types or {}
    shipped = defaults(model) if issubclass(model, ConfiguredSettings) else {}
    options: list[SettingOption] = []
    for name, heading in _ordered(model):
        field = model.model_fields[name]
        default = shipped.get(name, None if field.is_required() else field.default)
        if isinstance(default, tuple):
            default = "all"
        help_text = f"{field.description}{_shown(default)}"
        if field.annotation is Loss:
            options.append(SettingOption(name, str, help_text, LOSS_HEADING))
            options += loss_options(list(LOSSES.values()), click_types)
        elif type_ := click_types.get(name) or _click_type(field.annotation):
            options.append(SettingOption(name, field.annotation, help_text, heading, type_))
    return options


def _ordered(model: type[BaseModel]) -> list[tuple[str, str]]:
    """The model's fields with the headings of the classes that declare them."""
    headings: dict[str, str] = {}
    for kind in model.__mro__:
        for name in inspect.get_annotations(kind):
            if name in model.model_fields:
                headings.setdefault(name, getattr(kind, "heading", "Options"))
    return list(headings.items())


def loss_options(
    losses: Sequence[type[Loss]], click_types: Mapping[str, Any]
) -> list[SettingOption]:
    """An option for every setting of some losses; the help names the losses that have it."""
    options: list[SettingOption] = []
    for name in dict.fromkeys(name for loss in losses for name in loss.setting_names()):
        fields = {
            loss.name: loss.model_fields[name] for loss in losses if name in loss.model_fields
        }
        of_all = len(fields) == len(LOSSES)
        prefix = "" if of_all else f"{', '.join(fields)}: "
        first = next(iter(fields.values()))
        help_text = f"{prefix}{first.description or ''}{_shown_defaults(name, fields)}"
        type_ = click_types.get(name) or _click_type(first.annotation)
        if name not in click_types and first.annotation in (int, float):
            type_ = click_types.get(LOSS_NUMBERS, type_)
        if type_ is not None:
            options.append(SettingOption(name, first.annotation, help_text, LOSS_HEADING, type_))
    return options


def _shown_defaults(name: str, fields: Mapping[str, FieldInfo]) -> str:
    """The default of a setting: one value if they all share it, else one per student or loss."""
    by_loss = {loss: field.default for loss, field in fields.items() if not field.is_required()}
    by_student = {
        v: getattr(one.kd, name) for v, one in students().items() if list(fields) == ["kd"]
    }
    values = by_student or by_loss
    if len(set(values.values())) <= 1:
        return _shown(next(iter(values.values()), None))
    return f"  [default: {', '.join(f'{owner} {value:g}' for owner, value in values.items())}]"


class SettingsCommand(click.Command):
    """A command with options made from settings, in groups.

    If `--loss`, or the file given with `--config`, names a loss from outside as
    `package.module:Class`, the settings of that class are options too. A command without
    arguments reads `--teacher A B` as `--teacher A,B`.

    Args:
        click_types: as in `options_of`, for the settings of such a loss.
    """

    def __init__(
        self, *args: Any, click_types: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings = CONTEXT
        self.click_types = click_types or {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if all(isinstance(param, click.Option) for param in self.params):
            args = join_teacher_words(args)
        if any(option.name == "loss" for option in self.params):
            name = _named_loss(args)
            if is_import_path(name):
                ctx.meta[__name__] = loss_options([load_loss(name)], self.click_types)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        added: list[SettingOption] = ctx.meta.get(__name__, [])
        names = {option.name for option in added}
        return [*(one for one in super().get_params(ctx) if one.name not in names), *added]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                heading = option.heading if isinstance(option, SettingOption) else "Options"
                groups.setdefault(heading, []).append(record)
        groups |= {"Options": groups.pop("Options")}  # --config and --help come last
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _named_loss(args: Sequence[str]) -> str:
    """The loss that the command line or its settings file names; empty if neither does."""
    given = {"--loss": "", "--config": ""}
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in given:
            given[name] = value if equals else "".join(args[index + 1 : index + 2])
    if given["--loss"] or not given["--config"]:
        return given["--loss"]
    try:
        return str(read_mapping(Path(given["--config"])).get("loss", ""))
    except UserError:
        return ""  # reading the settings later reports what is wrong with the file


def settings_command(
    kind: type[ConfiguredSettings],
    run: Callable[[dict[str, Any], Path | None], None],
    click_types: Mapping[str, Any] | None = None,
    extra: Sequence[click.Parameter] = (),
) -> SettingsCommand:
    """A command with an option for every setting, which calls `run(given, file)`.

    `given` holds the options that were given, by name. `run`'s docstring becomes the help.

    Args:
        click_types: as in `options_of`.
        extra: further parameters, whose values are in `given` too.
    """

    def callback(config: Path | None, **given: Any) -> None:
        run({name: value for name, value in given.items() if value is not None}, config)

    return SettingsCommand(
        kind.__name__,
        params=[*options_of(kind, click_types), *extra, CONFIG],
        callback=callback,
        help=run.__doc__,
        click_types=click_types,
    )


CONFIG = click.Option(
    ["--config"], type=PATH, help="YAML file with settings; command-line options override it"
)
