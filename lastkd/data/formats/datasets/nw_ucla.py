"""NW-UCLA's skeletons as CTR-GCN publishes them: a folder of `a01_s01_e00_v01.json`, a clip each.

`skeletons` is `(T, 20, 3)`. The name gives the action (of 12, without 7 and 10), the performer and
the view; views 1 and 2 train and view 3 tests (Wang et al., "Cross-view Action Modeling, Learning
and Recognition", CVPR 2014).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from lastkd.data.clip import Clip, Part, Splits
from lastkd.data.formats.assemble import Sample, fault, reading_of_slots
from lastkd.data.formats.axes import AxesError, arrange, dense
from lastkd.data.formats.base import Reading, Source, SourceOptions
from lastkd.data.formats.clip_files import BadClipError, decode, files_below, read_limited
from lastkd.data.layouts import get_layout
from lastkd.errors import UserError

_NAME = re.compile(r"a(?P<action>\d+)_s(?P<performer>\d+)_e(?P<take>\d+)_v(?P<view>\d+)", re.ASCII)
ACTIONS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
"""By the number in a clip's name."""
TEST_VIEW = 3


class NwUclaJson(Source):
    """Clips of a folder of NW-UCLA's JSON files, sorted by name."""

    help = "NW-UCLA's JSON folder (all_sqe/a01_s01_e00_v01.json)"
    kind = "NW-UCLA JSON"
    knows_up = True

    @classmethod
    def recognises(cls, path: Path) -> bool:
        if path.is_file():
            return path.suffix == ".json" and _NAME.fullmatch(path.stem) is not None
        names = (Path(f).stem for _, files in files_below(path, ".json") for f in files[:3])
        return any(_NAME.fullmatch(name) for name in names)

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> NwUclaJson:
        return cls(paths[0], options)

    def __init__(self, root: Path, options: SourceOptions) -> None:
        self.layout = get_layout(options.layout or "ucla20")
        self.class_names = tuple(ACTIONS.values())
        self.counts: dict[str, int] = {}
        self._keep_bodies = options.keep_bodies
        self._files = sorted(
            (Path(file) for _, files in files_below(root, ".json") for file in files),
            key=lambda file: file.stem,
        )
        names = [file.stem for file in self._files]
        twice = next((a for a, b in pairwise(names) if a == b), None)
        if twice is not None:
            raise UserError(f"{root}: has two files of the clip {twice!r}; keep one")

    def __len__(self) -> int:
        return len(self._files)

    def names(self) -> Sequence[str]:
        return [file.stem for file in self._files]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for file in self._files[start:stop]:
            yield self._read(file)

    def _read(self, file: Path) -> Reading:
        match = _NAME.fullmatch(file.stem)
        nameless = Sample(file.stem, 0, str(file))
        if match is None:
            return fault(nameless, "has no name such as a01_s01_e00_v01.json")
        action = int(match["action"])
        if action not in ACTIONS:
            known = ", ".join(map(str, ACTIONS))
            return fault(nameless, f"is of action {action}, and NW-UCLA has {known}; take it out")
        label = list(ACTIONS).index(action)
        who = (int(match["performer"]), int(match["view"]))
        sample = Sample(file.stem, label, str(file), *who)
        try:
            content = decode(read_limited(str(file)))
            skeletons = content.get("skeletons") if isinstance(content, dict) else content
            joints = arrange(dense(skeletons), self.layout)
        except (BadClipError, AxesError, ValueError, OSError) as error:
            return fault(sample, str(error))
        return reading_of_slots(sample, joints, self.layout, keep_bodies=self._keep_bodies)

    def identity(self) -> str:
        digest = hashlib.sha256()
        for file in self._files:
            about = file.stat()
            digest.update(f"{file.name} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def splits(self, clips: Sequence[Clip]) -> Splits:
        parts: dict[Part, list[str]] = {"train": [], "test": []}
        for clip in clips:
            parts["test" if clip.camera == TEST_VIEW else "train"].append(clip.name)
        return {"xview": parts}
