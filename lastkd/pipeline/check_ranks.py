"""Whether several processes train as one: accelerate launch -m lastkd.pipeline.check_ranks RESULT

`lastkd check` starts it, over NCCL where the launch config uses GPUs and over gloo on a CPU.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import torch
import torch.distributed as dist
import torch.nn.functional as F

from lastkd.distributed.accelerator import leave, make_accelerator
from lastkd.distributed.replica import Replica
from lastkd.entry_point import PATH, run_command
from lastkd.files.atomic import write_text
from lastkd.models.registry import build_model
from lastkd.settings.architecture import STREAMS

STEPS = 3
EXCHANGED_FLOATS = 2_500_000
"""10 MB, more than the gradients of all four students."""


@click.command()
@click.argument("result", type=PATH)
def check_ranks(result: Path) -> None:
    """Trains a nano student for a few steps, on other clips in each process, and writes RESULT."""
    accelerator = make_accelerator()
    device, rank = accelerator.device, accelerator.process_index
    torch.manual_seed(0)
    student = build_model("last_e_nano", num_classes=10)
    replica = Replica(accelerator, student)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(1000 * step + rank)
        joints = torch.randn(8, 3, 16, 25, 2, generator=generator).to(device)
        labels = torch.randint(10, (8,), generator=generator).to(device)
        logits = replica(dict.fromkeys(STREAMS, joints), torch.ones_like(labels))
        F.cross_entropy(logits, labels).backward()
        replica.average_gradients()
        optimizer.step()
        optimizer.zero_grad()
    weights = torch.cat([parameter.detach().flatten() for parameter in student.parameters()])
    by_rank = accelerator.gather(weights[None])
    agree = bool((by_rank == by_rank[0]).all()) and bool(by_rank.isfinite().all())
    exchanged = torch.ones(EXCHANGED_FLOATS, device=device)
    started = time.perf_counter()
    if accelerator.num_processes > 1:
        dist.all_reduce(exchanged)
    total = float(exchanged[0])  # waits for the device
    exchange_ms = 1000 * (time.perf_counter() - started)
    if accelerator.is_main_process:
        outcome = {
            "processes": accelerator.num_processes,
            "backend": dist.get_backend() if accelerator.num_processes > 1 else "none",
            "agree": agree and total == accelerator.num_processes,
            "exchange_ms": round(exchange_ms, 2),
        }
        write_text(result, json.dumps(outcome))
    del replica, student, optimizer
    leave(accelerator)


if __name__ == "__main__":
    run_command(check_ranks, "python -m lastkd.pipeline.check_ranks")
