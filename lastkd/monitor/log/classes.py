"""Which classes a run gained and lost most, against its baseline or its own first evaluation."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastkd.files.json_text import parse_json
from lastkd.monitor.log.groups import Compared
from lastkd.monitor.log.run import Run

_LONGEST_HEADER = 16 << 20


@dataclass(frozen=True)
class ClassChange:
    """One class: its accuracies in percent."""

    label: int
    name: str
    before: float
    now: float

    @property
    def gain(self) -> float:
        return self.now - self.before


def checkpoint_metadata(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: the metadata in its safetensors header, parsed where JSON.

    Empty where the file is missing or isn't one.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > _LONGEST_HEADER:
                return {}
            metadata = parse_json(file.read(size)).get("__metadata__", {})
    except (OSError, ValueError, struct.error, AttributeError):
        return {}
    about: dict[str, Any] = {}
    for key, value in metadata.items():
        try:
            about[key] = parse_json(value)
        except (ValueError, TypeError):
            about[key] = value
    return about


def class_names(run: Run) -> list[str]:
    """The names that the run's own checkpoints give, or none."""
    for file in ("best.safetensors", "last.safetensors"):
        about = checkpoint_metadata(run.folder / file).get("info")
        names = about.get("class_names") if isinstance(about, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return []


def class_changes(run: Run, compared: Compared, names: list[str]) -> tuple[str, list[ClassChange]]:
    """What the classes are compared with, in words, and each class, the most gained first.

    A distilled run is compared with its baseline's last evaluation, any other with its own first.
    """
    evaluations = sorted(run.epochs)
    if not evaluations:
        return "", []
    now = run.epochs[evaluations[-1]].by_class
    baseline = compared.baseline
    if baseline is not None and baseline.epochs:
        words = f"against {baseline.name}"
        before = baseline.epochs[max(baseline.epochs)].by_class
    else:
        words = f"since epoch {evaluations[0]}"
        before = run.epochs[evaluations[0]].by_class
    changes = [
        ClassChange(label, names[label] if label < len(names) else f"class {label}", a, b)
        for label, (a, b) in enumerate(zip(before, now, strict=False))
        if a is not None and b is not None
    ]
    return words, sorted(changes, key=lambda change: -change.gain)
