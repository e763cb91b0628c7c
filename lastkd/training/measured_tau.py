"""`--tau auto` without a standalone run: the temperature that softens this teacher's labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator

from lastkd.data.parts import split_parts
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.views import Views
from lastkd.distributed.agreement import decide_on_main_process
from lastkd.distributed.device import view_device
from lastkd.runs.log import Run
from lastkd.settings.runs import DistillSettings
from lastkd.training.schedule import with_epochs
from lastkd.training.soft_labels import open_soft_labels
from lastkd.training.softness import TARGET_ENTROPY, even_tau
from lastkd.training.training_views import TrainingViews


def with_measured_tau(
    students: Sequence[DistillSettings],
    *,
    data: Path,
    teacher: Path | None,
    folders: Sequence[Path],
    accelerator: Accelerator,
) -> list[DistillSettings]:
    """The students' settings with the temperature at which labels have `TARGET_ENTROPY`.

    A run that is resumed keeps the temperature that it began with.

    Raises:
        UserError: data or teacher are missing or don't fit, or a run's log is damaged.
    """
    begun = decide_on_main_process(accelerator, lambda: [_recorded_tau(path) for path in folders])
    measured: float | None = None
    if None in begun:
        measured = measure_tau(students, data=data, teacher=teacher, accelerator=accelerator)
        accelerator.print(
            f"--tau auto: {measured:g}, where the labels' entropy is nearest to "
            f"{100 * TARGET_ENTROPY:.0f} % of uniform"
        )
    return [
        student.model_copy(
            update={"loss": student.loss.model_copy(update={"tau": recorded or measured})}
        )
        for student, recorded in zip(students, begun, strict=True)
    ]


def _recorded_tau(folder: Path) -> float | None:
    """The temperature of the run in a folder; None where none was begun."""
    run = Run.find(folder)
    tau = run.start["settings"].get("tau") if run is not None else None
    return None if tau is None else float(tau)


def measure_tau(
    students: Sequence[DistillSettings],
    *,
    data: Path,
    teacher: Path | None,
    accelerator: Accelerator,
) -> float:
    """The temperature at which the labels of the first epoch's views have `TARGET_ENTROPY`."""
    store, settings = ClipStore.open(data), students[0]
    parts = split_parts(store, settings.split, settings.validation, settings.performers)
    sized = [with_epochs(one, len(parts.train), accelerator.num_processes) for one in students]
    soft_labels = open_soft_labels(sized, store, teacher, accelerator)
    views = Views(store, settings, view_device(store, accelerator.device))
    device = accelerator.device
    first = TrainingViews(views, parts.train, seed=settings.seed, device=device).epoch(1)

    def decide() -> float:
        clips = soft_labels.to_preview(first.order, settings.batch_size)
        return even_tau(soft_labels.preview(clips, settings.batch_size, first.inputs))

    return decide_on_main_process(accelerator, decide)
