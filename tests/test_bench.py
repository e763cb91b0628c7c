"""`lastkd bench`: what distilling costs on this machine."""

from __future__ import annotations

import json

from click.testing import CliRunner

from lastkd.cli.app import cli

SMALL = ("--teacher", "last_v2_tiny", "--frames", "8", "--batch-size", "4", "--rounds", "2")


def test_every_part_is_timed_and_compared() -> None:
    result = CliRunner().invoke(cli, ["bench", *SMALL, "--variant", "nano,small", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report.keys() >= {
        "device", "ratios", "views_clips_per_s", "largest_difference", "cache_mb",
    }  # fmt: skip
    assert report["ratios"].keys() == {"lean_teacher", "together", "nano", "small"}
    for variant in ("nano", "small"):
        assert report["ratios"][variant].keys() == {"replay", "live"}
        # the teacher's part can't be free, and reading it back is cheaper than computing it
        assert report["ratios"][variant]["live"] > report["ratios"][variant]["replay"] > 0
    parts = {"plain teacher", "lean teacher", "together"}
    parts |= {f"{v} {kind}" for v in ("nano", "small") for kind in ("alone", "replay", "live")}
    assert report["ms"].keys() == parts
    assert all(ms > 0 for ms in report["ms"].values())
    assert 0 < report["largest_difference"] < 1e-5
    assert 336 < report["cache_mb"] < 340
    assert report["views_clips_per_s"] > 0


def test_a_variant_that_is_unknown_is_named() -> None:
    result = CliRunner().invoke(cli, ["bench", "--variant", "nanno"])
    assert result.exit_code == 2
    assert "did you mean 'nano'" in result.output
