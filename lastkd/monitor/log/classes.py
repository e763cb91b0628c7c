"""The classes that a run gained and lost, against its baseline or its first evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lastkd.files.json_text import parse_json
from lastkd.files.safetensors_header import metadata_of
from lastkd.monitor.log.groups import Compared
from lastkd.monitor.log.run import Run


@dataclass(frozen=True)
class ClassChange:
    """The accuracy on one class, before and now, in percent."""

    label: int
    name: str
    before: float
    now: float

    @property
    def gain(self) -> float:
        return self.now - self.before


def checkpoint_metadata(path: Path) -> dict[str, Any]:
    """The metadata in the header of a safetensors file, with JSON values parsed.

    Empty for a file that is missing or isn't in this format.
    """
    parsed: dict[str, Any] = {}
    for key, value in metadata_of(path).items():
        try:
            parsed[key] = parse_json(value)
        except (ValueError, TypeError):
            parsed[key] = value
    return parsed


def class_names(run: Run) -> list[str]:
    """The class names in the run's checkpoints, or none."""
    for file in ("best.safetensors", "last.safetensors"):
        info = checkpoint_metadata(run.folder / file).get("info")
        names = info.get("class_names") if isinstance(info, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            return names
    return []


def class_changes(run: Run, compared: Compared, names: list[str]) -> tuple[str, list[ClassChange]]:
    """The changes of a run's last evaluation, the largest gain first.

    A distilled run is compared with the last evaluation of its baseline, any other run with its
    own first evaluation.

    Returns:
        What the run is compared with, as text, and the changes.
    """
    evaluations = sorted(run.epochs)
    if not evaluations:
        return "", []
    now = run.epochs[evaluations[-1]].by_class
    baseline = compared.baseline
    if baseline is not None and baseline.epochs:
        reference = f"against {baseline.name}"
        before = baseline.epochs[max(baseline.epochs)].by_class
    else:
        reference = f"since epoch {evaluations[0]}"
        before = run.epochs[evaluations[0]].by_class
    changes = [
        ClassChange(label, names[label] if label < len(names) else f"class {label}", a, b)
        for label, (a, b) in enumerate(zip(before, now, strict=False))
        if a is not None and b is not None
    ]
    return reference, sorted(changes, key=lambda change: -change.gain)
