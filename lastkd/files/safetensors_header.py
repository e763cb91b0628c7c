"""The header of a safetensors file, without torch, numpy or the library itself."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

from lastkd.files.json_text import parse_json

METADATA = "__metadata__"
_LONGEST = 100_000_000
"""Bytes, which is the library's own limit."""


def read_header(file: BinaryIO) -> dict[str, Any]:
    """The JSON header of a safetensors file, which is left at its first tensor.

    Raises:
        ValueError: it isn't such a file.
        OSError: it can't be read.
    """
    try:
        (length,) = struct.unpack("<Q", file.read(8))
    except struct.error:
        raise ValueError("it ends within its header") from None
    if length > _LONGEST:
        raise ValueError("its header has no end")
    header = parse_json(file.read(length))
    if not isinstance(header, dict) or not isinstance(header.get(METADATA, {}), dict):
        raise ValueError("its header is no mapping")
    return header


def header_bytes(header: dict[str, Any]) -> bytes:
    """A header as `read_header` reads it, with the length before it."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text


def metadata_of(path: Path) -> dict[str, Any]:
    """The metadata of a safetensors file; empty for one that is missing or isn't in this format."""
    try:
        with path.open("rb") as file:
            metadata: dict[str, Any] = read_header(file).get(METADATA, {})
    except (OSError, ValueError):
        return {}
    return metadata
