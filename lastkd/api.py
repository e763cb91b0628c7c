"""The way of a run from Python: what the commands do, without a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate import Accelerator

from lastkd.architecture import short_name
from lastkd.config import DistillSettings, TrainSettings, embedded_set, resolve
from lastkd.data.prepare import prepare
from lastkd.data.recognise import open_source
from lastkd.data.store import ClipStore
from lastkd.training.loop import train
from lastkd.training.processes import make_accelerator


def prepare_store(source: str | Path, out: str | Path, *, layout: str | None = None) -> ClipStore:
    """Turns a source (as `lastkd prepare` takes it) into a packed store, and opens it.

    Raises:
        UserError: the source is missing, of no known format or malformed, or `out` exists.
    """
    reader = open_source(str(source), layout=layout, synthetic=embedded_set())
    prepare(reader, Path(out))
    return ClipStore.open(out)


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
        settings: any of `lastkd.config.TrainSettings`: `epochs`, `seed`, `batch_size`, ...

    Returns:
        The best checkpoint; `last.safetensors` lies beside it.

    Raises:
        UserError: as the command's.
    """
    given = settings | {"model": model, "data": Path(data)}
    resolved = resolve(TrainSettings, given, file=Path(config) if config else None)
    accelerator = accelerator or make_accelerator(resolved.accumulation)
    folder = Path(run or resolved.run or Path("runs") / short_name(model))
    return train(resolved, data=Path(data), teacher=None, folder=folder, accelerator=accelerator)[0]


def distill_model(
    variant: str,
    *,
    data: str | Path,
    teacher: str | Path,
    run: str | Path | None = None,
    config: str | Path | None = None,
    accelerator: Accelerator | None = None,
    **settings: Any,
) -> Path:
    """Distils a teacher into one student, as `python -m lastkd.distill` does.

    Args:
        variant: `nano`, `small`, `base`, `large` or `package.module:factory`.
        teacher: a checkpoint, or `package.module:factory` that gives a model with its weights.
        settings: any of `lastkd.config.DistillSettings`: `loss`, `alpha`, `tau`, `epochs`, ...

    Other arguments, result and errors as for `train_model`; the default folder is `runs/<variant>`.
    """
    given = settings | {"variant": variant, "data": Path(data), "teacher": Path(teacher)}
    resolved = resolve(DistillSettings, given, file=Path(config) if config else None)
    accelerator = accelerator or make_accelerator(resolved.accumulation)
    folder = Path(run or resolved.run or Path("runs") / short_name(variant))
    best = train(
        resolved,
        data=Path(data),
        teacher=resolved.teacher,
        folder=folder,
        accelerator=accelerator,
    )
    return best[0]
