"""What training on a GPU asks for and a CPU can show: teacher overflow, launch configs, threads."""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from lastkd.data.store.clip_store import ClipStore
from lastkd.distributed.accelerator import make_accelerator
from lastkd.errors import UserError
from lastkd.files.shipped import LAUNCH_CONFIGS
from lastkd.runs.events import read_events
from lastkd.settings.resolve import resolve
from lastkd.settings.runs import DistillSettings, RunSettings, TrainSettings
from lastkd.training import batches, compilation
from lastkd.training.loop import train
from lastkd.training.teacher_cache import TeacherCache

SMALL = {"epochs": 2, "frames": 8, "batch_size": 8, "warmup_epochs": 0}


def two_bodied(store_path: Path) -> set[str]:
    store = ClipStore.open(store_path)
    return {store.names[i] for i in np.flatnonzero(store.bodies == 2)}


@pytest.mark.parametrize("cached", [False, True])
def test_a_teacher_without_finite_logits_is_refused_by_the_clips_name(
    tmp_path: Path, store_path: Path, accelerator: Accelerator, cached: bool
) -> None:
    cache = tmp_path / "cache"
    teacher = Path("own_models:overflowing")
    options = SMALL | {"variant": "nano"} | ({"teacher_cache": cache} if cached else {})
    with pytest.raises(UserError, match="are not finite numbers; look at the clip") as error:
        train(
            resolve(DistillSettings, options),
            data=store_path,
            teacher=teacher,
            folder=tmp_path / "run",
            accelerator=accelerator,
        )
    assert any(name in str(error.value) for name in two_bodied(store_path))
    assert not list(cache.glob("*.safetensors"))
    *_, end = read_events(tmp_path / "run" / "events.jsonl")
    assert end["state"] == "failed"


def test_a_cached_epoch_that_is_not_finite_is_refused(tmp_path: Path, cache: TeacherCache) -> None:
    rows = torch.zeros(cache.key.clips, cache.key.classes).half()
    cache.write(1, rows)
    assert torch.equal(cache.read(1), rows)
    rows[3, 0] = torch.nan
    cache.write(2, rows)
    with pytest.raises(UserError, match=r"holds soft labels that are not finite \(row 3\)"):
        cache.read(2)


@pytest.fixture
def cache(tmp_path: Path) -> TeacherCache:
    from lastkd.training.teacher import TeacherIdentity
    from lastkd.training.teacher_cache import CacheKey

    key = CacheKey(
        teacher="t",
        body_average="present",
        data="d",
        split="xsub",
        clips=8,
        classes=4,
        seed=0,
        frames=8,
        crop_min=0.5,
        turn_degrees=15,
        scale=0.1,
    )
    return TeacherCache.open(tmp_path / "labels", key, TeacherIdentity("t", "t", "present", {}))


def launched(*words: str) -> argparse.Namespace:
    """The settings that `accelerate launch` would start with."""
    args, *_ = _validate_launch_command(launch_command_parser().parse_args([*words, "x.py"]))
    return args


def test_the_one_gpu_config_grows_to_several_as_its_comment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = LAUNCH_CONFIGS / "gpu.yaml"
    one = launched("--config_file", str(config))
    assert (one.num_processes, one.multi_gpu, one.mixed_precision) == (1, False, "fp16")
    first_line = config.read_text(encoding="utf-8").splitlines()[0]
    assert first_line.endswith("--multi_gpu --num_processes 4")
    four = launched("--config_file", str(config), "--multi_gpu", "--num_processes", "4")
    assert (four.num_processes, four.multi_gpu, four.gpu_ids) == (4, True, "all")


def test_the_thread_that_makes_views_stands_on_the_device_of_its_rank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = torch.device("cuda", 1)
    stood: list[tuple[torch.device, str]] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            assert device == here

        def record_event(self) -> Stream:
            return self

        def wait_event(self, event: Stream) -> None:
            pass

    class Item:
        def used_on(self, stream: Any) -> None:
            pass

    @contextlib.contextmanager
    def on(stream: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(
        torch.cuda,
        "set_device",
        lambda device: stood.append((device, threading.current_thread().name)),
    )
    list(batches.prefetch([Item()], here, torch.device("cpu")))
    assert stood == [(here, "views")]


def test_sums_of_products_are_not_kept_in_half_precision() -> None:
    make_accelerator()
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


def test_where_torch_cannot_compile_one_sentence_says_so_and_the_run_goes_on(
    tmp_path: Path,
    store_path: Path,
    accelerator: Accelerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Triton doesn't serve this card")

    monkeypatch.setattr(torch, "compile", refused)
    compilation.compile_refusal.cache_clear()
    settings: RunSettings = resolve(
        TrainSettings, SMALL | {"epochs": 1, "model": "last_e_nano", "compile": True}
    )
    train(settings, data=store_path, teacher=None, folder=tmp_path / "run", accelerator=accelerator)
    compilation.compile_refusal.cache_clear()
    assert "--compile: torch" in capsys.readouterr().out
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    (warning,) = [event for event in events if event["event"] == "warning"]
    assert "Triton doesn't serve this card; the run continues without it" in warning["text"]
    assert events[-1]["state"] == "finished"


def test_many_students_of_one_family_are_all_compiled() -> None:
    compilation.allow_compiled(12)
    settings = torch._dynamo.config
    limit = getattr(settings, "recompile_limit", None) or settings.cache_size_limit
    assert limit >= 12
