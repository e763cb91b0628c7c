"""Mutated inputs for every reader and loader: each ends in a result or in one clear sentence.

    python benchmarks/fuzz.py --reader all --count 10000 --seed 0 [--json]
    python benchmarks/fuzz.py --reader zip --seed 0 --only 4711 --keep bad/   # one of them again

An input is a small valid one, changed: cut off, bytes flipped, deleted, doubled or swapped, counts
made huge or negative, numbers made letters or NaN, 24 joints, magic numbers of other formats, sizes
of a zip bomb, pickles that would run code. Mutation N of a seed is always the same.

A reader runs in a process of its own whose memory is limited; anything but a result or a
`UserError` counts as a traceback, 5 seconds as a hang. A line a reader: inputs, how many were
refused, tracebacks, hangs, the slowest, the peak memory above what the process had before. Exit
code 1 where there was a traceback or a hang, or code was run.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz_readers import READERS
from mutations import TRACE, bomb, evil_pickles, mutated
from valid_files import Files

from lastkd.errors import UserError

HANG_S = 5.0
MEMORY_LIMIT = 3 * 2**30
"""Bytes of data a reader's process may hold, so that a runaway ends in a MemoryError."""


@dataclass
class Outcome:
    reader: str
    inputs: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    ran_code: int = 0
    first: str = ""
    failing: list[int] = field(default_factory=list)


# ---------------------------------------------------------------- the inputs


def crafted(reader: str, index: int) -> Files | None:
    """The first inputs of a reader: each evil pickle and each bomb as they are."""
    evils = evil_pickles()
    pickled = {
        "pyskl": "set.pkl",
        "set-pickle": "set.pkl",
        "last-arrays": "xsub/train_label.pkl",
        "st-gcn": "xsub/train_label.pkl",
        "pth": "public.pth",
    }
    if reader in pickled and index < len(evils):
        return {pickled[reader]: evils[index]}
    if reader in ("zip", "npz") and index < 30:
        name = "set.zip" if reader == "zip" else "NTU60_CS.npz"
        return {name: bomb(random.Random(index))}
    return None


def input_of(reader: str, valid: Mapping[str, bytes], seed: int, index: int) -> Files:
    """Mutation `index` of a seed."""
    special = crafted(reader, index)
    if special is not None:
        return {**valid, **special}
    rng = random.Random(f"{reader} {seed} {index}")
    target = rng.choice(READERS[reader].targets)
    return {**valid, target: mutated(valid[target], rng)}


# ---------------------------------------------------------------- running


def place(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def run_reader(name: str, seed: int, indices: range, work: str, pipe: Connection) -> None:
    """Reads every input in this process and sends each result as soon as it is known."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
    reader = READERS[name]
    valid = reader.valid()
    folder = Path(work) / name
    trace = Path(work) / f"{name}.trace"
    os.environ[TRACE] = str(trace)
    place(folder, valid)
    # the unchanged input must be accepted, or every refusal would look like success
    reader.read(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in indices:
        shutil.rmtree(folder, ignore_errors=True)
        place(folder, input_of(name, valid, seed, index))
        pipe.send(("begin", index))
        started = time.perf_counter()
        failure, refused = "", False
        try:
            # a library's warnings aren't tracebacks and would flood the terminal
            with contextlib.redirect_stderr(io.StringIO()):
                reader.read(folder)
        except UserError as error:
            refused = True
            if "\n" in str(error) or len(str(error)) > 1500:
                failure = f"not one sentence: {str(error)[:300]!r}"
        except BaseException:
            failure = traceback.format_exc()
        seconds = time.perf_counter() - started
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        pipe.send(("end", index, seconds, refused, failure, peak, trace.exists()))
    pipe.send(("done",))


def fuzz(name: str, count: int, seed: int, first: int = 0) -> Outcome:
    """`count` inputs of one reader; a process that dies or hangs is followed by another."""
    outcome = Outcome(name)
    memory = Path("/dev/shm")
    base = str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
    context = multiprocessing.get_context("spawn")
    at, last = first, first + count
    with tempfile.TemporaryDirectory(dir=base, prefix="lastkd-fuzz-") as work:
        while at < last:
            ours, theirs = context.Pipe()
            arguments = (name, seed, range(at, last), work, theirs)
            process = context.Process(target=run_reader, args=arguments, daemon=True)
            process.start()
            theirs.close()
            at = follow(outcome, ours, process, at, last)
    return outcome


def follow(outcome: Outcome, pipe: Connection, process: Any, at: int, last: int) -> int:
    """Collects what a process sends until it is done or gone; returns the index to go on from."""
    running = False
    while True:
        try:
            # it starts slowly, importing torch; an input may take twice what counts as a hang
            if not pipe.poll(2 * HANG_S if running else 120):
                outcome.hangs += 1
                outcome.inputs += 1
                note(outcome, at, "hung, and was ended")
                process.kill()
                process.join()
                return at + 1
            message = pipe.recv()
        except EOFError:
            process.join()
            outcome.tracebacks += 1
            outcome.inputs += 1
            note(outcome, at, f"the process ended with {process.exitcode}")
            return at + 1 if running else last
        if message[0] == "done":
            process.join()
            return last
        at, running = message[1], True
        if message[0] == "begin":
            continue
        _, _, seconds, refused, failure, peak, ran = message
        outcome.inputs += 1
        outcome.refused += refused
        outcome.slowest_s = max(outcome.slowest_s, seconds)
        outcome.peak_mb = max(outcome.peak_mb, peak)
        outcome.ran_code += ran
        if seconds > HANG_S:
            outcome.hangs += 1
            note(outcome, at, f"took {seconds:.1f} s")
        if failure or ran:
            outcome.tracebacks += 1
            note(outcome, at, failure or "code was run")
        at += 1


def note(outcome: Outcome, index: int, problem: str) -> None:
    outcome.failing.append(index)
    outcome.first = outcome.first or f"input {index}: {problem}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", nargs="+", default=["all"], choices=["all", *READERS])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one input of this number")
    parser.add_argument("--keep", type=Path, help="write that input here")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = list(READERS) if "all" in options.reader else options.reader
    if options.keep is not None:
        valid = READERS[names[0]].valid()
        place(options.keep, input_of(names[0], valid, options.seed, options.only))
    outcomes = []
    for name in names:
        started = time.monotonic()
        outcome = fuzz(
            name, 1 if options.only is not None else options.count, options.seed, options.only or 0
        )
        outcomes.append(outcome)
        if not options.json:
            print(
                f"{name:15} {outcome.inputs:6,} inputs  {outcome.refused:6,} refused  "
                f"{outcome.tracebacks} tracebacks  {outcome.hangs} hangs  slowest "
                f"{outcome.slowest_s:.2f} s  peak +{outcome.peak_mb:.0f} MB  "
                f"({time.monotonic() - started:.0f} s)",
                flush=True,
            )
            if outcome.first:
                print(f"  {outcome.failing[:10]}\n  {outcome.first}")
    if options.json:
        json.dump([asdict(outcome) for outcome in outcomes], sys.stdout, indent=1)
    return int(any(outcome.tracebacks or outcome.hangs or outcome.ran_code for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
