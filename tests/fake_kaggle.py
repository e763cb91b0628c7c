"""A Kaggle on loopback: what the official client asks for, answered as the service does.

It stands behind the client as its HTTP proxy, so the client believes that it talks to
http://localhost. A kernel that is pushed really runs, in `run_kernel`.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

USER, KEY, TOKEN = "someone", "a-legacy-key-0123456789", "a-token-0123456789abcdef"


@dataclass
class Version:
    """One version of a kernel."""

    number: int
    asked: dict[str, Any]
    status: str = "QUEUED"
    failure: str = ""
    pieces: list[str] = field(default_factory=list)
    outputs: dict[str, bytes] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def print(self, piece: str) -> None:
        with self.changed:
            self.pieces.append(piece)
            self.changed.notify_all()

    def end(self, status: str) -> None:
        with self.changed:
            self.status = status
            self.changed.notify_all()

    def after(self, count: int) -> tuple[list[str], bool]:
        """Waits for more than `count` pieces; those, and whether it has ended."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.pieces) > count or self.ended)
            return self.pieces[count:], self.ended

    @property
    def ended(self) -> bool:
        return self.status not in ("QUEUED", "RUNNING")


@dataclass
class DatasetVersion:
    files: dict[str, bytes]
    looks_until_ready: int


class RefusedError(Exception):
    def __init__(self, status: int, message: str = "") -> None:
        self.status, self.message = status, message or f"refused with {status}"


class FakeKaggle:
    """The service's state, and faults that a test asks for.

    Attributes:
        run_kernel: what a version does; it prints, leaves outputs and returns the final status.
        push_error: what SaveKernel answers in its error field.
        refused: sources that SaveKernel names as invalid.
        faults: how often an operation (`SaveKernel`, `stream`, `download`, `upload`, ...) breaks
            the connection from now on; `lost answer` breaks it after a push has been taken.
        stale_looks: how often a new version stays hidden from those who look.
    """

    def __init__(self) -> None:
        self.kernels: dict[str, list[Version]] = {}
        self.datasets: dict[str, list[DatasetVersion]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, tuple[str, bytearray, int]] = {}
        self.quota_used_s, self.quota_total_s = 3600, 30 * 3600
        self.run_kernel: Callable[[Version], str] = lambda version: "COMPLETE"
        self.push_error = ""
        self.refused: set[str] = set()
        self.faults: dict[str, int] = {}
        self.stale_looks = 0
        self.looks_until_ready = 1
        self.asked: list[str] = []
        self.lock = threading.RLock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"kaggle": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def breaks(self, operation: str) -> bool:
        with self.lock:
            left = self.faults.get(operation, 0)
            self.faults[operation] = max(0, left - 1)
            return left > 0

    def add_dataset(self, reference: str, **files: bytes) -> None:
        named = {name.replace("__", "."): content for name, content in files.items()}
        self.datasets.setdefault(reference, []).append(DatasetVersion(named, 0))

    def wait(self, reference: str) -> Version:
        """Until the latest version has ended."""
        version = self.kernels[reference][-1]
        with version.changed:
            assert version.changed.wait_for(lambda: version.ended, timeout=600)
        return version

    # --- what is asked ----------------------------------------------------------------------

    def latest(self, asked: dict[str, Any]) -> Version:
        reference = f"{asked['userName']}/{asked['kernelSlug']}"
        versions = self.kernels.get(reference)
        if not versions:
            raise RefusedError(403, "Permission 'kernels.get' was denied")
        if self.stale_looks and len(versions) > 1:
            self.stale_looks -= 1
            return versions[-2]
        return versions[-1]

    def dataset(self, asked: dict[str, Any]) -> list[DatasetVersion]:
        versions = self.datasets.get(f"{asked['ownerSlug']}/{asked['datasetSlug']}")
        if not versions:
            raise RefusedError(403, "Permission 'datasets.get' was denied")
        return versions

    def answer(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        with self.lock:
            reply: dict[str, Any] = getattr(self, f"on_{method}")(asked)
            return reply

    def on_introspect_token(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"active": asked["token"] == TOKEN, "username": USER}

    def on_get_accelerator_quota_statistics(self, asked: dict[str, Any]) -> dict[str, Any]:
        times = {"timeUsed": f"{self.quota_used_s}s", "totalTimeAllowed": f"{self.quota_total_s}s"}
        return {"quotaRefreshTime": "2026-01-03T00:00:00.000Z", "gpuQuota": times}

    def on_save_kernel(self, asked: dict[str, Any]) -> dict[str, Any]:
        if len(asked["text"].encode()) > 1_000_000:
            raise RefusedError(400, "The kernel source must not exceed 1 megabyte")
        if self.push_error:
            return {"error": self.push_error}
        reference = asked["slug"]
        versions = self.kernels.setdefault(reference, [])
        version = Version(len(versions) + 1, asked)
        versions.append(version)
        self.quota_used_s += 600 if asked.get("machineShape") else 0
        threading.Thread(target=self._run, args=(version,), daemon=True).start()
        datasets = asked.get("datasetDataSources", [])
        kernels = asked.get("kernelDataSources", [])
        return {
            "ref": f"/{reference}",
            "url": f"https://www.kaggle.com/code/{reference}",
            "versionNumber": version.number,
            "invalidDatasetSources": [
                d for d in datasets if d not in self.datasets or d in self.refused
            ],
            "invalidKernelSources": [
                k for k in kernels if k not in self.kernels or k in self.refused
            ],
        }

    def _run(self, version: Version) -> None:
        version.status = "RUNNING"
        try:
            status = self.run_kernel(version)
        except Exception as error:
            version.print(f"{error!r}\n")
            status = "ERROR"
        version.end(status)

    def on_get_kernel(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self.latest(asked)
        return {
            "metadata": {"currentVersionNumber": version.number, "ref": version.asked["slug"]},
            "blob": {"source": version.asked["text"]},
        }

    def on_get_kernel_session_status(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self.latest(asked)
        return {"status": version.status, "failureMessage": version.failure}

    def on_list_kernel_session_output(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self.latest(asked)
        first = int(asked.get("pageToken") or 0)
        names = sorted(version.outputs)
        page = names[first : first + 3]  # small pages, so that there are several
        place = f"http://localhost/output/{version.asked['slug']}/{version.number}"
        log = [{"stream_name": "stdout", "time": 0.1, "data": piece} for piece in version.pieces]
        return {
            "files": [{"url": f"{place}/{name}", "fileName": name} for name in page],
            "log": json.dumps(log),
            "nextPageToken": str(first + 3) if first + 3 < len(names) else "",
        }

    def on_get_dataset_status(self, asked: dict[str, Any]) -> dict[str, Any]:
        version = self.dataset(asked)[-1]
        version.looks_until_ready -= 1
        return {"status": "READY" if version.looks_until_ready < 0 else "BLOBS_RECEIVED"}

    def on_get_dataset(self, asked: dict[str, Any]) -> dict[str, Any]:
        return {"currentVersionNumber": len(self.dataset(asked))}

    def on_list_dataset_files(self, asked: dict[str, Any]) -> dict[str, Any]:
        files = self.dataset(asked)[-1].files
        shown = [{"name": name, "totalBytes": len(content)} for name, content in files.items()]
        return {"datasetFiles": shown}

    def on_create_dataset(self, asked: dict[str, Any]) -> dict[str, Any]:
        reference = f"{asked['ownerSlug']}/{asked['slug']}"
        self.private[reference] = asked["isPrivate"]
        return self._add_version(reference, asked["files"])

    def on_create_dataset_version(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.dataset(asked)
        reference = f"{asked['ownerSlug']}/{asked['datasetSlug']}"
        return self._add_version(reference, asked["body"]["files"])

    def _add_version(self, reference: str, tokens: list[dict[str, Any]]) -> dict[str, Any]:
        files: dict[str, bytes] = {}
        for sent in tokens:
            name, content, _ = self.blobs[sent["token"]]
            if name.endswith(".zip"):  # the service unpacks these
                with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
                    for inside in archive.namelist():
                        if not inside.endswith("/"):
                            files[f"{name[:-4]}/{inside}"] = archive.read(inside)
            else:
                files[name] = bytes(content)
        versions = self.datasets.setdefault(reference, [])
        versions.append(DatasetVersion(files, self.looks_until_ready))
        return {"status": "ok", "ref": reference, "url": f"https://www.kaggle.com/{reference}"}

    def on_start_blob_upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        token = f"blob{len(self.blobs)}"
        self.blobs[token] = (asked["name"], bytearray(), int(asked["contentLength"]))
        return {"token": token, "createUrl": f"http://localhost/upload/{token}"}


class Handler(BaseHTTPRequestHandler):
    """HTTP, as a proxy sees it: whole addresses in the first line."""

    protocol_version = "HTTP/1.1"
    kaggle: FakeKaggle

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def send(
        self, status: int, content: bytes, kind: str = "application/json", **more: str
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **more}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def known(self) -> bool:
        basic = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
        return self.headers.get("Authorization") in (basic, f"Bearer {TOKEN}")

    def do_POST(self) -> None:
        address = urlparse(self.path)
        assert address.hostname == "localhost", self.path
        operation = address.path.rpartition("/")[2]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.kaggle.asked.append(operation)
        if self.kaggle.breaks(operation):
            self.hang_up()
            return
        try:
            if not self.known() and operation != "IntrospectToken":
                raise RefusedError(401, "Unauthenticated")
            reply = self.kaggle.answer(operation, asked)
        except RefusedError as refused:
            said = {"code": refused.status, "message": refused.message}
            self.send(refused.status, json.dumps(said).encode())
            return
        if operation == "SaveKernel" and self.kaggle.breaks("lost answer"):
            self.hang_up()
            return
        self.send(200, json.dumps(reply).encode())

    def do_PUT(self) -> None:
        token = urlparse(self.path).path.rpartition("/")[2]
        _, content, size = self.kaggle.blobs[token]
        length = int(self.headers.get("Content-Length") or 0)
        where = re.fullmatch(r"bytes (\d+)-\d+/\d+", self.headers.get("Content-Range", ""))
        if self.kaggle.breaks("refuse upload"):
            self.rfile.read(length)
            self.send(400, b"{}")
            return
        if length:
            del content[int(where[1]) if where else 0 :]
            if self.kaggle.breaks("upload"):
                content += self.rfile.read(length // 2)
                self.hang_up()
                return
            content += self.rfile.read(length)
        if len(content) == size:
            self.send(200, b"{}")
        else:
            ranges = {"Range": f"bytes=0-{len(content) - 1}"} if content else {}
            self.send(308, b"", **ranges)

    def do_GET(self) -> None:
        parts = [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]
        if parts[0] == "output":
            self.download(f"{parts[1]}/{parts[2]}", int(parts[3]), "/".join(parts[4:]))
        else:
            assert parts[:5] == ["api", "v1", "kernels", "logs", "stream"], self.path
            self.stream(f"{parts[5]}/{parts[6]}")

    def download(self, reference: str, number: int, name: str) -> None:
        content = self.kaggle.kernels[reference][number - 1].outputs[name]
        if self.kaggle.breaks("download"):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.hang_up()
            return
        self.send(200, content, "application/octet-stream")

    def chunk(self, text: str) -> None:
        content = text.encode()
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")

    def stream(self, reference: str) -> None:
        version = self.kaggle.kernels[reference][-1]
        if version.ended:
            log = [{"stream_name": "stdout", "time": 1, "data": piece} for piece in version.pieces]
            self.send(200, json.dumps(log).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        breaks = self.kaggle.breaks("stream")
        while True:
            new, ended = version.after(sent)
            for piece in new:
                event = {"stream_name": "stdout", "time": 1.5, "data": piece}
                self.chunk(f"data: {json.dumps(event)}\n\n")
                sent += 1
                if breaks and sent >= 2:
                    self.hang_up()
                    return
            if ended and sent == len(version.pieces):
                self.chunk("data: END_OF_LOG\n\n")
                self.wfile.write(b"0\r\n\r\n")
                return
