"""Kernel scripts ready to be pushed: a template, its job, and lastkd itself inside."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lastkd.errors import UserError
from lastkd.files.shipped import CONFIGS, KERNELS, LAUNCH_CONFIGS
from lastkd.kaggle.credentials import refuse_credential_files, refuse_secrets
from lastkd.kaggle.job import Job, read_job, with_job
from lastkd.kaggle.references import Reference

SCRIPT_LIMIT = 900_000
"""Bytes of a script; the service refuses 1 MB."""
SCRIPT, METADATA = "kernel.py", "kernel-metadata.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_PACKED = (".py", ".txt", ".yaml", ".tcss", ".json", ".md")
_ARCHIVE = re.compile(r'^LASTKD = """.*?"""$', re.MULTILINE | re.DOTALL)
_SAME_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same code makes the same archive
MACHINE_SHAPE = {"t4x2": "NvidiaTeslaT4"}


def _code_files() -> Iterator[tuple[Path, str]]:
    """What of lastkd travels, and its name in the archive, as in a wheel."""
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
    """lastkd as a zip that a kernel puts on its path.

    Raises:
        UserError: a file among the code is named like one with credentials, or holds them.
    """
    packed = io.BytesIO()
    files = list(_code_files())
    refuse_credential_files(path for path, _ in files)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, name in files:
            content = path.read_bytes()
            refuse_secrets(content.decode("utf-8", "replace"), str(path))
            info = zipfile.ZipInfo(name, _SAME_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=9)
    return packed.getvalue()


def code_file_name(code: bytes) -> str:
    """The name of the code in a dataset; other code has another."""
    return f"lastkd-{hashlib.sha256(code).hexdigest()[:16]}.lastkd"


def templates() -> list[str]:
    return sorted(path.parent.name for path in KERNELS.glob(f"*/{SCRIPT}"))


def template(what: str) -> str:
    return (KERNELS / what / SCRIPT).read_text(encoding="utf-8")


def template_job(what: str) -> Job:
    return read_job(template(what), str(KERNELS / what / SCRIPT))


def fill(what: str, job: Job, code: bytes | None) -> str:
    """The template's script with this job.

    Args:
        code: lastkd, to travel inside; None where it travels in a dataset.
    """
    script = with_job(template(what), job)
    text = textwrap.fill(base64.b64encode(code).decode(), 100) if code else ""
    return _ARCHIVE.sub(lambda _: f'LASTKD = """\n{text}\n"""', script, count=1)


def fits(script: str) -> bool:
    return len(script.encode()) <= SCRIPT_LIMIT


def metadata(what: str, job: Job, state: Reference | None) -> dict[str, Any]:
    """The template's metadata for this job.

    Args:
        state: the dataset with the run folders of the attempt before.
    """
    values: dict[str, Any] = json.loads((KERNELS / what / METADATA).read_text(encoding="utf-8"))
    return described(values, job, state)


def described(values: Mapping[str, Any], job: Job, state: Reference | None) -> dict[str, Any]:
    """`values` with the names, the machine and the sources of this job."""
    sources = list(job.sources().values())
    datasets = [str(source.reference) for source in sources if not source.kernel]
    if job.code:
        datasets.append(job.code.rpartition("/")[0])
    if state is not None:
        datasets.append(str(state))
    filled = {
        **values,
        "id": job.kernel,
        # its slug is the kernel's, or Kaggle would name the kernel after the title
        "title": job.kernel.partition("/")[2].replace("-", " "),
        "dataset_sources": sorted(set(datasets)),
        "kernel_sources": sorted({str(source.reference) for source in sources if source.kernel}),
    }
    filled.pop("machine_shape", None)
    if job.machine in MACHINE_SHAPE:
        filled["machine_shape"] = MACHINE_SHAPE[job.machine]
    return filled


def write_folder(folder: Path, script: str, about: Mapping[str, Any]) -> None:
    """Writes what is pushed: the script and its metadata.

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
