"""Reads YAML files into typed models, with errors that a user can act on."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lastkd.errors import UserError, nearest

LARGEST_FILE = 2**16
"""In bytes; far more than any settings file needs."""
DEEPEST = 50
"""Nested levels; the YAML parser recurses and runs out of stack at some hundreds."""

Model = TypeVar("Model", bound=BaseModel)


class _ShallowLoader(yaml.SafeLoader):
    """The safe loader, limited to `DEEPEST` nested levels."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.level += 1
        if self.level > DEEPEST:
            raise yaml.YAMLError(f"it nests more than {DEEPEST} levels, which no setting needs")
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads a mapping from a YAML file with the safe loader.

    Raises:
        UserError: the file is missing, isn't YAML, or holds something other than a mapping.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(text) > LARGEST_FILE:
        raise UserError(f"{path}: is too large for a settings file; check the path")
    try:
        content = yaml.load(text.decode("utf-8"), _ShallowLoader)
    # the constructors of numbers and dates raise other errors than YAMLError
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: is not valid YAML ({reason})") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must contain 'key: value' lines, one per setting")
    return content


def validated(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Validates `values` as a `model`.

    Args:
        where: the origin of the values, for the error.

    Raises:
        UserError: a key is unknown (the nearest known one is named) or a value is invalid.
    """
    for key in values:
        if key not in model.model_fields:
            raise UserError(f"{where}: unknown key {key!r}; {nearest(key, model.model_fields)}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        shown = f" {key} = {reprlib.repr(first['input'])}" if key else ""
        raise UserError(f"{where}:{shown}: {message[0].lower()}{message[1:]}") from None


def read_model(model: type[Model], path: Path) -> Model:
    """Reads a typed model from a YAML file; raises as `read_mapping` and `validated` do."""
    return validated(model, read_mapping(path), str(path))
