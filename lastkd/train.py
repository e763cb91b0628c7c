"""Standalone training: accelerate launch -m lastkd.train --model last_v2_base --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastkd.cli.options import settings_command
from lastkd.entry_point import run_command
from lastkd.errors import UserError
from lastkd.settings.architecture import short_name
from lastkd.settings.resolve import default_paths, resolve
from lastkd.settings.runs import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


def train_model(
    model: str,
    *,
    data: str | Path,
    run: str | Path | None = None,
    config: str | Path | None = None,
    accelerator: Accelerator | None = None,
    **settings: Any,
) -> Path:
    """Trains one model by itself, as `python -m lastkd.train` does.

    Args:
        model: `last_v2_base`, `last_e_nano`, ... or `package.module:factory`.
        data: a prepared store.
        run: folder of the run; default `runs/<model>`.
        config: a YAML file with settings; what is given here goes before it.
        settings: any of `lastkd.settings.runs.TrainSettings`: `epochs`, `seed`, `batch_size`, ...

    Returns:
        The best checkpoint; `last.safetensors` lies beside it.

    Raises:
        UserError: as the command's.
    """
    from lastkd.distributed.accelerator import make_accelerator
    from lastkd.training.loop import train

    given = settings | {"model": model, "data": Path(data)}
    resolved = resolve(TrainSettings, given, file=Path(config) if config else None)
    accelerator = accelerator or make_accelerator(resolved.accumulation)
    folder = Path(run or resolved.run or Path("runs") / short_name(model))
    return train(resolved, data=Path(data), teacher=None, folder=folder, accelerator=accelerator)[0]


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
    data = settings.data or default_paths().store
    if not data.exists():
        named = "" if settings.data else " (the place in configs/data/places.yaml)"
        raise UserError(
            f"{data}: no such store{named}; make one with lastkd prepare SOURCE --out {data} "
            "or name yours with --data"
        )
    from lastkd.distributed.accelerator import make_accelerator, run_and_leave

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
