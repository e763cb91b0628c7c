"""Standalone training: accelerate launch -m lastkd.train --model last_v2_base --data DIR"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from lastkd.cli.options import settings_command
from lastkd.entry_point import run_command
from lastkd.pipeline.request import on_split, require_store, resolve_models, run_folders
from lastkd.pipeline.runner import train_in_groups
from lastkd.settings.resolve import default_paths
from lastkd.settings.runs import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


@overload
def train_model(
    model: str | None = ...,
    *,
    data: str | Path | None = ...,
    run: str | Path | None = ...,
    config: str | Path | None = ...,
    accelerator: Accelerator | None = ...,
    **settings: Any,
) -> Path: ...


@overload
def train_model(
    model: list[str] | tuple[str, ...],
    *,
    data: str | Path | None = ...,
    run: str | Path | None = ...,
    config: str | Path | None = ...,
    accelerator: Accelerator | None = ...,
    **settings: Any,
) -> dict[str, Path]: ...


def train_model(
    model: str | list[str] | tuple[str, ...] | None = None,
    *,
    data: str | Path | None = None,
    run: str | Path | None = None,
    config: str | Path | None = None,
    accelerator: Accelerator | None = None,
    **settings: Any,
) -> Path | dict[str, Path]:
    """Trains one model or several without a teacher, as `python -m lastkd.train` does.

    Args:
        model: `last_v2_base`, `last_e_nano`, ..., `nano`, ... or `package.module:factory`. A list
            of them and `"nano,base"` train several on one pass of the views; each ends as it would
            alone. Only a `config` may give it instead.
        data: a prepared store; by default the path in `configs/data/places.yaml`.
        run: folder of the run, or for several models the folder above their run folders; by default
            `runs/<model>` and `runs`.
        config: a YAML file with settings, which the arguments override.
        settings: any of `lastkd.settings.runs.TrainSettings`: `epochs`, `seed`, `batch_size`, ...

    Returns:
        The best checkpoint of one model; of several, their best checkpoints by model, as also for a
        list that holds one. `last.safetensors` is beside each.

    Raises:
        UserError: a setting is unknown, missing or doesn't fit, the data can't be used, or the
            folder holds another run.
        lastkd.distributed.stop_requests.Stopped: the run was asked to stop, by a signal or by its
            time budget; the same call resumes it.
    """
    arguments = {"model": model, "data": data and Path(data), "run": run and Path(run)}
    given = settings | {name: value for name, value in arguments.items() if value is not None}
    models = resolve_models(given, Path(config) if config else None)
    common = next(iter(models.values()))
    store = common.data or default_paths().store
    require_store(store, given=common.data is not None)
    folders = run_folders(common.run, list(models))
    settings_of_each = [
        on_split(one, store).model_copy(update={"run": one.run and folder})
        for one, folder in zip(models.values(), folders, strict=True)
    ]

    from lastkd.distributed.accelerator import make_accelerator

    best = train_in_groups(
        settings_of_each,
        folders,
        data=store,
        teacher=None,
        accelerator=accelerator or make_accelerator(common.accumulation),
    )
    if len(models) == 1 and not isinstance(model, list | tuple):
        return best[0]
    return dict(zip(models, best, strict=True))


def run(given: dict[str, Any], file: Path | None) -> None:
    """Trains without a teacher: the teacher itself, or one or several students as baselines.

    \b
      accelerate launch --config_file launch_configs/gpu.yaml \\
        -m lastkd.train --model last_v2_base --data data/ntu60 --split xsub
      python -m lastkd.train --model last_e_nano --data data/ntu60
      python -m lastkd.train --model last_e_nano,last_e_small --data data/ntu60

    Several models share one pass of the views and each ends as it would alone; --run is then the
    folder above their run folders.

    A run folder receives settings.yaml, events.jsonl, best.safetensors (the epoch with the best
    top-1 on the validation part, or without one on the test part) and last.safetensors. If the run
    was stopped, the same command resumes it from its last checkpoint.
    """
    from lastkd.distributed.accelerator import run_and_leave

    run_and_leave(lambda: train_model(config=file, **given))


def main() -> None:
    run_command(settings_command(TrainSettings, run), "python -m lastkd.train")


if __name__ == "__main__":
    main()
