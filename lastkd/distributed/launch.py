"""Command lines that start runs, and the environment of processes outside any launch."""

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
    """How this machine's processes are started.

    Attributes:
        config: the file passed to `accelerate launch` as `--config_file`; None starts one process
            without a launcher.
        options: further options of `accelerate launch`, which override the file.
    """

    config: Path | None = None
    options: tuple[str, ...] = ()

    @classmethod
    def default(cls) -> Launch:
        """One GPU if there is one, else one process on the CPU with all its threads."""
        import torch

        if torch.cuda.is_available():
            return cls(LAUNCH_CONFIGS / "gpu.yaml")
        # one process: halves of a small batch have worse batch statistics and aren't faster
        if torch.backends.mps.is_available():  # which a process without a launcher would take
            threads = str(torch.get_num_threads())
            options = ("--num_processes", "1", "--num_cpu_threads_per_process", threads)
            return cls(LAUNCH_CONFIGS / "cpu.yaml", options)
        return cls()

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
    def by_launcher(self) -> bool:
        """Whether the run's processes are child processes of `accelerate launch`."""
        return self.config is not None

    @property
    def mixed_precision(self) -> str:
        """`no`, `fp16` or `bf16`, as the config file says."""
        value = read_mapping(self.config).get("mixed_precision") if self.config else None
        return "no" if value in (None, False) else str(value)

    def with_processes(self, count: int, *, cpu: bool) -> Launch:
        """The same launch with `count` processes on this machine, one per GPU or all on the CPU."""
        options = ("--multi_gpu", "--num_machines", "1", "--num_processes", str(count))
        config = LAUNCH_CONFIGS / "cpu.yaml" if cpu else self.config
        threads = ("--num_cpu_threads_per_process", "1") if cpu else ()
        return Launch(config, (*options, *threads))

    def argv(self, module: str, *arguments: str) -> list[str]:
        """`accelerate launch -m MODULE ARGUMENTS`, or without a launcher, run by this Python."""
        launcher: tuple[str, ...] = ()
        if self.config:
            launcher = ("-m", "accelerate.commands.launch", "--config_file", str(self.config))
        return [sys.executable, *launcher, *self.options, "-m", module, *arguments]

    def text(self, module: str, *arguments: str) -> str:
        """The same command line as a user would type it."""
        if not self.config:
            program = [module] if module == "lastkd" else ["python", "-m", module]
            return " ".join([*program, *arguments])
        shipped = self.config.parent == LAUNCH_CONFIGS
        config = f"launch_configs/{self.config.name}" if shipped else str(self.config)
        start = ["accelerate launch --config_file", config, *self.options, "-m", module]
        return " ".join([*start, *arguments])


# variables that a launcher sets for its processes, and that their own child processes must not see
_LAUNCHER_PREFIXES = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "GROUP_", "ROLE_", "MASTER_")
_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def environment_alone() -> dict[str, str]:
    """This process's environment without the variables that make it a rank of a launched group."""
    launchers = {
        key for key in os.environ if key.startswith(_LAUNCHER_PREFIXES) or key in _RANK_VARIABLES
    }
    if launchers:
        launchers.add("OMP_NUM_THREADS")  # a rank's share of the threads; else the user's own
    return {key: value for key, value in os.environ.items() if key not in launchers}
