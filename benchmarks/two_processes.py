"""Two processes against one at the same global batch: losses step by step, and equal parameters.

    python benchmarks/two_processes.py

Distils LAST-E nano on a small synthetic store for 50 steps of 32 clips: in one process, and in two
over gloo. Dropout is off, since its masks are drawn by rank. Once with batch norm as usual, where
each process normalises by the statistics of its own 16 clips, and once with the norms held at
their running statistics, so that what remains is the difference of everything else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.distributed.accelerator import leave, make_accelerator
from lastkd.distributed.launch import environment_alone
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, TrainSettings
from lastkd.training.loop import TrainingRun, train
from lastkd.training.soft_labels import open_soft_labels

SHOWN = 20
COMMON = {"frames": 16, "log_every": 1, "warmup_epochs": 1, "epochs": 5, "eval_every": 5, "seed": 0}


def hold_norms(model: nn.Module) -> None:
    """Keeps every norm at its running statistics, also in training mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]


def worker(work: Path, folder: Path, batch_size: int, norms: str) -> None:
    """One rank: trains, and leaves a digest of its own parameters."""
    accelerator = make_accelerator()
    options = {"variant": "nano", "batch_size": batch_size, "dropout": 0.0, "lr": 0.02}
    settings = resolve(DistillSettings, COMMON | options | {"reference_batch": 32})
    store = ClipStore.open(work / "store")
    teacher = work / "teacher" / "last.safetensors"
    soft_labels = open_soft_labels([settings], store, teacher, accelerator)
    run = TrainingRun([settings], store, soft_labels, accelerator, [folder])
    (student,) = run.students
    if norms == "held":
        hold_norms(student.model)
    run.run()
    digest = hashlib.sha256()
    for parameter in student.model.parameters():
        digest.update(parameter.detach().cpu().numpy())
    rank = accelerator.process_index
    (folder / f"rank{rank}.json").write_text(json.dumps(digest.hexdigest()))
    del run, student, parameter
    leave(accelerator)


def launch(work: Path, processes: int, norms: str) -> list[float]:
    folder = work / f"{processes}-{norms}"
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(LAUNCH_CONFIGS / "cpu.yaml")]
    command += ["--num_processes", str(processes), __file__, "--worker", str(folder)]
    command += ["--work", str(work), "--batch-size", str(32 // processes), "--norms", norms]
    subprocess.run(command, env=environment_alone(), check=True, stdout=subprocess.DEVNULL)
    digests = {json.loads(path.read_text()) for path in folder.glob("rank*.json")}
    steps = [e for e in read_events(folder / "events.jsonl") if e["event"] == "step"]
    if processes > 1:
        verdict = "equal" if len(digests) == 1 else "DIFFERENT"
        print(f"norms {norms}: parameters of the ranks after {len(steps)} steps: {verdict}")
    return [step["total"] for step in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--norms", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.work, options.worker, options.batch_size, options.norms)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        settings = SyntheticSettings(subjects=20, clips_per_subject_and_action=2)
        prepare(open_source("synthetic", synthetic=settings), work / "store")
        teacher = resolve(TrainSettings, COMMON | {"model": "last_v2_tiny", "epochs": 1})
        accelerator = make_accelerator()
        train(
            teacher,
            data=work / "store",
            teacher=None,
            folder=work / "teacher",
            accelerator=accelerator,
        )
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        curves = {}
        for norms in ("usual", "held"):
            one, two = launch(work, 1, norms), launch(work, 2, norms)
            curves[norms] = (one, two)
            relative = [abs(a - b) / abs(a) for a, b in zip(one, two, strict=True)]
            print(
                f"norms {norms}: largest relative difference in the first {SHOWN} steps "
                f"{max(relative[:SHOWN]):.2e}, at the first step {relative[0]:.2e}"
            )
        print(f"{'step':>4} {'usual: one':>12} {'two':>12} {'held: one':>12} {'two':>12}")
        for step in range(SHOWN):
            row = (curves[n][p][step] for n in ("usual", "held") for p in (0, 1))
            print(f"{step + 1:>4} " + " ".join(f"{value:12.7f}" for value in row))


if __name__ == "__main__":
    main()
