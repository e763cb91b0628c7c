"""Reading YAML into typed models, with errors that a user can act on."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lastkd.errors import UserError, nearest

LARGEST_FILE = 2**16
"""Bytes; no file of settings comes near."""
DEEPEST = 50
"""Nested levels; Python's parser runs out of stack at some hundreds."""

Model = TypeVar("Model", bound=BaseModel)


class _ShallowLoader(yaml.SafeLoader):
    """The safe loader, up to `DEEPEST` nested levels."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.level += 1
        if self.level > DEEPEST:
            raise yaml.YAMLError(f"it nests more than {DEEPEST} levels, which no setting needs")
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, read by the safe loader.

    Raises:
        UserError: the file is missing, isn't YAML, or holds something other than a mapping.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(text) > LARGEST_FILE:
        raise UserError(f"{path}: is too large for a file of settings; check the path")
    try:
        content = yaml.load(text.decode("utf-8"), _ShallowLoader)
    # not YAMLError alone: its constructors of numbers and dates raise others
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: is not valid YAML ({reason})") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must hold 'key: value' lines, one setting each")
    return content


def validated(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """`values` as a `model`, where `where` names their origin in the error.

    Raises:
        UserError: a key is unknown (the nearest known one is named) or a value doesn't fit.
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
    """A typed model from a YAML file; errors as in `read_mapping` and `validated`."""
    return validated(model, read_mapping(path), str(path))
