"""Reading YAML into typed models, with errors that a user can act on."""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lastkd.errors import UserError, nearest

LARGEST_FILE = 2**16
"""Bytes; nothing that a person writes comes near."""
DEEPEST = 50
"""Open brackets; the scanner's time grows with their square."""

Model = TypeVar("Model", bound=BaseModel)


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
    if _depth(text) > DEEPEST:
        raise UserError(f"{path}: nests more than {DEEPEST} brackets, which no setting needs")
    try:
        content = yaml.safe_load(text.decode("utf-8"))
    # beside YAMLError: what its constructors of numbers and dates say, and too deep a nesting
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{path}: is not valid YAML ({reason})") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: must hold 'key: value' lines, one setting each")
    return content


def _depth(text: bytes) -> int:
    """How many brackets are open at once, at most."""
    depth = deepest = 0
    for bracket in re.findall(rb"[\[{\]}]", text):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


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
