"""What training a LAST-v2 gains by computing only the bodies that are there.

    python benchmarks/teacher_training.py [--model last_v2_base] [--batch-size 16] [--frames 64]

One step, forward and backward, on generated clips of which one in five has two bodies: averaging
over both bodies as the public design does, and over the present ones as lastkd trains. Rounds are
paired, so that what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lastkd.data.views import Views
from lastkd.distributed.device import device_name
from lastkd.models import LastV2Architecture, get_architecture
from lastkd.models.registry import build_model
from lastkd.pipeline.bench import made_up_store, view_settings
from lastkd.training.batches import Batch


def step_s(model: nn.Module, batch: Batch) -> float:
    """Seconds of one step."""
    started = time.perf_counter()
    model.zero_grad()
    F.cross_entropy(model(batch.streams, batch.bodies), batch.labels).backward()
    if batch.labels.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="last_v2_base")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture = get_architecture(options.model)
    assert isinstance(architecture, LastV2Architecture)
    with tempfile.TemporaryDirectory() as folder:
        store = made_up_store(Path(folder) / "store", options.batch_size)
        views = Views(store, view_settings(options.frames), device)
        batch = Batch.of(np.arange(options.batch_size), views, views.draw(0, 1), device)
    torch.manual_seed(0)
    models = {}
    for average in ("all", "present"):
        averaged = architecture.model_copy(update={"body_average": average})
        models[average] = build_model(averaged, store.num_classes).to(device).train()
        step_s(models[average], batch)
    rounds = [
        {a: step_s(model, batch) for a, model in models.items()} for _ in range(options.rounds)
    ]
    print(
        f"{options.model}, {options.batch_size} clips of {options.frames} frames "
        f"on {device_name(device)}"
    )
    for average in models:
        print(f"  {average:7} {statistics.median(r[average] for r in rounds):.3f} s a step")
    ratio = statistics.median(r["present"] / r["all"] for r in rounds)
    print(f"  present / all {ratio:.3f}")


if __name__ == "__main__":
    main()
