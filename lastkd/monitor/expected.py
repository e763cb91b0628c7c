"""What the design of the distillation expects, for a run on the set that it speaks of."""

from __future__ import annotations

from lastkd.expected import NTU60_XSUB
from lastkd.monitor.run import Run

_TRAINING_CLIPS = 40_091


def expected(run: Run) -> tuple[int, int] | None:
    """The range of top-1 in percent for this run; None where the design says nothing of its set.

    NTU60 cross-subject is known by its classes, its split and its size; some readers drop a few
    clips without a body.
    """
    if run.start is None or run.variant not in NTU60_XSUB:
        return None
    data = run.start.data
    if data.classes != 60 or run.settings.get("split") != "xsub":
        return None
    if abs(data.train - _TRAINING_CLIPS) > 0.01 * _TRAINING_CLIPS:
        return None
    ranges = NTU60_XSUB[run.variant]
    return ranges.distilled if run.distilled else ranges.standalone
