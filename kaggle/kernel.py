"""A Kaggle kernel that runs one command of lastkd.

`lastkd kaggle push` fills in JOB and LASTKD. By hand: take a command from jobs.yaml, as README.md
explains.
"""

import base64
import io
import os
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

JOB = {
    "command": "sequence --data {data} --split xsub --out runs --no-figures",
    "inputs": {"data": "OWNER/NTU60"},
    "machine": "t4x2",
    "time_budget": "11h",
}


def start() -> int:
    """Unpacks lastkd, which is at the end of this script or in a dataset, and does the job."""
    root = Path(os.environ.get("LASTKD_KAGGLE_ROOT", "/kaggle"))
    code = Path(tempfile.mkdtemp(prefix="lastkd-"))
    archive = None
    if LASTKD.strip():
        archive = io.BytesIO(zlib.decompress(base64.b64decode(LASTKD)))
    else:
        wanted = JOB.get("code", "lastkd-*.whl").rpartition("/")[2]
        archive = next((root / "input").rglob(wanted), None)
    if archive is None:
        print(f"lastkd: failed: no {wanted} among the inputs; attach the dataset that contains it")
        return 1
    if isinstance(archive, Path) and archive.is_dir():  # Kaggle has unpacked it already
        code = archive
    else:
        zipfile.ZipFile(archive).extractall(code)
    sys.path.insert(0, str(code))
    from lastkd.kaggle.runner import run

    return run(JOB, root=root, code=code)


# filled in by `lastkd kaggle push`; while it is empty, a dataset must contain lastkd's wheel
LASTKD = """
"""

sys.exit(start())
