"""What half precision costs a teacher on this machine's CPU: error of the logits, and time.

python benchmarks/teacher_precision.py [--model last_v2_base] [--frames 64] [--clips 16]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from lastkd.models import STREAMS
from lastkd.models.registry import build_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="last_v2_base")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build_model(options.model, 60)
    shape = (options.clips, 3, options.frames, 25, 1)
    streams = {name: torch.randn(shape) for name in STREAMS}
    with torch.no_grad():
        for _ in range(2):  # running statistics that fit the activations, as after training
            model(streams)
    model.eval()
    wide = None
    for precision in (torch.float32, torch.bfloat16, torch.float16):
        narrow = build_model(options.model, 60).eval().to(precision)
        narrow.load_state_dict(model.state_dict())
        cast = {name: stream.to(precision) for name, stream in streams.items()}
        seconds = []
        with torch.no_grad():
            for _ in range(options.rounds):
                started = time.perf_counter()
                logits = narrow(cast).float()
                seconds.append(time.perf_counter() - started)
        wide = logits if wide is None else wide
        error = ((logits - wide).abs().max() / wide.abs().max()).item()
        print(
            f"{options.model} {precision}: {statistics.median(seconds):.3f} s for {options.clips} "
            f"clips, largest difference {error:.1e} of the largest logit"
        )


if __name__ == "__main__":
    main()
