"""A machine at Kaggle: runs a pushed script alone in an empty folder, as the service would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fake_kaggle import FakeKaggle, Version

# Python reads this before anything else; processes that it starts inherit it
NOTHING_OF_OURS = """
import os, socket, sys

class Absent:  # what lastkd needs elsewhere and Kaggle's image may lack
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("textual", "msgspec", "kaggle", "kagglesdk"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
real = socket.socket.connect
def connect(self, address):
    local = not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1", "localhost")
    if not local:
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{address}\\n")
        raise OSError("no network")
    return real(self, address)
socket.socket.connect = connect
"""


def mount(inputs: Path, layout: str, kind: str, reference: str, files: dict[str, bytes]) -> None:
    """Puts files where Kaggle mounts them, in its old or its new layout, read-only."""
    slug = reference.partition("/")[2]
    place = inputs / kind / reference if layout == "new" else inputs / slug
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)
    for folder in [*place.rglob("*"), place]:
        if folder.is_dir():
            folder.chmod(0o555)


def environment(root: Path) -> dict[str, str]:
    """What a process there has: nothing of ours but the interpreter."""
    guard = root / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(NOTHING_OF_OURS)
    temporary = root / "tmp"
    temporary.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(guard),
        "NETWORK_LOG": str(root / "network.log"),
        "LASTKD_KAGGLE_ROOT": str(root),
        "OMP_NUM_THREADS": "1",
    }


def run_script(root: Path, script: str, say: Callable[[str], None]) -> int:
    """Runs a kernel script below `root`, where its inputs are mounted."""
    (root / "src").mkdir()
    (root / "working").mkdir()
    (root / "input").mkdir(exist_ok=True)
    (root / "src" / "script.py").write_text(script)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=root / "src",
        env=environment(root),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        say(line)
    return process.wait()


def machines(kaggle: FakeKaggle, folder: Path, layouts: Sequence[str]) -> Callable[[Version], str]:
    """What `FakeKaggle.run_kernel` does with a version: a fresh machine for each.

    Args:
        layouts: `old` or `new`, of one machine after the other.
    """
    used: list[Path] = []

    def run(version: Version) -> str:
        layout = layouts[len(used) % len(layouts)]
        root = folder / f"machine{len(used)}"
        root.mkdir(parents=True)
        used.append(root)
        for reference in version.asked.get("datasetDataSources", []):
            files = kaggle.datasets[reference][-1].files
            mount(root / "input", layout, "datasets", reference, files)
        for reference in version.asked.get("kernelDataSources", []):
            files = kaggle.kernels[reference][-1].outputs
            mount(root / "input", layout, "notebooks", reference, files)
        code = run_script(root, version.asked["text"], version.print)
        working = root / "working"
        version.outputs = {
            path.relative_to(working).as_posix(): path.read_bytes()
            for path in working.rglob("*")
            if path.is_file()
        }
        assert not (root / "network.log").exists(), (root / "network.log").read_text()
        return "COMPLETE" if code == 0 else "ERROR"

    return run


def printed(version: Version) -> list[str]:
    """The lines that a version printed, without its events."""
    lines = "".join(version.pieces).splitlines()
    return [line for line in lines if not line.startswith("@lastkd ")]


def job_file(version: Version) -> dict[str, object]:
    content: dict[str, object] = json.loads(version.outputs["lastkd-job.json"])
    return content


def unpacked_code(lines: Sequence[str]) -> Path:
    """Where the script had unpacked lastkd."""
    match = re.match(r"lastkd \S+ from (.+)", lines[0])
    assert match is not None, lines[:3]
    return Path(match[1])
