"""The embedded synthetic set and its teacher, made once and kept in the user's cache directory.

Both are made by the ordinary commands in a process of their own, so they come out the same whether
one process or eight ask for them; a file lock lets one process work and the others wait.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from lastkd.data.store.prepare import SYNTHETIC, open_source, prepare
from lastkd.data.synthetic.settings import builtin_set
from lastkd.distributed.launch import environment_alone
from lastkd.errors import UserError
from lastkd.files.shipped import CONFIGS
from lastkd.version import __version__

TEACHER_MODEL = "last_v2_tiny"
TEACHER_EPOCHS = 12
"""Twice the students': a teacher is worth its time, which is spent once."""


def cache_folder() -> Path:
    """The cache of this version with these configs: a change of either starts afresh."""
    digest = hashlib.sha256(__version__.encode())
    for file in ("data/synthetic", "training/recipe", "training/synthetic"):
        digest.update((CONFIGS / f"{file}.yaml").read_bytes())
    digest.update((CONFIGS / "model" / f"{TEACHER_MODEL}.yaml").read_bytes())
    return user_cache_path("lastkd") / f"embedded-{digest.hexdigest()[:12]}"


def builtin_store() -> Path:
    """The embedded set as a prepared store."""
    out = cache_folder() / "store"
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_suffix(".lock")):
        if not out.exists():
            prepare(open_source(SYNTHETIC, synthetic=builtin_set()), out)
    return out


def builtin_teacher() -> Path:
    """A `tiny` LAST-v2 trained on the embedded set.

    Raises:
        UserError: its training failed (which shows above the error).
    """
    data = builtin_store()
    run = cache_folder() / "teacher"
    best = run / "best.safetensors"
    with FileLock(run.with_suffix(".lock")):
        if not best.exists():
            unfinished = run.with_name("teacher.part")  # one that was stopped goes on
            command = [sys.executable, "-m", "lastkd.train", "--model", TEACHER_MODEL]
            command += ["--data", str(data), "--run", str(unfinished)]
            command += ["--config", str(CONFIGS / "training" / "synthetic.yaml")]
            command += ["--epochs", str(TEACHER_EPOCHS)]
            if subprocess.run(command, env=environment_alone(), check=False).returncode:
                raise UserError(f"{unfinished}: the embedded teacher could not be trained")
            unfinished.rename(run)
    return best
