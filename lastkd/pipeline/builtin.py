"""The built-in synthetic set with its tiny teacher, and the short sequence of the demo.

Store and teacher are made once, kept in the user's cache directory, and made by the ordinary
commands in processes of their own, so that they come out the same whether one process or eight
ask for them.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path

from lastkd.distributed.launch import Launch
from lastkd.distributed.stop_requests import Stopped
from lastkd.files.lock import locked
from lastkd.files.shipped import CONFIGS
from lastkd.files.yaml_files import read_mapping
from lastkd.pipeline.runner import PipelineRunner
from lastkd.pipeline.settings import SECTIONS, SequenceSettings
from lastkd.pipeline.steps import PreparationStep, SequenceStep, TrainingStep, make_steps
from lastkd.runs.events import BEST
from lastkd.runs.log import Run
from lastkd.version import __version__

TEACHER_MODEL = "last_v2_tiny"


def builtin_sequence(folder: Path, seed: int = 0) -> SequenceSettings:
    """A sequence of minutes on the built-in set: teacher, nano standalone, nano distilled.

    Args:
        folder: holds the store and all runs.
        seed: of all three runs.
    """
    values = read_mapping(CONFIGS / "training" / "synthetic.yaml")
    sections = {name: values.pop(name, {}) for name in SECTIONS}
    sections["teacher_settings"] |= {"seed": seed}
    return SequenceSettings(
        data=folder / "store",
        split="xsub",
        out=folder,
        teacher_model=TEACHER_MODEL,
        teacher_epoch="last",
        variant=("nano",),
        first_seed=seed,
        settings=values,
        **sections,
    )


def builtin_steps(sequence: SequenceSettings) -> list[SequenceStep]:
    """The steps of a sequence on the built-in set: the store and the runs, no report."""
    runs = [step for step in make_steps(sequence) if isinstance(step, TrainingStep)]
    return [PreparationStep(sequence.data), *runs]


def cache_folder() -> Path:
    """The cache of this version and these configs: a change of either gives a new folder."""
    digest = hashlib.sha256(__version__.encode())
    for file in ("data/synthetic", "training/recipe", "training/synthetic"):
        digest.update((CONFIGS / f"{file}.yaml").read_bytes())
    digest.update((CONFIGS / "model" / f"{TEACHER_MODEL}.yaml").read_bytes())
    return user_cache_path("lastkd") / f"embedded-{digest.hexdigest()[:12]}"


def builtin_store() -> Path:
    """The built-in set as a prepared store."""
    store = cache_folder() / "store"
    _make(store.exists, steps=1)
    return store


def builtin_teacher() -> Path:
    """The checkpoint of a tiny LAST-v2 trained on the built-in set.

    Raises:
        UserError: its training failed; its output stands above the error.
    """

    def trained() -> bool:
        run = Run.find(folder)
        return run is not None and run.finished

    folder = cache_folder() / "teacher"
    _make(trained, steps=2)
    return folder / BEST


def _make(done: Callable[[], bool], steps: int) -> None:
    """Does the first steps of the sequence in the cache; one process works, the others wait."""
    folder = cache_folder()
    advice = "choose another cache folder by XDG_CACHE_HOME"
    with locked(folder / "builtin.lock", taken=None, advice=advice):
        if done():
            return
        pending = builtin_steps(builtin_sequence(folder))[:steps]
        try:
            # no launcher, because this process may itself have been started by one
            PipelineRunner(pending, folder, Launch()).run()
        except Stopped as stop:
            sys.exit(stop.exit_code)
