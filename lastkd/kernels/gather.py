"""The evaluations of a folder as one JSON object on stdout, by file name."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(folder: Path) -> None:
    measured = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
        if path.name != "summary.json"
    }
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
