"""A command's options made from typed settings."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lastkd.entry_point import PATH
from lastkd.errors import nearest
from lastkd.settings.architecture import is_factory
from lastkd.settings.resolve import defaults, variants
from lastkd.settings.runs import ConfiguredSettings

_CLICK_TYPES: dict[type, Any] = {
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: PATH,
}


class Variants(click.ParamType):  # type: ignore[type-arg]
    """`large`, `nano,large`, `all` or factories, as a tuple: the variants first, by size."""

    name = "variants"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        said = variants() if value == "all" else [part.strip() for part in value.split(",")]
        for variant in said:
            if variant not in variants() and not is_factory(variant):
                self.fail(
                    f"{variant!r} is unknown; {nearest(variant, [*variants(), 'all'])} "
                    "(or name your own student as package.module:factory)"
                )
        sizes = [variant for variant in variants() if variant in said]
        return tuple(sizes + [name for name in dict.fromkeys(said) if is_factory(name)])


class Temperature(click.ParamType):  # type: ignore[type-arg]
    """A number, or `auto` as it is."""

    name = "float or auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        if value == "auto":
            return "auto"
        return float(click.FLOAT.convert(value, param, ctx))


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """`0.5` or `0.3,0.5`, as a tuple of numbers, each once."""

    name = "float,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        said = [click.FLOAT.convert(part.strip(), param, ctx) for part in value.split(",")]
        return tuple(dict.fromkeys(said))


def _click_type(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is typing.Literal:
        return click.Choice(typing.get_args(annotation))
    return _CLICK_TYPES[annotation]


def setting_options(kind: type[ConfiguredSettings], **types_: Any) -> list[click.Option]:
    """An option for every setting, those first that are asked for most.

    Args:
        types_: by setting, what its option takes in place of the setting's own type.
    """
    shipped = defaults(kind)
    options: list[click.Option] = []
    for name, field in kind.model_fields.items():
        default = shipped.get(name)
        shown = f"  [default: {default}]" if default is not None else ""
        spelled = name.replace("_", "-")
        flag = field.annotation is bool
        options.append(
            click.Option(
                [f"--{spelled}/--no-{spelled}" if flag else f"--{spelled}"],
                type=click.BOOL if flag else types_.get(name) or _click_type(field.annotation),
                default=None,
                help=f"{field.description}{shown}",
            )
        )
    leading = {"model": 0, "variant": 0, "data": 1, "split": 2, "teacher": 3, "run": 4}
    leading |= {
        "teacher_cache": 4,
        "epochs": 5,
        "seed": 6,
        "batch_size": 7,
        "lr": 8,
        "loss": 9,
        "alpha": 10,
        "tau": 11,
        **dict.fromkeys(("ce_weight", "soft_weight", "dkd_alpha", "dkd_beta"), 12),
        **dict.fromkeys(("dist_beta", "dist_gamma", "soft_warmup"), 12),
    }
    options.sort(key=lambda option: leading.get(option.name or "", 99))
    return options


def settings_command(
    kind: type[ConfiguredSettings],
    run: Callable[..., None],
    **types_: Any,
) -> click.Command:
    """A command with an option for every setting; `run(given, file)` gets what was said.

    `run`'s docstring becomes the help.

    Args:
        types_: as in `setting_options`.
    """
    options: list[click.Parameter] = [*setting_options(kind, **types_)]
    options.append(
        click.Option(
            ["--config"],
            type=PATH,
            help="YAML file with settings; the command line goes before it",
        )
    )

    def callback(config: Path | None, **given: Any) -> None:
        run({name: value for name, value in given.items() if value is not None}, config)

    return click.Command(
        kind.__name__,
        params=options,
        callback=callback,
        help=run.__doc__,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
