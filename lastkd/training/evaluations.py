"""What a run's model can do, after its epochs and at its end, and the files that keep it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lastkd.data.views import Views
from lastkd.evaluation.accuracy import Accuracy
from lastkd.evaluation.logits import evaluate
from lastkd.models.registry import SkeletonModel
from lastkd.runs.events import BEST, LAST
from lastkd.terminal import Progress
from lastkd.training.run_logger import RunLogger


class Evaluations:
    """Evaluates the model of a run, records the figures and saves the best and the last epoch.

    Every rank takes part. `between`, where a method takes it, is called before each batch.

    Args:
        logger: of the run.

    Attributes:
        best: the best epoch so far and its accuracy on the part that chooses.
    """

    def __init__(self, logger: RunLogger) -> None:
        self.best: tuple[int, Accuracy] | None = None
        self._logger = logger
        self._settings = logger.settings
        self._parts = logger.parts
        self._name = logger.folder.name

    def after_epoch(
        self,
        model: SkeletonModel,
        epoch: int,
        views: Views,
        progress: Progress,
        between: Callable[[], None],
    ) -> None:
        """Saves the last epoch, and evaluates it where that is due."""
        settings = self._settings
        accuracy: Accuracy | None = None
        if epoch % settings.eval_every == 0 or epoch == settings.epochs:
            accuracy = self._evaluate_epoch(model, epoch, views, between)
            progress.echo(
                f"{self._name} | epoch {epoch}/{settings.epochs} | {self._shown_part}"
                f"{_figures(accuracy)}"
            )
            if self.best is None or accuracy.top1 > self.best[1].top1:
                self.best = (epoch, accuracy)
                chosen_by = f"top-1 on {self._parts.chooser}"
                self._logger.save(model, BEST, epoch, self._measured(accuracy), chosen_by)
        self._logger.save(model, LAST, epoch, self._measured(accuracy), "the last epoch")

    def at_the_end(
        self, model: SkeletonModel, views: Views, progress: Progress, between: Callable[[], None]
    ) -> None:
        """Records the end of the run and reports the best epoch.

        Where a validation part chose it, the test part is used here for the first and only time:
        for the chosen epoch and for the last one.
        """
        assert self.best is not None  # the last epoch is always evaluated
        epoch, accuracy = self.best
        tested: dict[str, Any] = {}
        if self._parts.validation is not None:
            tested = {"test": self._test(model, epoch, views, progress, between)}
        self._logger.event(
            "end", state="finished", best_epoch=epoch, best=accuracy.summary(), **tested
        )
        progress.echo(
            f"{self._name}: best top-1 {accuracy.top1:.2f} % (epoch {epoch}, chosen on "
            f"{self._parts.chooser}) | {self._logger.folder / BEST}"
        )

    def _evaluate_epoch(
        self, model: SkeletonModel, epoch: int, views: Views, between: Callable[[], None]
    ) -> Accuracy:
        started = time.perf_counter()
        accuracy = self._evaluate(model, views, self._parts.evaluated, between)
        part = {} if self._parts.validation is None else {"part": "validation"}
        self._logger.event(
            "epoch",
            epoch=epoch,
            step=self._steps_of(epoch),
            **accuracy.summary(),
            **part,
            by_class=_by_class(accuracy),
            seconds=round(time.perf_counter() - started, 3),
        )
        return accuracy

    def _test(
        self,
        model: SkeletonModel,
        best_epoch: int,
        views: Views,
        progress: Progress,
        between: Callable[[], None],
    ) -> dict[str, Any]:
        """Evaluates the best and the last epoch on the test part, once; figures by file name."""
        figures: dict[str, Any] = {}
        for file, epoch in ((LAST, self._settings.epochs), (BEST, best_epoch)):
            kept = self._logger.read(file)
            model = copy.deepcopy(model)
            model.load_state_dict(kept.tensors)
            accuracy = self._evaluate(model, views, self._parts.test, between)
            self._logger.event(
                "test",
                checkpoint=file,
                epoch=epoch,
                step=self._steps_of(epoch),
                **accuracy.summary(),
                by_class=_by_class(accuracy),
            )
            measured = {
                "split": self._settings.split,
                **accuracy.summary(),
                "validation": kept.info.accuracy.get("validation"),
            }
            self._logger.save(model, file, epoch, measured, kept.info.chosen_by or "")
            figures[file.removesuffix(".safetensors")] = accuracy.summary()
            which = "last epoch" if file == LAST else f"epoch {epoch}, chosen by validation"
            progress.echo(f"{self._name} | test part, {which} | {_figures(accuracy)}")
        return figures

    def _evaluate(
        self,
        model: SkeletonModel,
        views: Views,
        clips: NDArray[np.int64],
        between: Callable[[], None],
    ) -> Accuracy:
        """`model` on the centre views of `clips`."""
        return evaluate(
            model,
            views,
            clips,
            batch_size=self._settings.eval_batch_size,
            accelerator=self._logger.accelerator,
            between=between,
        )

    def _steps_of(self, epochs: int) -> int:
        return epochs * self._logger.schedule.steps_per_epoch

    def _measured(self, accuracy: Accuracy | None) -> dict[str, Any]:
        """What a checkpoint says of its accuracy, and on which part."""
        if accuracy is None:
            return {}
        if self._parts.validation is None:
            return {"split": self._settings.split, **accuracy.summary()}
        return {"split": self._settings.split, "validation": accuracy.summary()}

    @property
    def _shown_part(self) -> str:
        return "" if self._parts.validation is None else "validation "


def _by_class(accuracy: Accuracy) -> list[float | None]:
    """Percent by class; None where a class has no clip."""
    return [None if np.isnan(a) else round(float(a), 2) for a in accuracy.by_class]


def _figures(accuracy: Accuracy) -> str:
    return (
        f"top-1 {accuracy.top1:.2f} % | top-5 {accuracy.top5:.2f} % | mean class "
        f"{accuracy.mean_class:.2f} %"
    )
