"""Runs that are killed, stopped and starved of disk, and what is left of them: a line per trial.

    python benchmarks/survive.py         # 30 kills, 20 SIGTERMs, 10 full disks, 4 lost ranks
    python benchmarks/survive.py --kills 4 --terms 2 --full 1 --lost 0

Each trial is a whole run on a small synthetic store, started as a user starts it: by `accelerate
launch`, in one process and in two by turns, with and without a teacher whose cache it fills.

kills: SIGKILL to all processes at a random moment, once or several times, some of them while a
    checkpoint is being written; then resumed to the end. The weights and the teacher's cache must
    be those of the run that was never disturbed, byte for byte, and the event log whole.
terms: SIGTERM to the launcher (to its process group in every third trial). A checkpoint must be
    there that isn't older than the step at which the signal came, and the end be recorded.
full: no file may grow beyond a limit that the next checkpoint exceeds. The checkpoint before must
    be whole, the event log too, and the run resumed must end like the undisturbed one.

lost: one of two processes started without a launcher, which would clear up, is killed or (every
    other trial) only held by SIGSTOP. The other must end within 60 seconds and name it.

Ends with exit code 1 if any trial failed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.distributed.launch import environment_alone
from lastkd.errors import UserError
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.models.checkpoint import read_checkpoint
from lastkd.runs.events import FILE_NAME, read_events
from lastkd.training.checkpoints import Checkpoints

# started without torch's agent, as one GPU is: the launcher doesn't pass a signal on
ONE_PROCESS = """\
compute_environment: LOCAL_MACHINE
distributed_type: 'NO'
use_cpu: true
num_machines: 1
num_processes: 1
mixed_precision: 'no'
"""
PATIENCE_S = 300
EPOCHS = 3
QUICK = ["--epochs", str(EPOCHS), "--frames", "8", "--warmup-epochs", "1", "--log-every", "1"]
# so small that checkpoints are written within epochs too, and a kill often meets one
QUICK += ["--lr", "0.05", "--checkpoint-minutes", "0.005"]


class Trial:
    """One run folder, and the command that starts it."""

    def __init__(self, work: Path, name: str, processes: int, *, cached: bool) -> None:
        self.folder = work / "runs" / name
        self.cache = work / "caches" / name
        self.processes = processes
        self.cached = cached
        self.command = [sys.executable, "-m", "accelerate.commands.launch"]
        config = work / "one.yaml" if processes == 1 else LAUNCH_CONFIGS / "cpu.yaml"
        self.command += ["--config_file", str(config)]
        self.command += ["--num_cpu_threads_per_process", "1"]
        if cached:
            self.command += ["-m", "lastkd.distill", "--variant", "nano"]
            self.command += ["--teacher", str(work / "teacher" / "last.safetensors")]
            self.command += ["--teacher-cache", str(self.cache)]
        else:
            self.command += ["-m", "lastkd.train", "--model", "last_e_nano"]
        self.command += ["--data", str(work / "store"), "--run", str(self.folder), *QUICK]
        self.command += ["--batch-size", str(10 // processes)]

    def start(self, limit: int | None = None) -> subprocess.Popen[str]:
        def before() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            self.command,
            env=environment_alone(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 - there are no threads here
        )

    def to_the_end(self) -> str:
        """Runs the command to its end and returns its output."""
        process = self.start()
        out, _ = process.communicate(timeout=PATIENCE_S)
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}: {out[-2000:]}")
        return out

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        path = self.folder / FILE_NAME
        recorded = list(read_events(path)) if path.exists() else []
        return [event for event in recorded if kind is None or event["event"] == kind]

    def last_step(self) -> int:
        """The last step that was recorded."""
        with contextlib.suppress(UserError):
            return max((event["step"] for event in self.events("step")), default=0)
        return 0

    def end(self) -> dict[str, Any]:
        """Everything that must equal the undisturbed run's."""
        files = ("best.safetensors", "last.safetensors")
        weights = {name: read_checkpoint(self.folder / name).weights_hash for name in files}
        cached = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.cache.glob("epoch-*"))
        }
        curve = {event["step"]: event["total"] for event in self.events("step")}
        accuracy = {event["epoch"]: event["top1"] for event in self.events("epoch")}
        return {"weights": weights, "cache": cached, "losses": curve, "accuracy": accuracy}

    def log_is_whole(self) -> bool:
        content = (self.folder / FILE_NAME).read_bytes()
        return content.endswith(b"\n") and all(
            "event" in json.loads(line) for line in content.splitlines()
        )


def processes_of(trial: Trial) -> list[int]:
    """The launcher and its child processes, recognised by the trial's folder in their arguments."""
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(trial.folder).encode() in path.read_bytes().split(b"\0"):
                processes.append(int(path.parent.name))
    return processes


def kill_all(trial: Trial) -> None:
    while processes := processes_of(trial):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def wait_until(process: subprocess.Popen[str], true: Callable[[], bool]) -> bool:
    """Waits until `true()`; returns whether it became true before the process ended."""
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        if true():
            return True
        time.sleep(0.002)
    return true()


def killed(trial: Trial, chance: random.Random, undisturbed: dict[str, Any]) -> tuple[bool, str]:
    moments: list[str] = []
    writing = trial.folder / "checkpoints"
    for _ in range(chance.choice((1, 1, 2, 3))):
        process = trial.start()
        how = chance.choice(("step", "step", "write", "start"))
        if how == "start":
            time.sleep(chance.uniform(0.5, 6))
        else:
            aim = trial.last_step() + chance.randint(1, 3)
            wait_until(process, lambda aim=aim: trial.last_step() >= aim)  # type: ignore[misc]
            if how == "write":
                wait_until(process, lambda: any(writing.glob(".*.part")))
            else:
                time.sleep(chance.uniform(0, 0.15))
        in_write = any(writing.glob(".*.part"))
        kill_all(trial)
        process.communicate()
        moments.append(f"step {trial.last_step()}{' in a checkpoint' if in_write else ''}")
    trial.to_the_end()
    end = trial.end()
    wrong = [name for name, value in undisturbed.items() if end[name] != value]
    if not trial.log_is_whole():
        wrong.append("event log")
    return not wrong, f"killed at {', '.join(moments)}; differs: {', '.join(wrong) or 'nothing'}"


def termed(trial: Trial, chance: random.Random, number: int) -> tuple[bool, str]:
    process = trial.start()
    aim = chance.randint(1, 6)
    wait_until(process, lambda: trial.last_step() >= aim)
    time.sleep(chance.uniform(0, 0.1))
    came = trial.last_step()
    started = time.monotonic()
    if number % 3 == 2:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    while processes_of(trial) and time.monotonic() - started < PATIENCE_S:
        time.sleep(0.05)  # a launcher of one process doesn't wait for it
    took = time.monotonic() - started
    places = Checkpoints(trial.folder).positions()
    newest = places[0].step if places else -1
    (*_, last) = trial.events()
    ended = last["event"] == "end" and last["state"] == "stopped"
    reason = last.get("reason", "no end recorded")
    text = f"signal at step {came}, checkpoint at {newest}, {reason}, gone after {took:.1f} s"
    return ended and newest >= came and trial.log_is_whole(), text


def lost(trial: Trial, number: int) -> tuple[bool, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    group |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *trial.command[trial.command.index("-m", 3) :]]
    command += ["--epochs", "500"]
    ranks = [
        subprocess.Popen(
            command,
            env=environment_alone() | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    which, how = number // 2 % 2, signal.SIGSTOP if number % 2 else signal.SIGKILL
    wait_until(ranks[0], lambda: trial.last_step() >= 2)
    ranks[which].send_signal(how)
    started = time.monotonic()
    try:
        out, _ = ranks[1 - which].communicate(timeout=PATIENCE_S)
        took = time.monotonic() - started
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    message = out.splitlines()[-1]
    fine = took < 60 and message.startswith(f"Error: rank {which} of 2 is lost")
    return fine, f"{how.name} to rank {which}, the other ended after {took:.1f} s: {message[:60]}"


def starved(trial: Trial, chance: random.Random, undisturbed: dict[str, Any]) -> tuple[bool, str]:
    process = trial.start()
    aim = chance.randint(1, 6)
    wait_until(process, lambda: trial.last_step() >= aim)
    kill_all(trial)
    process.communicate()
    checkpoints = Checkpoints(trial.folder)
    before = {p.name: (checkpoints.path(p)) for p in checkpoints.positions()}
    whole = {name: sorted(x.read_bytes() for x in path.iterdir()) for name, path in before.items()}
    process = trial.start(
        limit=chance.randint(1_000, 600_000) + (trial.folder / FILE_NAME).stat().st_size
    )
    out, _ = process.communicate(timeout=PATIENCE_S)
    message = next((line for line in out.splitlines() if line.startswith("Error:")), "no error")
    remaining = checkpoints.positions()
    earlier = [place for place in remaining if place.name in whole]
    intact = all(
        sorted(x.read_bytes() for x in checkpoints.path(place).iterdir()) == whole[place.name]
        for place in earlier
    )
    intact = intact and bool(remaining or not whole) and trial.log_is_whole()
    for place in remaining:
        checkpoints.read(place)
    trial.to_the_end()
    end = trial.end()
    wrong = [name for name, value in undisturbed.items() if end[name] != value]
    fine = process.returncode != 0 and intact and not wrong and "cannot be written" in message
    differing = ", ".join(wrong) or "nothing"
    text = f"{len(remaining)} checkpoints left, differs: {differing}; {message[:150]}"
    return fine, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--terms", type=int, default=20)
    parser.add_argument("--full", type=int, default=10)
    parser.add_argument("--lost", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(0 if run_all(Path(temporary), options) else 1)


def run_all(work: Path, options: argparse.Namespace) -> bool:
    settings = SyntheticSettings(subjects=4, clips_per_subject_and_action=1)
    prepare(open_source("synthetic", synthetic=settings), work / "store")
    (work / "one.yaml").write_text(ONE_PROCESS)
    teach = [sys.executable, "-m", "lastkd.train", "--model", "last_v2_tiny", *QUICK]
    teach += ["--data", str(work / "store"), "--run", str(work / "teacher"), "--epochs", "1"]
    subprocess.run(teach, env=environment_alone(), check=True, stdout=subprocess.DEVNULL)
    kinds = [(processes, cached) for cached in (False, True) for processes in (1, 2)]
    undisturbed: dict[tuple[int, bool], dict[str, Any]] = {}
    good: dict[str, int] = {}

    def name(kind: tuple[int, bool]) -> str:
        return f"{kind[0]} process{'es' if kind[0] > 1 else ''}{', cache' if kind[1] else ''}"

    counts = {
        "kills": options.kills,
        "terms": options.terms,
        "full": options.full,
        "lost": options.lost,
    }
    for disturbance, count in counts.items():
        good[disturbance] = 0
        for number in range(count):
            kind = kinds[1] if disturbance == "lost" else kinds[number % len(kinds)]
            if disturbance in ("kills", "full") and kind not in undisturbed:
                plain = Trial(work, f"undisturbed-{kind[0]}-{kind[1]}", kind[0], cached=kind[1])
                plain.to_the_end()
                undisturbed[kind] = plain.end()
            chance = random.Random(f"{options.seed}/{disturbance}/{number}")
            trial = Trial(work, f"{disturbance}-{number}", kind[0], cached=kind[1])
            started = time.monotonic()
            try:
                if disturbance == "kills":
                    fine, text = killed(trial, chance, undisturbed[kind])
                elif disturbance == "terms":
                    fine, text = termed(trial, chance, number)
                elif disturbance == "lost":
                    fine, text = lost(trial, number)
                else:
                    fine, text = starved(trial, chance, undisturbed[kind])
            except (RuntimeError, UserError, ValueError, subprocess.TimeoutExpired) as error:
                fine, text = False, f"{type(error).__name__}: {error}"
            good[disturbance] += fine
            took = time.monotonic() - started
            verdict = "good" if fine else "BAD"
            print(
                f"{disturbance} {number + 1}/{count} | {name(kind)} | {verdict} | {text} | "
                f"{took:.0f} s"
            )
            sys.stdout.flush()
            if fine:
                shutil.rmtree(trial.folder)
    print(
        ", ".join(
            f"{disturbance}: {good[disturbance]} of {count} good"
            for disturbance, count in counts.items()
        )
    )
    return good == counts


if __name__ == "__main__":
    main()
