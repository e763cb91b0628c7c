"""What one training step asks of a GPU, counted on a pretended one: no GPU is needed.

    python benchmarks/device_costs.py [--json] [--models last_e_nano ...] [--batch-size 16]

For each model and part of a step: launches, megabytes read and written, places where the host
waits, and megabytes that autograd keeps for the backward pass. Bytes are those of a clip for a
student and of a body for a LAST-v2; one clip in five has two bodies. `inference` is the teacher's
forward pass, in float16 with everything fused. `processes` is what several processes add to a step,
whatever the batch: its bytes are those of all gradients. The step is fp16 with a GradScaler. Needs
g++.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import pretended_cuda

from lastkd.distributed.replica import Replica
from lastkd.models import STREAMS, SkeletonModel, get_architecture
from lastkd.models.registry import build_model
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import TrainSettings
from lastkd.training.optimiser import make_optimizer

MODELS = ("last_e_nano", "last_e_small", "last_e_base", "last_e_large", "last_v2_base")
CLASSES = 60
Costs = dict[str, float]
FEW_CLIPS, FEW_FRAMES = 2, 8
"""Enough where costs don't depend on them."""
TENSORS_PER_JOIN = 128
"""How many tensors one kernel of `torch.cat` takes."""


def body_counts(clips: int) -> NDArray[np.int64]:
    """Each clip's number of bodies: one clip in five has two."""
    return np.where(np.arange(clips) % 5 == 0, 2, 1)


def made_up_batch(clips: int, frames: int) -> tuple[dict[str, Tensor], NDArray[np.int64], Tensor]:
    """Streams and labels on the device, and body counts."""
    shape = (clips, 3, frames, 25, 2)
    streams = {name: torch.randn(shape).to("cuda") for name in STREAMS}
    labels = torch.zeros(clips, dtype=torch.int64).to("cuda")
    return streams, body_counts(clips), labels


def training_costs(name: str, clips: int, frames: int) -> dict[str, Costs]:
    """Forward pass, backward pass and optimiser step of one model."""
    with pretended_cuda.device(values=False) as counts:
        model = build_model(get_architecture(name).for_training(), CLASSES).to("cuda").train()
        streams, bodies, labels = made_up_batch(clips, frames)
        optimizer = make_optimizer(model, resolve(TrainSettings, {"model": name}))
        scaler = torch.amp.GradScaler("cuda")
        rows = _rows(model, clips)
        costs: dict[str, Costs] = {}

        def note(part: str, saved: int = 0) -> None:
            costs[part] = {
                "launches": counts.launches.total(),
                "bytes": round(counts.bytes.total() / rows),
                "waits": counts.waits.total(),
                "saved_bytes": round(saved / rows),
            }
            counts.reset()

        counts.reset()
        with pretended_cuda.saved_bytes(model) as saved:
            with torch.autocast("cuda", torch.float16):
                logits = model(streams, bodies)
            loss = F.cross_entropy(logits.float(), labels)
            note("forward", saved())
        scaler.scale(loss).backward()
        note("backward")
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        note("step")
    costs["total"] = {key: sum(part[key] for part in costs.values()) for key in costs["forward"]}
    return costs


def processes_costs(name: str) -> Costs:
    """What several processes add to a step of one model, as a `Replica` has it.

    It is the difference to a step of the model by itself; a collective counts as one launch.
    """
    with pretended_cuda.device() as counts, pretended_cuda.two_processes() as accelerator:
        model = build_model(get_architecture(name).for_training(), CLASSES).train()
        replica = Replica(accelerator, model)
        streams, bodies, labels = made_up_batch(FEW_CLIPS, FEW_FRAMES)

        # in float32, as the gradients are: float16 is slow to compute here, and changes nothing
        def step(forward: Callable[..., Tensor]) -> None:
            F.cross_entropy(forward(streams, bodies), labels).backward()

        step(replica)
        replica.average_gradients()  # only the first step compares processes
        costs: list[Costs] = []
        for forward in (model, replica):
            model.zero_grad()
            counts.reset()
            step(forward)
            if forward is replica:
                replica.average_gradients()
            costs.append(
                {
                    "launches": counts.launches.total(),
                    "bytes": counts.bytes.total(),
                    "waits": counts.waits.total(),
                }
            )
        alone, together = costs
        joining = -(-len(list(model.parameters())) // TENSORS_PER_JOIN) - 1
        return {key: together[key] - alone[key] for key in alone} | {
            "launches": together["launches"] - alone["launches"] + joining
        }


def inference_costs(name: str, clips: int, frames: int) -> Costs:
    """A teacher's forward pass."""
    with pretended_cuda.device(values=False) as counts:
        model = build_model(get_architecture(name).for_training(), CLASSES)
        with torch.no_grad():
            for parameter in model.parameters():
                if not parameter.any():
                    parameter.fill_(0.1)  # a trained model's gates aren't zero
        fused = model.eval().for_inference().to("cuda", torch.float16)
        streams, bodies, _ = made_up_batch(clips, frames)
        halves = {key: stream.half() for key, stream in streams.items()}
        counts.reset()
        with torch.no_grad():
            fused(halves, bodies)
        return {
            "launches": counts.launches.total(),
            "bytes": round(counts.bytes.total() / _rows(model, clips)),
            "waits": counts.waits.total(),
        }


def _rows(model: SkeletonModel, clips: int) -> int:
    """What bytes are divided by: clips, or bodies where the model looks at all of them."""
    return clips if model.max_bodies == 1 else int(body_counts(clips).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result: dict[str, dict[str, Costs]] = {}
    for name in options.models:
        result[name] = training_costs(name, options.batch_size, options.frames)
        result[name]["processes"] = processes_costs(name)
        if get_architecture(name).family == "last_v2":
            result[name]["inference"] = inference_costs(name, options.batch_size, options.frames)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"{'':24} launches  MB moved  waits  MB kept")
    for name, parts in result.items():
        for part, costs in parts.items():
            kept = costs.get("saved_bytes", 0) / 1e6
            print(
                f"{name:14}{part:10} {costs['launches']:8.0f}  {costs['bytes'] / 1e6:8.1f}  "
                f"{costs['waits']:5.0f}  {kept:7.1f}"
            )


if __name__ == "__main__":
    main()
