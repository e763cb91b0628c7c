"""Small sets of one's own, as users bring them: clips of the synthetic set in another order of
joints, written as pickles."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from lastkd.cli.app import cli
from lastkd.data.clip import Clip
from lastkd.data.layouts import get_layout
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.source import SyntheticSource
from lastkd.errors import UserError

PERFORMERS = ("--split-by", "performer")
NTU_NAMES = {"shoulder_centre": "spine_shoulder", "hip_centre": "spine_base", "spine": "spine_mid"}


def lastkd(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def synthetic_clips(subjects: int = 2, repetitions: int = 1) -> list[Clip]:
    settings = SyntheticSettings(subjects=subjects, clips_per_subject_and_action=repetitions)
    return list(SyntheticSource(settings))


def in_layout(clip: Clip, layout: str) -> np.ndarray:
    """A synthetic clip's joints `(T, M, V, 3)` in the order of a Kinect v1 layout."""
    ntu = get_layout("ntu25").joints
    joints = [ntu.index(NTU_NAMES.get(name, name)) for name in get_layout(layout).joints]
    return clip.joints[:, :, joints]


def annotations(clips: Sequence[Clip], layout: str = "kinect20") -> list[dict[str, Any]]:
    """pyskl's annotations, named `a01_s01_e01` and so on."""
    return [
        {
            "frame_dir": f"a{clip.label + 1:02}_s{clip.performer:02}_e{at:02}",
            "label": clip.label,
            "keypoint": in_layout(clip, layout).transpose(1, 0, 2, 3),
            "total_frames": len(clip.joints),
        }
        for at, clip in enumerate(clips)
    ]


def write_pickle(
    path: Path, clips: Sequence[Mapping[str, Any]], split: Mapping[str, Any] | None = None
) -> Path:
    path.write_bytes(pickle.dumps({"split": split or {}, "annotations": list(clips)}))
    return path


def prepared(tmp_path: Path, source: Path, *options: object) -> tuple[str, dict[str, Any]]:
    """What the command says, and what `info --json` then tells."""
    done = lastkd("prepare", source, "--out", tmp_path / "store", *options)
    assert done.exit_code == 0, done.exception
    return done.output, json.loads(lastkd("info", tmp_path / "store", "--json").output)


def refused(tmp_path: Path, source: Path, *options: object) -> str:
    done = lastkd("prepare", source, "--out", tmp_path / "store", *options)
    assert isinstance(done.exception, UserError), done.output
    assert not (tmp_path / "store").exists()
    return str(done.exception)
