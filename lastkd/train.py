"""Standalone training: accelerate launch -m lastkd.train --model last_v2_base --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lastkd.architecture import short_name
from lastkd.command_line import run_command
from lastkd.config import TrainSettings, places, resolve
from lastkd.errors import UserError
from lastkd.settings_command import settings_command


def run(given: dict[str, Any], file: Path | None) -> None:
    """Trains one model by itself: a teacher, or a student's baseline.

    \b
      accelerate launch --config_file launch_configs/gpu.yaml \\
        -m lastkd.train --model last_v2_base --data data/ntu60 --split xsub
      python -m lastkd.train --model last_e_nano --data data/ntu60

    The run's folder gets settings.yaml, events.jsonl, best.safetensors (the best epoch by top-1 on
    the split's test part) and last.safetensors. The same command on a folder whose run was stopped
    goes on from its last checkpoint.
    """
    settings = resolve(TrainSettings, given, file=file)
    data = settings.data or places().store
    if not data.exists():
        named = "" if settings.data else " (the place in configs/data/places.yaml)"
        raise UserError(
            f"{data}: no such store{named}; make one with lastkd prepare SOURCE --out {data} "
            "or name yours with --data"
        )
    from lastkd.training.processes import make_accelerator, run_and_leave

    accelerator = make_accelerator(settings.accumulation)
    from lastkd.training.loop import train

    folder = settings.run or Path("runs") / short_name(settings.model_name)
    run_and_leave(
        accelerator,
        lambda: train(settings, data=data, teacher=None, folder=folder, accelerator=accelerator),
    )


def main() -> None:
    run_command(settings_command(TrainSettings, run), "python -m lastkd.train")


if __name__ == "__main__":
    main()
