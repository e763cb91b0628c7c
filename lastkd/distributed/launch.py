"""Commands of lastkd under `accelerate launch`, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lastkd.errors import UserError, nearest
from lastkd.files.shipped import LAUNCH_CONFIGS


@dataclass(frozen=True)
class Launch:
    """How this machine's commands are started.

    Attributes:
        config: file that `accelerate launch` is told by.
        options: what it is told beside it.
    """

    config: Path
    options: tuple[str, ...] = ()

    @classmethod
    def usual(cls) -> Launch:
        """One GPU, or else one process on the CPU with all its threads."""
        import torch

        if torch.cuda.is_available():
            return cls(LAUNCH_CONFIGS / "gpu.yaml")
        # batches as small as a demo's are normed worse in halves, and no slower in one piece
        threads = str(torch.get_num_threads())
        alone = ("--num_processes", "1", "--num_cpu_threads_per_process", threads)
        return cls(LAUNCH_CONFIGS / "cpu.yaml", alone)

    @classmethod
    def of(cls, config: Path) -> Launch:
        """By a file of the user's, or by the name of one of lastkd's: `kaggle_t4x2`.

        Raises:
            UserError: it is neither.
        """
        if config.is_file():
            return cls(config)
        known = sorted(path.stem for path in LAUNCH_CONFIGS.glob("*.yaml"))
        if config.stem not in known or config.parent != Path():
            raise UserError(f"{config}: no such launch config; {nearest(config.stem, known)}")
        return cls(LAUNCH_CONFIGS / f"{config.stem}.yaml")

    def words(self, module: str, *options: str) -> list[str]:
        """`accelerate launch -m MODULE OPTIONS` by this Python."""
        return [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(self.config), *self.options, "-m", module, *options),
        ]

    def shown(self, module: str, *options: str) -> str:
        """The same as a user would type it."""
        inside = self.config.parent == LAUNCH_CONFIGS
        config = f"launch_configs/{self.config.name}" if inside else str(self.config)
        start = ["accelerate launch --config_file", config, *self.options, "-m", module]
        return " ".join([*start, *options])


def launch(module: str, *options: str) -> None:
    """Runs a command under the usual launch to its end.

    Raises:
        UserError: it failed; its own words stand above.
    """
    usual = Launch.usual()
    print(f"\n$ {usual.shown(module, *options)}", flush=True)
    command = usual.words(module, *options)
    if subprocess.run(command, env=environment_alone(), check=False).returncode:
        raise UserError(f"{module} failed; what it said stands above")


# what a launcher tells its children, which a process of its own must not hear
_LAUNCHED = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "GROUP_", "ROLE_", "MASTER_")


_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS")


def environment_alone() -> dict[str, str]:
    """This process's environment without what makes it one of a launched group."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(_LAUNCHED) and key not in _RANKS
    }
