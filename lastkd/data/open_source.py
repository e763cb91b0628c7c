"""The table of formats, and which of them a source is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from lastkd.data.contents import describe_path
from lastkd.data.formats.base import Source, SourceOptions
from lastkd.data.formats.tabled import TabledSource
from lastkd.data.layouts import Layout
from lastkd.data.manifest import read_manifest
from lastkd.data.ntu import DATASETS, KINECT_FPS
from lastkd.data.synthetic.settings import SyntheticSettings
from lastkd.errors import UserError, nearest
from lastkd.plugins import import_object, is_import_path

SYNTHETIC = "synthetic"

FORMATS = {
    "ntu-skeleton": "lastkd.data.formats.datasets.ntu_skeleton:NtuSkeletons",
    "pyskl": "lastkd.data.formats.datasets.pyskl:PysklPickle",
    "ctr-gcn": "lastkd.data.formats.datasets.ctr_gcn_npz:CtrGcnNpz",
    "set-arrays": "lastkd.data.formats.own.set_arrays:SetArrays",
    "last": "lastkd.data.formats.datasets.last_arrays:LastArrays",
    "st-gcn": "lastkd.data.formats.datasets.last_arrays:StGcnArrays",
    "nw-ucla": "lastkd.data.formats.datasets.nw_ucla:NwUclaJson",
    "kinetics": "lastkd.data.formats.datasets.kinetics:KineticsJson",
    "openpose": "lastkd.data.formats.estimators.openpose:OpenPoseJson",
    "alphapose": "lastkd.data.formats.estimators.alphapose:AlphaPoseJson",
    "mmpose": "lastkd.data.formats.estimators.mmpose:MMPoseJson",
    "ultralytics": "lastkd.data.formats.estimators.ultralytics:UltralyticsPoses",
    "mediapipe": "lastkd.data.formats.estimators.mediapipe:MediaPipeLandmarks",
    "azure-kinect": "lastkd.data.formats.estimators.azure_kinect:AzureKinectJson",
    "frame-table": "lastkd.data.formats.own.frame_table:FrameTable",
    "arrays": "lastkd.data.formats.own.clip_arrays:ClipArrays",
    SYNTHETIC: "lastkd.data.synthetic.source:SyntheticSource",
}
"""By name, in the order of the help and of recognition: where the reader is defined."""


@cache
def reader_of(name: str) -> type[Source]:
    """The reader of a format, imported on demand.

    Args:
        name: of a format in `FORMATS`, or `package.module:Reader`.

    Raises:
        UserError: there is no such format or reader, or it isn't a `Source`.
    """
    if name not in FORMATS and not is_import_path(name):
        raise UserError(
            f"format {name!r} is unknown; {nearest(name, FORMATS)} "
            "(or name your own reader as package.module:Reader)"
        )
    reader = import_object(FORMATS.get(name, name), "class")
    if not (isinstance(reader, type) and issubclass(reader, Source)):
        raise UserError(
            f"format {name}: isn't a reader; derive it from lastkd.data.formats.base.Source"
        )
    return reader


def help_lines() -> Iterator[str]:
    """What each format's source is, one line a format."""
    return (reader_of(name).help for name in FORMATS)


def format_of(path: Path) -> str | None:
    """The name of the first format that recognises a path; None where none does."""
    return next((name for name in FORMATS if reader_of(name).recognises(path)), None)


def takes_several(paths: Sequence[Path]) -> bool:
    """Whether the format of these paths takes them together."""
    name = format_of(paths[0])
    return name is not None and reader_of(name).takes_several


def open_source(
    source: str | Sequence[str],
    *,
    layout: str | Layout | None = None,
    up: str | None = None,
    dataset: str | None = None,
    format: str | None = None,
    keep_bodies: bool = False,
    replaces_splits: bool = False,
    labels: str | Path | None = None,
    image_size: tuple[float, float] | None = None,
    fps: float | None = None,
    labelled: bool = True,
    synthetic: SyntheticSettings | None = None,
) -> Source:
    """The reader for a source, or for several paths of one format together.

    Args:
        source: paths, or the word `synthetic`.
        layout: of the skeletons, where the format leaves it open.
        up: which way is up in its coordinates (`z`, `-y`, ...), in place of what the layout says.
        dataset: `ntu60` or `ntu120`, where the names leave it open.
        format: the name of a format in `FORMATS` or `package.module:Reader`; None to recognise it.
        keep_bodies: bodies stay in the slots in which the source has them, absent or not.
        replaces_splits: the source's own splits aren't wanted.
        labels: a CSV table of clips (see `read_manifest`).
        image_size: width and height in pixels, where coordinates are shares of them.
        fps: frames per second, where neither the table nor the files say it.
        labelled: clips need labels; without, as for predictions, those unknown are 0.
        synthetic: size and difficulty of the synthetic set.

    Raises:
        UserError: a source is missing or of no known format, or these don't go together.
    """
    sources = [source] if isinstance(source, str) else list(source)
    if dataset is not None and dataset not in DATASETS:
        raise UserError(f"dataset {dataset!r} is unknown; {nearest(dataset, DATASETS)}")
    if not sources:
        raise UserError("no source is given; lastkd prepare --help lists what it may be")
    paths = [Path(one) for one in sources]
    named = {path: format or _recognised(path) for path in paths}
    first, name = next(iter(named.items()))
    reader = reader_of(name)
    other = next((path for path in named if named[path] != name), None)
    if other is not None:
        raise UserError(
            f"{other}: is of the format {named[other]} and {first} of {name}, and only sources of "
            "one format go together; prepare them by themselves"
        )
    if len(paths) > 1 and not reader.takes_several:
        raise UserError(
            f"{paths[1]}: sources of the format {name} don't go together; prepare it by itself"
        )
    if keep_bodies and not reader.has_slots:
        raise UserError(
            f"{first}: its bodies are people as they were found, in no slots that could be kept; "
            "leave out --keep-bodies, or give arrays whose slots mean something"
        )
    options = SourceOptions(
        layout=layout,
        dataset=dataset,
        keep_bodies=keep_bodies,
        replaces_splits=replaces_splits,
        labels=read_manifest(Path(labels)) if labels is not None else None,
        image_size=image_size,
        fps=fps,
        labelled=labelled,
        synthetic=synthetic,
    )
    opened = reader.open(paths, options)
    if up is not None:
        if opened.knows_up:
            raise UserError(
                f"{first}: {opened.kind} says itself which way is up; leave out --up {up}"
            )
        opened.layout = opened.layout.with_up(up)
    opened.name = paths[0].resolve().stem
    opened.choices = options.identity()
    if fps is not None:
        opened.fps = fps
    elif opened.benchmark is not None:
        opened.fps = KINECT_FPS
    if options.labels is not None and not reader.reads_labels:
        return TabledSource(opened, options.labels, options)
    return opened


def find_sources(folder: Path) -> list[Path]:
    """The sources at or below a path: itself, a folder or files of one format; empty if none.

    Files of the format that stands first in the table win over those of later ones.
    """
    if format_of(folder) is not None:
        return [folder]
    if not folder.is_dir():
        return []
    by_format: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        found = find_sources(path)
        if found:
            by_format.setdefault(format_of(found[0]) or "", []).extend(found)
    return next((by_format[name] for name in FORMATS if name in by_format), [])


def parse_size(text: str) -> tuple[float, float]:
    """Width and height of `1920x1080`.

    Raises:
        UserError: it has another form.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0):
        raise UserError(f"--image-size {text}: isn't of the form 1920x1080")
    return float(width), float(height)


def _recognised(path: Path) -> str:
    name = format_of(path)
    if name is not None:
        return name
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path")
    raise UserError(
        f"{path}: {describe_path(path)}; its format isn't known: save each clip as an array of "
        "(frames, joints, channels) by np.save, in a folder for each class, and say by --layout "
        "which joints they are (lastkd prepare --help lists the formats that are known)"
    )
