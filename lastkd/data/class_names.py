"""Names of classes where a format has none: numbers, or the lines of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lastkd.errors import UserError


def numbered_classes(classes: int) -> tuple[str, ...]:
    """`class 0`, `class 1`, ..."""
    return tuple(f"class {label}" for label in range(classes))


def read_class_names(path: Path, known: Sequence[str], kind: str) -> tuple[str, ...]:
    """Names for the classes of a source that only numbers them.

    Args:
        path: a text file in UTF-8, a name a line, that of label 0 first. It may name classes that
            no clip has.
        known: the source's own names, `class 0` and so on.
        kind: of the source, as an error names it.

    Raises:
        UserError: the file can't be read, names a class twice or too few of them, or the source
            has names of its own.
    """
    needed = len(known)
    if tuple(known) != numbered_classes(needed):
        raise UserError(
            f"{path}: the classes of {kind} have names already, such as {known[0]!r}; leave "
            "--class-names out"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: isn't text in UTF-8; give a file with a name a line") from None
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if "" in names:
        line = 1 + names.index("")
        raise UserError(f"{path}: line {line} is empty; give each label a line with its name")
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise UserError(f"{path}: names {times} classes {name!r}; give each a name of its own")
    if len(names) < needed:
        raise UserError(
            f"{path}: has {len(names)} names for {needed} classes; give a name a line, that of "
            "label 0 first"
        )
    return names
