"""What the design of the distillation expects, for a run on the set that it speaks of."""

from __future__ import annotations

from lastkd.monitor.run import Run

NTU60_XSUB = {
    "nano": {"standalone": (85.0, 87.0), "distilled": (87.0, 89.0)},
    "small": {"standalone": (87.0, 89.0), "distilled": (89.0, 91.0)},
    "base": {"standalone": (89.0, 91.0), "distilled": (91.0, 92.0)},
    "large": {"standalone": (91.0, 93.0), "distilled": (92.0, 93.0)},
}
"""Top-1 in percent, by variant: estimates of the design, none of them measured."""

_TRAINING_CLIPS = 40_091


def expected(run: Run) -> tuple[float, float] | None:
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
    return NTU60_XSUB[run.variant]["distilled" if run.distilled else "standalone"]
