"""The texts of a run's page: names and values, without any drawing."""

from __future__ import annotations

from lastkd.monitor.log.classes import checkpoint_metadata
from lastkd.monitor.log.groups import Compared, expected
from lastkd.monitor.log.records import Softness, Start
from lastkd.monitor.log.run import Run
from lastkd.monitor.screen.format import clock, span

Facts = list[tuple[str, str]]


def overview(run: Run, compared: Compared) -> Facts:
    """State, progress, accuracies and the last loss of a run."""
    reason = f": {run.end.reason}" if run.end and run.end.reason else ""
    facts: Facts = [("state", run.state() + reason)]
    if run.start:
        facts += _setup(run, run.start)
    facts += _progress(run)
    part = " on the validation part" if run.chooser == "validation" else ""
    facts += [("best", _accuracy(run.best, part)), ("last", _accuracy(run.final, part))]
    facts += [
        ("test part", f"{test.top1:.2f} % with {checkpoint}, epoch {test.epoch}")
        for checkpoint, test in run.tests.items()
        if test.top1 is not None
    ]
    facts += _comparison(run, compared)
    if loss := _loss(run):
        facts.append(("loss", loss))
    if run.resumes:
        facts.append(
            ("resumed", f"{len(run.resumes)} times, last at step {run.resumes[-1].step:,}")
        )
    facts += [("skipped", f"{n:,} steps: {why}") for why, n in sorted(run.skipped.items())]
    facts += [("log", text) for text in run.unread()]
    facts += [(f"warning {clock(w.time)}", w.text) for w in list(run.warnings)[-5:]]
    return facts


def _setup(run: Run, start: Start) -> Facts:
    data, device = start.data, start.device
    precision = device.get("precision")
    return [
        ("model", f"{start.model}, {start.parameters:,} parameters"),
        (
            "data",
            f"{data.name or data.source or 'unnamed'}, {run.settings.get('split', '')}: "
            f"{data.train:,} training and {data.test:,} test clips, {data.classes} classes",
        ),
        (
            "on",
            f"{start.processes} x {device.get('type', '')} {device.get('name', '')}, "
            f"global batch {start.global_batch}, "
            f"{'float32' if precision == 'no' else precision}",
        ),
    ]


def _progress(run: Run) -> Facts:
    facts: Facts = [
        ("epoch", f"{run.epoch} of {run.total_epochs}"),
        ("step", f"{run.step:,} of {run.total_steps:,} ({100 * run.progress:.0f} %)"),
    ]
    if run.start and run.last_time:
        ran = f"{span(run.last_time - run.start.time)} since {clock(run.start.time)}"
        left = run.seconds_left()
        facts.append(("time", ran + (f", {span(left)} left" if left is not None else "")))
    if run.clips_per_s:
        share = run.teacher_share
        teacher = f", teacher {100 * share:.0f} % of the step" if share is not None else ""
        facts.append(("pace", f"{run.clips_per_s:,.0f} clips/s{teacher}"))
    return facts


def _comparison(run: Run, compared: Compared) -> Facts:
    facts: Facts = []
    if run.start and run.start.teacher:
        top1 = compared.teacher_top1
        facts.append(("teacher", run.start.teacher.model + (f", {top1:.2f} %" if top1 else "")))
    if run.start and run.start.softness:
        facts.append(("soft labels", _labels(run.start.softness)))
    baseline = compared.baseline
    if baseline:
        facts.append(("baseline", f"{baseline.name}: {_accuracy(baseline.best)}"))
        gain = compared.gain(run)
        if gain is not None and run.final and baseline.final:
            last = run.final[1] - baseline.final[1]
            facts.append(("gain", f"{gain:+.2f} points best to best, {last:+.2f} last to last"))
    elif run.distilled:
        facts.append(("baseline", "no standalone run of this model on this data is watched"))
    if pair := expected(run):
        facts.append(("expected", f"{pair[0]:.0f} to {pair[1]:.0f} % (an estimate of the design)"))
    return facts


def _loss(run: Run) -> str:
    last = run.last
    if last is None:
        return ""
    if last.ce is not None and last.soft is not None:
        hard = f"{run.weights()[0]:g} x CE {last.ce:.4g}"
        (weight,) = run.soft_weights([last.step])
        return f"{hard} + {weight:.4g} x {run.soft_title} {last.soft:.4g}"
    return "" if last.total is None else f"{last.total:.4g}"


def _accuracy(pair: tuple[int, float] | None, part: str = "") -> str:
    return f"{pair[1]:.2f} % at epoch {pair[0]}{part}" if pair else "not evaluated yet"


def _labels(softness: Softness) -> str:
    """How soft the teacher's labels are."""
    parts = [
        ("at tau {:g}", softness.tau, 1),
        ("top probability {:.2f}", softness.top, 1),
        ("entropy {:.0f} % of uniform", softness.entropy, 100),
        ("{:.0f} % right", softness.agreement, 1),
        ("{:.0f} % of the first gradient", softness.share, 100),
    ]
    return ", ".join(form.format(value * unit) for form, value, unit in parts if value is not None)


def settings(run: Run) -> Facts:
    """Every setting, those of the distillation first, then versions and hashes."""
    facts = [(key, "none" if value is None else str(value)) for key, value in run.settings.items()]
    facts.sort(key=lambda pair: pair[0] not in ("alpha", "tau", "variant", "model", "teacher"))
    if run.start:
        facts += [(f"version of {key}", str(value)) for key, value in run.start.versions.items()]
        facts += [("run id", run.start.run_id), ("data hash", run.start.data.hash)]
        if run.start.teacher:
            facts.append(("teacher hash", run.start.teacher.hash))
    return facts


def checkpoints(run: Run) -> Facts:
    """The weights in the run's folder, and the checkpoints in its log, the latest first."""
    facts: Facts = []
    for file in sorted(run.folder.glob("*.safetensors")):
        info = checkpoint_metadata(file).get("info") or {}
        try:
            status = file.stat()
        except OSError:
            continue  # replaced at this moment
        parts = [f"{status.st_size / 1e6:.1f} MB, {clock(status.st_mtime)}"]
        if info.get("epoch") is not None:
            parts.append(f"epoch {info['epoch']}")
        top1 = (info.get("accuracy") or {}).get("top1")
        if top1 is not None:
            parts.append(f"top-1 {top1:.2f} %")
        if info.get("chosen_by"):
            parts.append(f"chosen by {info['chosen_by']}")
        facts.append((file.name, ", ".join(parts)))
    for event in reversed(run.checkpoints):
        size = f", {event.mb:.1f} MB" if event.mb is not None else ""
        took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
        facts.append((f"step {event.step:,}", f"{event.path}{size}{took}, {clock(event.time)}"))
    return facts or [("none", "no checkpoint was written yet")]
