"""JSON that others may have written, or that was damaged since."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """What the text says.

    Raises:
        ValueError: it isn't JSON, or nests deeper than Python's parser goes.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("JSON that nests too deep") from None
