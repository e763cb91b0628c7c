"""Run on every rank by test_launch.py: trains, and says what the rank's student has become.

Options after the store and the run's folder are settings, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.accelerator import leave, make_accelerator
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training.loop import TrainingRun

QUICK = {"model": "last_e_nano", "epochs": 2, "frames": 8, "batch_size": 8}


def main(store: Path, folder: Path, given: dict[str, Any]) -> None:
    accelerator = make_accelerator()
    options = QUICK | given
    settings = resolve(TrainSettings, options)
    run = TrainingRun([settings], ClipStore.open(store), None, accelerator, [folder])
    run.run()
    (student,) = run.students
    digest = hashlib.sha256()
    for parameter in student.model.parameters():
        digest.update(parameter.detach().numpy().data)
    outcome = {"wrapped": type(student.replica.module).__name__, "digest": digest.hexdigest()}
    (folder / f"rank{accelerator.process_index}").write_text(json.dumps(outcome))
    del run, student
    leave(accelerator)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads("".join(sys.argv[3:]) or "{}"))
