"""Small stores and checkpoints shared by the tests, and data that lies beside a checkout."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate import Accelerator
from checkpoints import untrained
from short_runs import Start, standalone

from lastkd.data.store.prepare import open_source, prepare
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.distributed.accelerator import make_accelerator

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(*parts: str) -> Path:
    """A file of the data beside the checkout; skips the test, visibly, where it is missing."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs ../shared/{'/'.join(parts)}")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with most slow tests come first, so that none is left to one core at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic store of 4 subjects x 16 actions x 1 repetition."""
    out = tmp_path_factory.mktemp("store") / "synthetic"
    settings = SyntheticSettings(subjects=4, clips_per_subject_and_action=1)
    prepare(open_source("synthetic", synthetic=settings), out)
    return out


@pytest.fixture(scope="session")
def teacher(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained LAST-v2 tiny that fits `store_path`; its checkpoint records an accuracy."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    return untrained(path, store_path, accuracy={"top1": 12.5})


@pytest.fixture(scope="module")
def accelerator() -> Iterator[Accelerator]:
    yield make_accelerator()
    gc.collect()


@pytest.fixture(scope="module")
def start(store_path: Path, teacher: Path, accelerator: Accelerator) -> Start:
    """Starts short runs on `store_path`."""
    return Start(store_path, teacher, accelerator)


@pytest.fixture(scope="module")
def undisturbed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run that nothing stopped."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    start(standalone(), folder)
    return folder
