"""A home directory with Kaggle credentials, and a service on loopback behind the client."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fake_kaggle import KEY, USER, FakeKaggle

from lastkd.cli.app import cli
from lastkd.kaggle import fetch, follow, service, start

CLOSED = "http://127.0.0.1:9"
"""Where https would go: nowhere. The client must never reach the real service from a test."""


def point_at(kaggle: FakeKaggle, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "VERBOSE"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_STATE_HOME": str(home / ".state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "TMPDIR": str(home / "tmp"),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": kaggle.address,
        "HTTP_PROXY": kaggle.address,
        "https_proxy": CLOSED,
        "HTTPS_PROXY": CLOSED,
        "KAGGLE_USERNAME": USER,
        "KAGGLE_KEY": KEY,
    }
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
    monkeypatch.chdir(home)
    # a test waits no longer than it must
    for module in (service, fetch):
        monkeypatch.setattr(module, "RETRIES_AFTER_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(start, "_POLLS_AFTER_S", (0.01, 0.05))
    monkeypatch.setattr(follow, "RECONNECT_S", 0.01)


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKaggle]:
    """The service; the current folder is the home of someone with credentials."""
    pytest.importorskip("kagglesdk", reason="the kaggle client needs Python 3.11 or newer")
    server = FakeKaggle()
    point_at(server, tmp_path, monkeypatch)
    from kaggle.api.kaggle_api_extended import KaggleApi

    assert "--local" in KaggleApi.args  # decided when it is imported: never the real service
    yield server
    server.close()


def lastkd(*words: object) -> Result:
    return CliRunner().invoke(cli, ["kaggle", *(str(word) for word in words)])
