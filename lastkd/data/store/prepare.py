"""From any source to a packed store: read in several processes, centre, write in order."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lastkd.data.class_names import read_class_names
from lastkd.data.clip import Clip
from lastkd.data.formats.base import Source
from lastkd.data.open_source import SYNTHETIC, open_source
from lastkd.data.split_rules import SplitRule, split_by
from lastkd.data.store.checks import warnings_of
from lastkd.data.store.clip_store import ClipStore
from lastkd.data.store.packing import Packed, pack_readings
from lastkd.data.store.writer import StoreWriter
from lastkd.data.synthetic.settings import builtin_set
from lastkd.errors import UserError
from lastkd.version import __version__

__all__ = ["SYNTHETIC", "Prepared", "open_source", "prepare", "prepare_store", "usual_workers"]

CHUNK = 64
"""Samples that one process reads at a time."""
MOST_WORKERS = 8
"""By default; each has about 100 MB of its own."""
_NO_JOINTS = np.zeros((0, 0, 0, 0), np.float32)


@dataclass(frozen=True)
class Prepared:
    """How a store came about.

    Attributes:
        store: opened.
        faults: what is wrong with the samples that couldn't be read, a sentence each.
        differences: where a benchmark's numbers weren't met.
        warnings: what may spoil the training, a sentence each (see `warnings_of`).
    """

    store: ClipStore
    faults: list[str]
    differences: list[str]
    warnings: list[str] = field(default_factory=list)


def usual_workers() -> int:
    """One for each core that this process may use, at most eight."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    return min(os.cpu_count() or 1, MOST_WORKERS)


def prepare(
    source: Source,
    out: Path,
    *,
    on_progress: Callable[[int], None] = lambda count: None,
    begun: Callable[[int], None] = lambda count: None,
    workers: int = 1,
    strict: bool = False,
    resumable: bool = False,
    name: str | None = None,
    split_rules: Sequence[SplitRule] = (),
    drop_duplicates: bool = False,
) -> Prepared:
    """Writes the store `out` from a source, each clip centred and scaled.

    The bytes of the store don't depend on the number of workers.

    Args:
        on_progress: called with the number of samples done so far.
        begun: called once, with the number that an earlier call had done.
        workers: processes that read; with 1 it is this one.
        strict: a bad sample ends it; otherwise it is left out, counted and listed.
        resumable: what is done stays in `<out>.part` when it is stopped, and the next call with the
            same source continues from there.
        name: of the store; by default the benchmark's or the source's.
        split_rules: make the splits, in place of the source's own.
        drop_duplicates: clips that equal an earlier one in every number are left out.

    Raises:
        UserError: there is nothing to store, `out` can't be written, or `strict` and a sample is
            bad; nothing half-made takes the place of `out`.
    """
    for rule in split_rules:
        rule.check(source.names())
    identity = _identity(source, drop_duplicates) if resumable else None
    with StoreWriter(
        out,
        source.layout,
        identity=identity,
        source=source.kind,
        drop_duplicates=drop_duplicates,
    ) as writer:
        done = writer.samples
        begun(done)
        for packed in _packed(source, done, workers):
            if strict and packed.faults:
                writer.discard()
                raise UserError(packed.faults[0])
            writer.take(packed)
            on_progress(writer.samples)
        clips = [
            Clip(one.name, one.label, _NO_JOINTS, one.performer, one.camera, one.setup, one.fps)
            for one in writer.clips
        ]
        benchmark = source.benchmark
        writer.finish(
            class_names=source.class_names,
            splits=split_by(split_rules, clips, source.splits(clips)),
            source=source.kind,
            counts=writer.counts,
            benchmark=benchmark.title if benchmark else None,
            name=name or (benchmark.title if benchmark else source.name),
            fps=source.fps,
        )
        store = ClipStore.open(out)
        return Prepared(store, writer.faults, store.differences(), warnings_of(store))


def _identity(source: Source, drop_duplicates: bool) -> str:
    words = (__version__, source.kind, source.layout.model_dump_json(), CHUNK)
    choices = f"{source.choices} {drop_duplicates}"
    return hashlib.sha256(f"{words} {choices} {source.identity()}".encode()).hexdigest()


def _packed(source: Source, start: int, workers: int) -> Iterator[Packed]:
    """The samples from `start` on in chunks, in order."""
    total = len(source)
    ranges = [(at, min(at + CHUNK, total)) for at in range(start, total, CHUNK)]
    if source.sequential or workers == 1 or len(ranges) <= 2 * workers:
        for first, stop in ranges:
            yield pack_readings(source.readings(first, stop), source.layout)
        return
    # a forked copy of a process with threads (of torch, of a progress bar) may never wake
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(source,))
    waiting: deque[Future[Packed]] = deque()
    try:
        for first, stop in ranges:
            with _sigint_held_back():
                waiting.append(pool.submit(_read, first, stop))
            # so many are under way or done and waiting for their turn: what bounds the memory
            if len(waiting) > 2 * workers + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a reading process ended before its time (for want of memory?); start again with "
            "fewer --workers"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _sigint_held_back() -> Iterator[None]:
    """Ctrl-C waits, here and for good in processes that start meanwhile.

    A reading process that is still importing would answer it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_source: Source | None = None


def _begin(source: Source) -> None:
    """What a reading process does first."""
    global _source  # noqa: PLW0603 (a worker's only state, sent once and not with each chunk)
    _source = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that writes hears it for all
    parent = multiprocessing.parent_process()

    def leave_with_parent() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _read(first: int, stop: int) -> Packed:
    if _source is None:
        raise RuntimeError("a reading process was given no source")
    return pack_readings(_source.readings(first, stop), _source.layout)


def prepare_store(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    format: str | None = None,
    dataset: str | None = None,
    layout: str | None = None,
    up: str | None = None,
    class_names: str | Path | None = None,
    labels: str | Path | None = None,
    split_by: str | Sequence[str] = (),
    name: str | None = None,
    drop_duplicates: bool = False,
    keep_bodies: bool = False,
    image_size: tuple[float, float] | None = None,
    fps: float | None = None,
) -> ClipStore:
    """Turns a source (as `lastkd prepare` takes it) into a packed store, and opens it.

    Args:
        source: a path, several of one format, or the word `synthetic`.
        format: of the source, where it isn't recognised: a name, or `package.module:Reader`.
        dataset: `ntu60` or `ntu120`, where the names leave it open.
        layout: of the skeletons, where the format leaves it open.
        up: which way is up in the source's coordinates (`z`, `-y`, ...), where it isn't y.
        class_names: a text file with a name a line, for a source that only numbers its classes.
        labels: a CSV table of the clips.
        split_by: rules that make the splits, such as `performer` or `share 0.8`.
        name: of the set.
        drop_duplicates: clips that equal an earlier one in every number are left out.
        keep_bodies: bodies stay in the source's slots, absent or not.
        image_size: width and height in pixels, where coordinates are shares of them.
        fps: frames per second, where neither the table nor the files say it.

    Raises:
        UserError: the source is missing, of no known format or malformed, or `out` exists.
    """
    sources = [source] if isinstance(source, str | Path) else source
    texts = [split_by] if isinstance(split_by, str) else split_by
    rules = [SplitRule.parse(text) for text in texts]
    reader = open_source(
        [str(one) for one in sources],
        format=format,
        dataset=dataset,
        layout=layout,
        up=up,
        labels=labels,
        keep_bodies=keep_bodies,
        image_size=image_size,
        fps=fps,
        replaces_splits=bool(rules),
        synthetic=builtin_set(),
    )
    if class_names is not None:
        names = read_class_names(Path(class_names), reader.class_names, reader.kind)
        reader.class_names = names
    done = prepare(reader, Path(out), name=name, split_rules=rules, drop_duplicates=drop_duplicates)
    return done.store
