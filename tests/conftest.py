"""Small stores and checkpoints that the tests share, and the data that lies beside a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastkd.data.prepare import open_source, prepare
from lastkd.data.synthetic import SyntheticSettings

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(*parts: str) -> Path:
    """A file of the data beside the checkout; the test is skipped, visibly, where it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs ../shared/{'/'.join(parts)}")
    return path


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic store of 4 subjects x 16 actions x 1 repetition."""
    out = tmp_path_factory.mktemp("store") / "synthetic"
    settings = SyntheticSettings(subjects=4, clips_per_subject_and_action=1)
    prepare(open_source("synthetic", synthetic=settings), out)
    return out
