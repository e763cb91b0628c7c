"""Objects that a user names as `package.module:attribute`: models, losses, readers, formats."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from lastkd.errors import UserError

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def is_import_path(name: str) -> bool:
    """Whether `name` has the form `package.module:attribute`."""
    return _IMPORT_PATH.fullmatch(name) is not None


def import_object(name: str, kind: str) -> Any:
    """Imports what `package.module:attribute` names.

    Modules in the working directory are found too, as `python -m` finds them.

    Args:
        name: the import path.
        kind: what the attribute should be, for the error (`"function"`, `"class"`).

    Raises:
        UserError: `name` has another form, or the module or its attribute doesn't exist.
    """
    if not is_import_path(name):
        raise UserError(f"{name}: isn't of the form package.module:attribute")
    module_name, attribute = name.split(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as python -m does, and a console script doesn't
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name}: there is no module {error.name!r}; install it, or start in the folder that "
            "contains it"
        ) from None
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise UserError(
            f"{name}: {module_name} ({getattr(module, '__file__', 'built in')}) has no {kind} "
            f"{attribute!r}"
        ) from None
