"""Kernel scripts ready to be pushed: the template with a job, and lastkd itself inside."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import textwrap
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.files.shipped import CONFIGS, KERNELS, LAUNCH_CONFIGS
from lastkd.files.yaml_files import read_mapping, validated
from lastkd.kaggle.credentials import refuse_credential_files, refuse_secrets
from lastkd.kaggle.job import Job, with_job
from lastkd.kaggle.references import Reference

SCRIPT_LIMIT = 900_000
"""Bytes of a script; the service refuses 1 MB."""
SCRIPT, METADATA = "kernel.py", "kernel-metadata.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_PACKED = (".py", ".txt", ".yaml", ".tcss", ".json", ".md")
_ARCHIVE = re.compile(r'^LASTKD = """.*?"""$', re.MULTILINE | re.DOTALL)
_SAME_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same code makes the same archive


def _code_files() -> Iterator[tuple[Path, str]]:
    """The files of lastkd to upload, as in a wheel, with their names in the archive."""
    roots = {_PACKAGE: "lastkd"}
    # in a checkout these stand beside the package
    roots |= {
        CONFIGS: "lastkd/configs",
        LAUNCH_CONFIGS: "lastkd/launch_configs",
        KERNELS: "lastkd/kaggle/templates",
    }
    seen: set[Path] = set()
    for root, inside in roots.items():
        for path in sorted(root.rglob("*")):
            if path.suffix in _PACKED and path.is_file() and path not in seen:
                seen.add(path)
                yield path, f"{inside}/{path.relative_to(root).as_posix()}"


def pack_code() -> bytes:
    """lastkd as a zip archive that a kernel unpacks and puts on its path.

    Its files are stored as they are: compressed as a whole they take a third less than one by one.

    Raises:
        UserError: a file among the code is named like one with credentials, or holds them.
    """
    packed = io.BytesIO()
    files = list(_code_files())
    refuse_credential_files(path for path, _ in files)
    with zipfile.ZipFile(packed, "w") as archive:
        for path, name in files:
            content = path.read_bytes()
            refuse_secrets(content.decode("utf-8", "replace"), str(path))
            archive.writestr(zipfile.ZipInfo(name, _SAME_DATE), content)
    return packed.getvalue()


def code_file_name(code: bytes) -> str:
    """The name of the code in a dataset, which changes with the code."""
    return f"lastkd-{hashlib.sha256(code).hexdigest()[:16]}.lastkd"


def template_jobs() -> dict[str, Job]:
    """The jobs of `lastkd kaggle push` by name, as kaggle/jobs.yaml gives them."""
    path = KERNELS / "jobs.yaml"
    return {
        name: validated(Job, values, f"{path}: {name}")
        for name, values in read_mapping(path).items()
    }


def template() -> str:
    """The kernel script without lastkd, and with a placeholder job."""
    return (KERNELS / SCRIPT).read_text(encoding="utf-8")


def fill(job: Job, code: bytes | None) -> str:
    """The kernel script for a job.

    Args:
        code: lastkd as an archive, to embed; None if a dataset carries it.
    """
    script = with_job(template(), job)
    text = textwrap.fill(base64.b64encode(zlib.compress(code, 9)).decode(), 100) if code else ""
    return _ARCHIVE.sub(lambda _: f'LASTKD = """\n{text}\n"""', script, count=1)


def fits(script: str) -> bool:
    return len(script.encode()) <= SCRIPT_LIMIT


def metadata(job: Job, state: Reference | None) -> dict[str, Any]:
    """The kernel's metadata: names, machine and sources.

    Args:
        state: the dataset with the run folders of the previous attempt.
    """
    values: dict[str, Any] = json.loads((KERNELS / METADATA).read_text(encoding="utf-8"))
    sources = list(job.sources().values())
    datasets = [str(source.reference) for source in sources if not source.kernel]
    if job.code:
        datasets.append(job.code.rpartition("/")[0])
    if state is not None:
        datasets.append(str(state))
    values |= {
        "id": job.kernel,
        # its slug is the kernel's, or Kaggle would name the kernel after the title
        "title": job.kernel.partition("/")[2].replace("-", " "),
        "dataset_sources": sorted(set(datasets)),
        "kernel_sources": sorted({str(source.reference) for source in sources if source.kernel}),
    }
    if job.machine == "cpu":
        del values["machine_shape"]
    return values


def write_folder(folder: Path, script: str, about: Mapping[str, Any]) -> None:
    """Writes the folder to push: the script and its metadata.

    Raises:
        UserError: the script is too large or holds credentials, or the folder can't be written.
    """
    if not fits(script):
        raise UserError(
            f"the script has {len(script.encode()):,} bytes and Kaggle takes {SCRIPT_LIMIT:,}; "
            "push with --code dataset"
        )
    text = json.dumps(about, indent=2) + "\n"
    refuse_secrets(script + text, "the kernel script")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SCRIPT).write_text(script, encoding="utf-8")
        (folder / METADATA).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from None
