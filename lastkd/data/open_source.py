"""Which format a source is of, told by what is in it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from lastkd.data.formats.archives import SUFFIX, Archive, SkeletonFolder, SkeletonZip
from lastkd.data.formats.base import Source
from lastkd.data.formats.ctr_gcn_npz import CtrGcnNpz
from lastkd.data.formats.last_arrays import LastArrays, has_last_arrays
from lastkd.data.formats.ntu_skeleton import NtuSkeletons
from lastkd.data.formats.pyskl import PysklPickle
from lastkd.data.layouts import get_layout
from lastkd.data.ntu import DATASETS
from lastkd.data.store.clip_store import ABOUT_FILE, CLIPS_FILE
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.data.synthetic.source import SyntheticSource
from lastkd.errors import UserError, nearest

SYNTHETIC = "synthetic"
KNOWN = (
    "NTU's skeleton zips, a folder of .skeleton files, a pyskl pickle, a CTR-GCN npz or a folder "
    f"of LAST v2 arrays, or the word {SYNTHETIC}"
)
_PICKLES = (".pkl", ".pickle")


def open_source(
    source: str | Sequence[str],
    *,
    layout: str | None = None,
    dataset: str | None = None,
    synthetic: SyntheticSettings | None = None,
) -> Source:
    """The reader for a source, or for several places of raw `.skeleton` files together.

    Args:
        source: paths, or the word `synthetic`.
        layout: of a pickle's or an array's skeletons, where they aren't NTU's 25 joints.
        dataset: `ntu60` or `ntu120`, where the names leave it open.
        synthetic: size and difficulty of the procedural set.

    Raises:
        UserError: a source is missing or of no known format, or these don't go together.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if dataset is not None and dataset not in DATASETS:
        raise UserError(f"dataset {dataset!r} is unknown; {nearest(dataset, DATASETS)}")
    if SYNTHETIC in sources:
        if len(sources) > 1 or dataset is not None:
            raise UserError(f"{SYNTHETIC} goes neither with other sources nor with --dataset")
        return SyntheticSource(synthetic or SyntheticSettings())
    if not sources:
        raise UserError(f"no source is given; give {KNOWN}")
    paths = [Path(one) for one in sources]
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give {KNOWN}")
    raw = [_raw_place(path) for path in paths]
    places = [place for place in raw if place is not None]
    if len(places) == len(paths):
        if layout not in (None, "ntu25"):
            raise UserError(f"{paths[0]}: .skeleton files are of layout ntu25, not {layout}")
        return NtuSkeletons(places, DATASETS[dataset] if dataset else None)
    if len(paths) > 1:
        other = paths[raw.index(None)]
        raise UserError(
            f"{other}: only folders and zips of .skeleton files go together; prepare it by itself"
        )
    return _other(paths[0], layout, dataset)


def _raw_place(path: Path) -> Archive | None:
    """The raw `.skeleton` texts that a path holds; None where it holds something else."""
    if path.is_dir():
        if has_last_arrays(path) or (path / ABOUT_FILE).exists():
            return None
        return SkeletonFolder(path)
    if path.suffix == SUFFIX:
        return SkeletonFolder(path)
    if path.suffix not in (".npz", *_PICKLES) and zipfile.is_zipfile(path):
        return SkeletonZip(path)
    return None


def _other(path: Path, layout: str | None, dataset: str | None) -> Source:
    skeleton = get_layout(layout or "ntu25")
    if path.is_dir():
        if (path / ABOUT_FILE).exists() and (path / CLIPS_FILE).exists():
            raise UserError(f"{path}: is a prepared store already; train with --data {path}")
        return LastArrays(path, skeleton, dataset)
    if path.suffix == ".npz":
        return CtrGcnNpz(path, skeleton, dataset)
    if path.suffix in _PICKLES:
        return PysklPickle(path, skeleton, dataset)
    raise UserError(f"{path}: is of no known format; give {KNOWN}")
