"""How `--teacher` is spelt: one teacher, or several whose ensemble teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.plugins import is_import_path


@dataclass(frozen=True)
class TeacherSource:
    """One teacher.

    Attributes:
        checkpoint: None for a factory whose model has its weights already.
        factory: `package.module:factory` for a model that isn't one of lastkd's.
    """

    checkpoint: Path | None
    factory: str | None = None

    def __str__(self) -> str:
        return "@".join(str(part) for part in (self.checkpoint, self.factory) if part is not None)


def teacher_sources(text: str | Path) -> tuple[TeacherSource, ...]:
    """The teachers that a setting names.

    Args:
        text: `FILE`, `package.module:factory` or `FILE@package.module:factory` (a checkpoint of a
            model of one's own); several are separated by commas.
    """
    if Path(text).exists():  # a file whose name has a comma or an @
        return (TeacherSource(Path(text)),)
    sources: list[TeacherSource] = []
    for part in str(text).split(","):
        word = part.strip()
        path, _, factory = word.rpartition("@")
        if is_import_path(word):
            sources.append(TeacherSource(None, word))
        elif path and is_import_path(factory):
            sources.append(TeacherSource(Path(path), factory))
        elif word:
            sources.append(TeacherSource(Path(word)))
    return tuple(sources)


def missing_checkpoint(text: str | Path) -> Path | None:
    """The first checkpoint among the teachers that doesn't exist."""
    paths = [source.checkpoint for source in teacher_sources(text)]
    return next((path for path in paths if path is not None and not path.exists()), None)


def joined(value: Any) -> Any:
    """A list of teachers as the one text that stands for it; anything else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def join_teacher_words(args: Sequence[str]) -> list[str]:
    """Command-line words with `--teacher A B` spelt as `--teacher A,B`."""
    words: list[str] = []
    values = -1  # of the --teacher option that is being read; -1 outside it
    for word in args:
        if word.startswith("-"):
            values = 0 if word == "--teacher" else -1
        if word.startswith("-") or values <= 0:
            words.append(word)
        else:
            words[-1] += f",{word}"
        if values >= 0 and not word.startswith("-"):
            values += 1
    return words


def check_distinct(sources: Sequence[TeacherSource]) -> None:
    """
    Raises:
        UserError: a teacher is named twice.
    """
    for number, source in enumerate(sources):
        if source in sources[:number]:
            raise UserError(f"--teacher names {source} twice; name each teacher once")
