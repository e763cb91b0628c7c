"""Standalone training: accelerate launch -m lastkd.train --model last_v2_base --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastkd.cli.options import settings_command
from lastkd.entry_point import run_command
from lastkd.pipeline.request import on_split, require_store
from lastkd.settings.architecture import short_name
from lastkd.settings.resolve import default_paths, resolve
from lastkd.settings.runs import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


def train_model(
    model: str | None = None,
    *,
    data: str | Path | None = None,
    run: str | Path | None = None,
    config: str | Path | None = None,
    accelerator: Accelerator | None = None,
    **settings: Any,
) -> Path:
    """Trains one model without a teacher, as `python -m lastkd.train` does.

    Args:
        model: `last_v2_base`, `last_e_nano`, ... or `package.module:factory`. Only a `config` may
            give it instead.
        data: a prepared store; by default the path in `configs/data/places.yaml`.
        run: folder of the run; by default `runs/<model>`.
        config: a YAML file with settings, which the arguments override.
        settings: any of `lastkd.settings.runs.TrainSettings`: `epochs`, `seed`, `batch_size`, ...

    Returns:
        The best checkpoint; `last.safetensors` is beside it.

    Raises:
        UserError: a setting is unknown, missing or doesn't fit, the data can't be used, or the
            folder holds another run.
        lastkd.distributed.stop_requests.Stopped: the run was asked to stop, by a signal or by its
            time budget; the same call resumes it.
    """
    arguments = {"model": model, "data": data and Path(data), "run": run and Path(run)}
    given = settings | {name: value for name, value in arguments.items() if value is not None}
    resolved = resolve(TrainSettings, given, file=Path(config) if config else None)
    store = resolved.data or default_paths().store
    require_store(store, given=resolved.data is not None)
    resolved = on_split(resolved, store)

    from lastkd.distributed.accelerator import make_accelerator
    from lastkd.training.loop import train

    (best,) = train(
        resolved,
        data=store,
        teacher=None,
        folder=resolved.run or Path("runs") / short_name(resolved.model_name),
        accelerator=accelerator or make_accelerator(resolved.accumulation),
    )
    return best


def run(given: dict[str, Any], file: Path | None) -> None:
    """Trains one model without a teacher: a teacher itself, or a student's baseline.

    \b
      accelerate launch --config_file launch_configs/gpu.yaml \\
        -m lastkd.train --model last_v2_base --data data/ntu60 --split xsub
      python -m lastkd.train --model last_e_nano --data data/ntu60

    The run folder receives settings.yaml, events.jsonl, best.safetensors (the epoch with the best
    top-1 on the split's test part) and last.safetensors. If the run was stopped, the same command
    resumes it from its last checkpoint.
    """
    from lastkd.distributed.accelerator import run_and_leave

    run_and_leave(lambda: train_model(config=file, **given))


def main() -> None:
    run_command(settings_command(TrainSettings, run), "python -m lastkd.train")


if __name__ == "__main__":
    main()
