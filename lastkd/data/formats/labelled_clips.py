"""Clips that lie in files of their own, a file or a folder each: the part that formats share.

A format finds its clips among the files and makes a reading of a clip's files. Labels, performers
and splits come from a table (`--labels`) or from a folder for each class.
"""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.assemble import Sample, fault
from lastkd.data.formats.base import UNLABELLED, Reading, Source, SourceOptions
from lastkd.data.formats.clip_files import BadClipError, ClipFiles
from lastkd.data.formats.image_shares import Size
from lastkd.data.layouts import Layout
from lastkd.data.manifest import ManifestRow
from lastkd.data.splits import names_part, only_known, paired_splits
from lastkd.errors import UserError

_PERFORMERS = "subj|subject|person|performer|actor|participant|user|cam|camera|view|setup|session"
_OF_PERFORMERS = re.compile(rf"(?:{_PERFORMERS}|fold)[-_ ]?\d+", re.IGNORECASE)
_PERHAPS_OF_PERFORMERS = re.compile(rf"(?:(?:s|p|{_PERFORMERS}|fold)[-_ ]?\d+)+", re.IGNORECASE)
"""Folders of performers, pairs, cameras or folds; `s1` and `s1s2` are if there are folders within.
"""


class Labels(NamedTuple):
    """What the files of clips say themselves.

    Attributes:
        of: each clip's class, None where it has none.
        names: of the classes.
    """

    of: Mapping[str, int | None]
    names: tuple[str, ...]


def _surround_classes(folders: Iterable[Sequence[str]]) -> bool:
    """Whether the outermost folders lie round those of the classes.

    Args:
        folders: those in which each clip lies, from the outermost one in.
    """
    outer, inner = {first for first, *_ in folders}, {"".join(rest[:1]) for _, *rest in folders}
    if "" in inner:
        return False
    if len(outer) == 1 and not all(map(_PERHAPS_OF_PERFORMERS.fullmatch, inner)):
        return True
    return all(map(_PERHAPS_OF_PERFORMERS.fullmatch, outer))


class LabelledClips(Source):
    """Clips of files that a table or a folder for each class gives labels to.

    Args:
        root: the folder, or one clip's file.

    Raises:
        UserError: on construction where there is no clip, nobody says the labels, or the first
            clips have no skeleton that the layout fits.
    """

    takes_several = False
    reads_labels = True

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> LabelledClips:
        return cls(paths[0], options)

    @abstractmethod
    def find(self, root: Path) -> list[ClipFiles]:
        """The clips of a folder, or of one file, in a fixed order."""

    @abstractmethod
    def find_layout(self) -> Layout:
        """The layout that was asked for or that the first clips have.

        Raises:
            UserError: there is none, or the two don't fit.
        """

    def own_labels(self) -> Labels | None:
        """The labels that a format's files hold themselves; a table goes before them."""
        return None

    @abstractmethod
    def assemble(self, clip: ClipFiles, sample: Sample, row: ManifestRow | None) -> Reading:
        """A clip from its files.

        Raises:
            BadClipError: a file is damaged or of another form.
            OSError: it can't be read.
        """

    def __init__(self, root: Path, options: SourceOptions) -> None:
        self._root = root
        self._options = options
        self.counts: dict[str, int] = {}
        self._clips = self.find(root)
        if not self._clips:
            raise UserError(f"{root}: holds no clip; give the folder that has them")
        self.layout = self.find_layout()
        self._tell_labels()

    def _tell_labels(self) -> None:
        """Labels, class names, performers and splits: by the table, the files or their folders."""
        self._splits: Splits = {}
        self._labels: Mapping[str, int | None]
        manifest = self._options.labels
        names = [clip.name for clip in self._clips]
        if manifest is not None:
            found = manifest.rows_of(names)
            self.remarks = (*self.remarks, *manifest.remarks(found))
            self._rows = found
            unsaid = None if self._options.labelled else 0
            self._labels = {
                name: unsaid if row is None or row.label is None else row.label
                for name, row in found.items()
            }
            self.class_names = manifest.class_names
            if not self._options.replaces_splits:
                self._splits = manifest.splits(
                    [name for name in names if self._labels[name] is not None]
                )
            return
        self._rows = dict.fromkeys(names)
        groups = self._class_folders()
        own = self.own_labels()
        if own is not None:
            self._labels, self.class_names = own.of, own.names
            return
        classes = sorted(set(groups.values()))
        by_folder = "" not in classes and len(classes) > 1
        if by_folder:
            order = {name: at for at, name in enumerate(classes)}
            self._labels = {name: order[group] for name, group in groups.items()}
            self.class_names = tuple(classes)
        elif not self._options.labelled:
            self._labels = dict.fromkeys(names, 0)
            self.class_names = ("",)
        else:
            raise UserError(
                f"{self._root}: nobody says the classes of its clips, such as {names[0]!r}; give a "
                "table by --labels labels.csv (file,label,performer,split), or put the clips of "
                "each class into a folder of its own"
            )

    def _class_folders(self) -> dict[str, str]:
        """The folder that may name each clip's class: `wave` of `wave/` or of `train/s01/wave/`.

        Folders `train`, `val` and `test` round those of the classes are a split. Those of
        performers and cameras, and a single one round all others, name no class. "" where no
        folder does.
        """
        folders = {clip.name: clip.group.split("/") for clip in self._clips}
        while True:
            lists: dict[str, list[str]] = {}
            for name, (first, *_) in folders.items():
                lists.setdefault(first, []).append(name)
            if len(lists) > 1 and all(map(names_part, lists)):
                if not self._options.replaces_splits:
                    self._splits = paired_splits(lists, str(self._root))
            elif not _surround_classes(folders.values()):
                of_performers = all(map(_OF_PERFORMERS.fullmatch, lists))
                return {
                    name: "" if of_performers else first for name, (first, *_) in folders.items()
                }
            folders = {name: inner or [""] for name, (_, *inner) in folders.items()}

    def __len__(self) -> int:
        return len(self._clips)

    def names(self) -> Sequence[str]:
        return [clip.name for clip in self._clips]

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for clip in self._clips[start:stop]:
            yield self._read(clip)

    def _read(self, clip: ClipFiles) -> Reading:
        label = self._labels[clip.name]
        if label is None:
            return Reading(clip.name, counts={UNLABELLED: 1})
        row = self._rows[clip.name]
        who = (row.performer, row.camera, row.setup) if row is not None else (-1, -1, -1)
        sample = Sample(clip.name, label, f"{self._root}: clip {clip.name!r}", *who)
        try:
            return self.assemble(clip, sample, row)
        except (BadClipError, OSError) as error:
            return fault(sample, str(error))

    def fps_of(self, row: ManifestRow | None) -> float:
        """Frames per second of a clip's video, by the table or for all; 0 where nobody says it."""
        return (row.fps if row is not None else None) or self._options.fps or 0.0

    def image_size_of(self, row: ManifestRow | None) -> Size | None:
        """Of a clip's video, by the table or for all; None where nobody says it."""
        return (row.size if row is not None else None) or self._options.image_size

    def identity(self) -> str:
        digest = hashlib.sha256()
        for clip in self._clips:
            for file in clip.files:
                about = Path(file).stat()
                digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def splits(self, clips: Sequence[Clip]) -> Splits:
        return only_known(self._splits, (clip.name for clip in clips))
