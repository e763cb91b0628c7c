"""Command lines of `accelerate launch`, and the environment of processes outside any launch."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.files.yaml_files import read_mapping


@dataclass(frozen=True)
class Launch:
    """How `accelerate launch` starts this machine's processes.

    Attributes:
        config: the file passed as `--config_file`.
        options: further options of `accelerate launch`, which override the file.
    """

    config: Path
    options: tuple[str, ...] = ()

    @classmethod
    def default(cls) -> Launch:
        """One GPU if there is one, else one process on the CPU with all its threads."""
        import torch

        if torch.cuda.is_available():
            return cls(LAUNCH_CONFIGS / "gpu.yaml")
        # one process: halves of a small batch have worse batch statistics and aren't faster
        threads = str(torch.get_num_threads())
        options = ("--num_processes", "1", "--num_cpu_threads_per_process", threads)
        return cls(LAUNCH_CONFIGS / "cpu.yaml", options)

    @classmethod
    def find(cls, config: Path) -> Launch:
        """The launch by a config file, or by the name of one of lastkd's, such as `kaggle_t4x2`.

        Raises:
            UserError: it is neither.
        """
        if config.is_file():
            return cls(config)
        known = sorted(path.stem for path in LAUNCH_CONFIGS.glob("*.yaml"))
        if config.stem not in known or config.parent != Path():
            raise UserError(f"{config}: no such launch config; {nearest(config.stem, known)}")
        return cls(LAUNCH_CONFIGS / f"{config.stem}.yaml")

    @property
    def mixed_precision(self) -> str:
        """`no`, `fp16` or `bf16`, as the config file says."""
        value = read_mapping(self.config).get("mixed_precision", "no")
        return "no" if value in (None, False) else str(value)

    def with_processes(self, count: int, *, cpu: bool) -> Launch:
        """The same launch with `count` processes on this machine, one per GPU or all on the CPU."""
        options = ("--multi_gpu", "--num_machines", "1", "--num_processes", str(count))
        config = LAUNCH_CONFIGS / "cpu.yaml" if cpu else self.config
        threads = ("--num_cpu_threads_per_process", "1") if cpu else ()
        return Launch(config, (*options, *threads))

    def argv(self, module: str, *arguments: str) -> list[str]:
        """`accelerate launch -m MODULE ARGUMENTS`, run by this Python."""
        return [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(self.config), *self.options, "-m", module, *arguments),
        ]

    def text(self, module: str, *arguments: str) -> str:
        """The same command line as a user would type it."""
        shipped = self.config.parent == LAUNCH_CONFIGS
        config = f"launch_configs/{self.config.name}" if shipped else str(self.config)
        start = ["accelerate launch --config_file", config, *self.options, "-m", module]
        return " ".join([*start, *arguments])


# variables that a launcher sets for its processes, and that their own child processes must not see
_LAUNCHER_PREFIXES = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "GROUP_", "ROLE_", "MASTER_")
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")


def environment_alone() -> dict[str, str]:
    """This process's environment without the variables that make it a rank of a launched group."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(_LAUNCHER_PREFIXES) and key not in _RANK_VARIABLES
    }
