"""`lastkd monitor` as a user types it, without a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from run_logs import Log, three_runs

from lastkd.cli.app import cli
from lastkd.errors import UserError


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return three_runs(tmp_path / "runs")


def monitor(*words: object) -> Result:
    return CliRunner().invoke(cli, ["monitor", *map(str, words)], catch_exceptions=True)


def test_once_prints_one_screen(runs: Path) -> None:
    result = monitor("--once", "--size", "100x30", "--utf8")
    assert result.exit_code == 0, result.output
    lines = result.output.rstrip("\n").split("\n")
    assert len(lines) == 30
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in result.output  # no terminal, no colour
    assert "distilled" in result.output
    assert "+4.0" in result.output


def test_once_in_ascii(runs: Path) -> None:
    result = monitor(runs, "--once", "--ascii", "--size", "80x24")
    assert result.output.isascii()
    assert "teacher 91.5" in result.output


def test_json_for_scripts(runs: Path) -> None:
    report = json.loads(monitor("--json").output)
    assert [(run["run"], run["state"]) for run in report["runs"]] == [
        ("teacher", "finished"),
        ("alone", "finished"),
        ("distilled", "finished"),
    ]
    assert report["runs"][2]["gain"] == 4.0


def test_json_of_nothing_is_empty(tmp_path: Path) -> None:
    assert json.loads(monitor(tmp_path, "--json").output)["runs"] == []


def test_svg_is_a_picture_of_shapes(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.svg"
    result = monitor("--svg", out, "--size", "120x40", "--theme", "light", "--utf8")
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 100
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace(
        "https://www.textualize.io", ""
    )
    assert not any("⠀" < char <= "⣿" for char in text)
    assert "distilled" in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("nowhere",), "no such run"),
        (("--once",), "contains no runs yet"),
        ((), "needs a terminal"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = monitor(*words)
    assert isinstance(result.exception, UserError)
    assert hint in str(result.exception)


def test_a_size_that_is_none(runs: Path) -> None:
    result = monitor("--once", "--size", "wide")
    assert result.exit_code == 2
    assert "120x40" in result.output


def test_it_never_imports_torch(tmp_path: Path) -> None:
    Log(tmp_path / "r").run([50.0])
    code = (
        "import sys; from lastkd.cli.app import cli\n"
        "for words in (['--once', '--size', '120x40'], ['--json'], ['--svg', sys.argv[2]]):\n"
        "    cli.main(['monitor', sys.argv[1], *words], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'accelerate', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "a.svg")]
    subprocess.run(command, check=True, capture_output=True)
