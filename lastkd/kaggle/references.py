"""References to kernels and datasets: OWNER/SLUG, and a path inside."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lastkd.errors import UserError

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OWNER = re.compile(r"[a-z0-9]+([_-][a-z0-9]+)*")
_LENGTHS = {"kernel": (5, 50), "dataset": (6, 50)}  # of new ones; old ones may be shorter
_KERNEL_PREFIX = "kernel:"


@dataclass(frozen=True)
class Reference:
    """The name of a kernel or a dataset."""

    owner: str
    slug: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.slug}"


@dataclass(frozen=True)
class KaggleInput:
    """What a kernel mounts: a dataset, or the output of another kernel.

    Attributes:
        kernel: whether it is a kernel's output.
        path: of a file or folder inside, if it isn't the only one of its kind.
    """

    reference: Reference
    kernel: bool = False
    path: str = ""

    def __str__(self) -> str:
        inside = f"/{self.path}" if self.path else ""
        return f"{_KERNEL_PREFIX if self.kernel else ''}{self.reference}{inside}"


def slugified(text: str) -> str:
    """`text` as a slug: lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def reference(
    text: str, *, owner: str | None = None, kind: str = "kernel", new: bool = False
) -> Reference:
    """Parses `OWNER/SLUG`, or `SLUG` of `owner`.

    Args:
        kind: `kernel` or `dataset`.
        new: whether it will be created, so that its length must be valid.

    Raises:
        UserError: Kaggle doesn't allow the name.
    """
    parts = text.lower().split("/")
    if len(parts) == 1 and owner:
        parts.insert(0, owner.lower())
    if len(parts) != 2 or not parts[1] or not _OWNER.fullmatch(parts[0]):
        raise UserError(f"{text!r} doesn't name a {kind}; write OWNER/SLUG as in its address")
    least, most = _LENGTHS[kind] if new else (1, 100)
    if not _SLUG.fullmatch(parts[1]) or not least <= len(parts[1]) <= most:
        raise UserError(
            f"{parts[1]!r} can't name a {kind}: Kaggle allows {least} to {most} lower-case "
            "letters, digits and single hyphens"
        )
    return Reference(parts[0], parts[1])


def source(text: str) -> KaggleInput:
    """Parses `OWNER/SLUG` of a dataset or `kernel:OWNER/SLUG`, with or without a path inside.

    Raises:
        UserError: Kaggle doesn't allow the name, or the path leads out of it.
    """
    kernel = text.startswith(_KERNEL_PREFIX)
    owner, _, rest = text.removeprefix(_KERNEL_PREFIX).partition("/")
    slug, _, path = rest.partition("/")
    kind = "kernel" if kernel else "dataset"
    named = reference(f"{owner}/{slug}" if slug else owner, kind=kind)
    if path.startswith("/") or ".." in path.split("/"):
        raise UserError(f"{text!r}: the path inside must not lead outside")
    return KaggleInput(named, kernel, path.rstrip("/"))
