"""A CUDA device that isn't there: tensors that claim `cuda:0` and compute on the CPU.

It runs the CUDA path of a program on a machine without a GPU: autocast, GradScaler, the fused
optimiser and every branch on the device are torch's and lastkd's own code. It raises where a tensor
of the CPU meets one of the device or two dtypes meet in a matrix product, and it counts what the
device would have to do. It says nothing about time, about which kernels a card has, or about real
streams.

    import pretended_cuda

    pytestmark = pretended_cuda.needed         # builds it; skips visibly without g++

    def test_a_step_never_waits() -> None:
        with pretended_cuda.device() as counts:
            model = build_model("last_e_nano", 60).to("cuda")
            ...
            counts.reset()
            step()
        assert counts.launches.total() <= 600
        assert not counts.waits                # {("nonzero", "models/last_v2.py:81"): 1, ...}

Import it at the top of a test module: torch's autograd engine makes a thread for each device in its
first backward pass, and must know of this one by then. `device` may be entered many times; tensors
of one entry can be used in the next. `device(values=False)` computes nothing, for counting alone.
Of `torch.cuda` there is only what lastkd uses.

Counting: an operator that isn't a view is one launch (a fused or foreach one a launch for each
`TENSORS_PER_LAUNCH`), and moves the bytes of the tensors that it reads and writes, with the
elements of an expanded axis counted once. Moving a tensor to the device or back is a launch too,
and a wait unless host memory is pinned and the copy doesn't block.
"""

from __future__ import annotations

from pretended_cuda.counts import Counts
from pretended_cuda.native import needed
from pretended_cuda.runtime import device, two_processes
from pretended_cuda.tensor import PretendedTensor, saved_bytes

__all__ = ["Counts", "PretendedTensor", "device", "needed", "saved_bytes", "two_processes"]
