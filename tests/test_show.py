"""Pictures of clips: what is drawn, and what a mistake says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from lastkd.cli.app import cli
from lastkd.data.layouts import get_layout, layout_names
from lastkd.data.store.clip_store import ClipStore
from lastkd.errors import UserError
from lastkd.show.limbs import BACKGROUND, colour_of, limbs
from lastkd.show.poses import PoseSequence, find_clip, stream_poses, view_poses
from lastkd.show.projection import project
from lastkd.show.terminal import TerminalCanvas, play

NTU = get_layout("ntu25")


def lastkd(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def two_bodied(store_path: Path) -> int:
    return int(np.flatnonzero(ClipStore.open(store_path).bodies > 1)[0])


def test_a_strip_shows_every_limb_of_both_bodies(tmp_path: Path, store_path: Path) -> None:
    out = tmp_path / "strip.png"
    result = lastkd("show", store_path, two_bodied(store_path), "--out", out, "--poses", 3)
    assert result.exit_code == 0, result.output
    image = Image.open(out)
    seen = Counter(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))
    assert seen[BACKGROUND] > 0.5 * image.width * image.height
    for body in (0, 1):
        for limb in set(limbs(NTU)):
            assert seen[colour_of(limb, body)] > 20, (body, limb)


def test_a_strip_has_a_row_for_each_stream(tmp_path: Path, store_path: Path) -> None:
    for stream in ("joint", "all"):
        lastkd("show", store_path, "--out", tmp_path / f"{stream}.png", "--stream", stream)
    one, all_three = (Image.open(tmp_path / f"{name}.png").height for name in ("joint", "all"))
    assert one - 76 == (all_three - 76) / 3


def test_an_animation_has_the_clips_frames(tmp_path: Path, store_path: Path) -> None:
    out = tmp_path / "clip.gif"
    assert lastkd("show", store_path, "--out", out).exit_code == 0
    image = Image.open(out)
    frames = int(ClipStore.open(store_path).frames[0])
    assert image.n_frames == frames
    assert image.info["duration"] == 30
    image.seek(0)
    first = np.asarray(image.convert("RGB")).copy()
    image.seek(frames // 2)
    assert (np.asarray(image.convert("RGB")) != first).any()


def test_a_raw_file_is_drawn_without_a_store(tmp_path: Path) -> None:
    made = lastkd("prepare", "synthetic", "--out", tmp_path / "raw", "--subjects", 2,
                  "--repetitions", 1, "--as-skeleton-files")  # fmt: skip
    assert made.exit_code == 0
    file = min((tmp_path / "raw").iterdir())
    result = lastkd("show", file, "--out", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    assert file.stem in result.output


def test_into_a_pipe_a_few_poses_are_printed(store_path: Path) -> None:
    name = ClipStore.open(store_path).names[3]
    output = lastkd("show", store_path, name).output
    assert name in output and "frame 0" in output
    assert sum(0x2800 < ord(char) < 0x2900 for char in output) > 50
    assert "\x1b" not in output


def test_it_plays_in_a_terminal(store_path: Path) -> None:
    shown = find_clip(str(store_path), None, None)
    short = [PoseSequence("joint", shown.clip.joints[:3], np.ones((3, 1), bool))]
    console = Console(force_terminal=True, width=80, height=24, record=True)
    with console.capture() as capture:
        play(console, short, NTU, title="t", subtitle="s", speed=10, turn=0, rounds=1)
    assert "frame 3/3" in capture.get()


@pytest.mark.parametrize("columns", [20, 78])
def test_a_figure_fits_its_part_of_the_terminal(store_path: Path, columns: int) -> None:
    shown = find_clip(str(store_path), str(two_bodied(store_path)), None)
    drawn = TerminalCanvas(stream_poses(shown, ["joint"])[0], NTU, 25, columns, 20).frame(0)
    assert len(drawn) == 20
    assert max(len(line) for line in drawn) <= columns


def test_the_training_view_is_the_one_that_a_run_sees(store_path: Path) -> None:
    import torch

    from lastkd.data.views import Views
    from lastkd.settings.resolve import defaults
    from lastkd.settings.runs import TrainSettings
    from lastkd.settings.views import ViewSettings

    shipped = defaults(TrainSettings)
    settings = ViewSettings.model_validate(shipped)
    views = Views(ClipStore.open(store_path), settings, torch.device("cpu"))
    shown = find_clip(str(store_path), "7", None)
    for view in ("train", "test"):
        (drawn,) = view_poses(shown, ["joint"], view, seed=3, epoch=5)
        clip = np.array([7])
        expected = (
            views.training(clip, views.draw(3, 5)) if view == "train" else views.evaluation(clip)
        )
        expected_joint = expected["joint"][0].permute(1, 3, 2, 0).numpy()
        bodies = drawn.joints.shape[1]
        np.testing.assert_allclose(drawn.joints, expected_joint[:, :bodies], atol=1e-6)


def test_bones_add_up_to_the_pose_round_the_centre(store_path: Path) -> None:
    shown = find_clip(str(store_path), None, None)
    (bone,) = stream_poses(shown, ["bone"])
    joints = shown.clip.joints
    np.testing.assert_allclose(bone.joints, joints - joints[:, :, [NTU.centre]], atol=1e-5)


def test_the_person_is_seen_from_the_front_and_not_in_a_mirror(store_path: Path) -> None:
    shown = find_clip(str(store_path), None, None)
    projected = project(stream_poses(shown, ["joint"])[0], NTU, 0)
    left, right = NTU.across or (0, 0)
    first = projected.points[0, 0]
    assert first[left, 0] > first[right, 0], "who faces us has the left hand on our right"
    assert first[NTU.joints.index("head"), 1] > first[NTU.joints.index("left_foot"), 1]


@pytest.mark.parametrize("name", layout_names())
def test_mirrored_joints_are_limbs_of_one_number(name: str) -> None:
    layout = get_layout(name)
    of = limbs(layout)
    for left, right in layout.mirror:
        assert (of[left][0], of[right][0]) == ("left", "right")
        assert of[left][1] == of[right][1]
    sides = {joint for pair in layout.mirror for joint in pair}
    assert all(
        of[joint] == ("trunk", 0) for joint in range(layout.num_joints) if joint not in sides
    )


def test_ntu_has_an_arm_and_a_leg_on_each_side() -> None:
    of = limbs(NTU)
    arm, leg = of[NTU.joints.index("left_hand_tip")], of[NTU.joints.index("left_foot")]
    assert arm == of[NTU.joints.index("left_shoulder")] != leg == of[NTU.joints.index("left_hip")]


def test_2d_clips_are_drawn_upright_and_without_unseen_joints(tmp_path: Path) -> None:
    joints = np.ones((4, 1, 17, 3), np.float32)
    joints[..., :2] = np.random.default_rng(0).uniform(0, 100, size=(4, 1, 17, 2))
    joints[:, 0, 0, 1], joints[:, 0, 15, 1] = 0, 100  # the nose at the image's top
    joints[:, 0, 9] = 0
    projected = project(
        PoseSequence("joint", joints, np.ones((4, 1), bool)), get_layout("coco17"), 25
    )
    assert projected.points[0, 0, 0, 1] > projected.points[0, 0, 15, 1]
    assert not projected.visible[:, 0, 9].any()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("nowhere",), "no such file or folder"),
        (("{store}", "S001C001P001R001A01"), "did you mean 'S001C001P001R001A01"),
        (("{store}", "999"), "no number 999"),
        (("{store}", "--out", "a.jpg"), "name it with .png"),
        (("{store}", "--out", "there.png"), "exists already"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store_path: Path,
    words: tuple[str, ...],
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.png").write_text("precious")
    result = lastkd("show", *(word.format(store=store_path) for word in words))
    assert isinstance(result.exception, UserError)
    assert hint in str(result.exception)
    assert Path("there.png").read_text() == "precious"
