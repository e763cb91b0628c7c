"""A source and a table of labels, which goes before what the source says itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lastkd.data.clip import Clip, Splits
from lastkd.data.formats.base import UNLABELLED, Reading, Source, SourceOptions
from lastkd.data.manifest import Manifest, ManifestRow
from lastkd.data.splits import only_known


class TabledSource(Source):
    """The clips of another source with labels, performers and splits of a table.

    Where the table has no performer, camera or split, the source's own stay.

    Raises:
        UserError: on construction where no clip is in the table, or its splits have no clip.
    """

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return False  # never opened by a path

    @classmethod
    def open(cls, paths: Sequence[Path], options: SourceOptions) -> Source:
        raise NotImplementedError("a TabledSource is made of a source and a table")

    def __init__(self, source: Source, table: Manifest, options: SourceOptions) -> None:
        self._source = source
        self._labelled = options.labelled
        self._rows = table.rows_of(source.names())
        self.kind, self.layout, self.unit = source.kind, source.layout, source.unit
        self.class_names = table.class_names
        self.counts: dict[str, int] = {}
        self.has_slots, self.sequential = source.has_slots, source.sequential
        self.knows_up = source.knows_up  # type: ignore[misc]
        self.fps, self.name, self.choices = source.fps, source.name, source.choices
        self.remarks = (*source.remarks, *table.remarks(self._rows))
        self._splits: Splits | None = None
        if not options.replaces_splits:
            labelled = [
                name for name in source.names() if self._label(self._rows[name]) is not None
            ]
            self._splits = table.splits(labelled)

    def _label(self, row: ManifestRow | None) -> int | None:
        label = row.label if row is not None else None
        return 0 if label is None and not self._labelled else label

    def __len__(self) -> int:
        return len(self._source)

    def names(self) -> Sequence[str]:
        return self._source.names()

    def read(self, start: int, stop: int) -> Iterator[Reading]:
        for reading in self._source.read(start, stop):
            row = self._rows[reading.name]
            label = self._label(row)
            if label is None:
                yield Reading(reading.name, counts={UNLABELLED: 1})
            elif reading.clip is None:
                yield reading
            else:
                clip = replace(reading.clip, label=label)
                yield replace(reading, clip=_told(clip, row) if row is not None else clip)

    def identity(self) -> str:
        return self._source.identity()

    def splits(self, clips: Sequence[Clip]) -> Splits:
        if self._splits:
            return only_known(self._splits, (clip.name for clip in clips))
        return self._source.splits(clips)


def _told(clip: Clip, row: ManifestRow) -> Clip:
    """A clip with what its row says beside the label."""

    def told(said: int, own: int) -> int:
        return said if said >= 0 else own

    return replace(
        clip,
        performer=told(row.performer, clip.performer),
        camera=told(row.camera, clip.camera),
        setup=told(row.setup, clip.setup),
        fps=row.fps or clip.fps,
    )
