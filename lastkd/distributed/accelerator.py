"""Creates, checks and leaves the process group."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable

import torch
import torch.distributed
from accelerate import Accelerator, PartialState
from accelerate.utils import GradientAccumulationPlugin

from lastkd.distributed.stop_requests import Stopped, end_if_orphaned
from lastkd.errors import UserError


def make_accelerator(accumulation: int = 1, mixed_precision: str | None = None) -> Accelerator:
    """Creates the accelerator of this run.

    Args:
        accumulation: forward passes per step.
        mixed_precision: `no`, `fp16` or `bf16`; None takes the launcher's setting.

    Raises:
        UserError: more processes were started than would train together.
    """
    end_if_orphaned()
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    asked_for_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    accelerator = Accelerator(
        # must be explicit: otherwise each of several CPU processes would train alone
        cpu=asked_for_cpu or not accelerated,
        mixed_precision=mixed_precision,
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=accumulation, sync_with_dataloader=False
        ),
    )
    if accelerator.num_processes != launched:
        raise UserError(
            f"{launched} processes were started, but {accelerator.num_processes} would train "
            "together; start with accelerate launch --config_file launch_configs/cpu.yaml "
            "(or gpu.yaml, kaggle_t4x2.yaml)"
        )
    # the same kernels every time, so that a seed reproduces a run on the same device
    torch.backends.cudnn.deterministic = True
    # weight gradients sum over tens of thousands of elements, too many for half precision
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    return accelerator


def leave(accelerator: Accelerator) -> None:
    """Ends the process group in an order that doesn't abort at exit.

    Call it when nothing refers to the model or the optimiser any more.
    """
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    gc.collect()
    accelerator.end_training()


def run_and_leave(work: Callable[[], object]) -> None:
    """Runs `work`, which makes an accelerator and trains with it, and ends the process group.

    A run that stopped on request ends the process with the exit code for it. When `work` returns,
    nothing may refer to its accelerator, model or optimiser any more.
    """
    code = 0
    try:
        work()
    except Stopped as stop:
        code = stop.exit_code
    group = PartialState()
    group.wait_for_everyone()
    gc.collect()
    group.destroy_process_group()
    if code:
        sys.exit(code)


def precision_in_use(accelerator: Accelerator) -> str:
    """The precision that the models actually run in: on a CPU, fp16 falls back to float32."""
    configured = str(accelerator.mixed_precision)
    return "no" if configured == "fp16" and accelerator.device.type == "cpu" else configured
