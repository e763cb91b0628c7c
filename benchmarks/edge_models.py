"""Size, latency and agreement of every student in every format.

    python benchmarks/edge_models.py RUNS --data STORE [--split xsub]

RUNS holds run folders; each one's best.safetensors is exported into a temporary folder. Give it a
quiet machine: latencies are of one CPU thread.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lastkd.export.checkpoint import export_checkpoint
from lastkd.export.formats import get_format

KINDS = [("onnx", False), ("onnx", True), ("torchscript", False), ("pt2", False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="xsub")
    options = parser.parse_args()
    header = (
        "model",
        "format",
        "MB",
        "ms",
        "in PyTorch",
        "same top-1",
        "difference",
        "top-1",
        "lost",
    )
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for checkpoint in sorted(options.runs.glob("*/best.safetensors")):
        for form, int8 in KINDS:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / f"{checkpoint.parent.name}{get_format(form).suffix}"
                r = export_checkpoint(
                    checkpoint, out, form=form, int8=int8, data=options.data, split=options.split
                )
            accuracy = "| | |"
            if r.top1 is not None and r.checkpoint_top1 is not None:
                accuracy = f"| {r.top1:.2f} | {r.checkpoint_top1 - r.top1:.2f} |"
            print(
                f"| {r.model} | {form}{' int8' if int8 else ''} | {r.size_mb:.2f} | "
                f"{r.latency_ms:.2f} | {r.checkpoint_latency_ms:.2f} | {r.same_top1} of {r.clips} "
                f"| {r.largest_difference:.1e} {accuracy}",
                flush=True,
            )


if __name__ == "__main__":
    main()
