"""The Kaggle service through its official client, which is imported only when it is needed."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lastkd.errors import UserError
from lastkd.kaggle.api_types import Dataset, Kernel, OutputFile, Pushed, Quota
from lastkd.kaggle.credentials import HOW_TO_GET_CREDENTIALS, redacted, require_credentials
from lastkd.kaggle.references import Reference

T = TypeVar("T")
RETRIES_AFTER_S = (1.0, 3.0, 8.0)
"""Waits before a request that met a broken connection is sent again."""


class NotThereError(UserError):
    """There is no such kernel or dataset, or this user may not see it: Kaggle doesn't say which."""


class UnreachableError(UserError):
    """The network or the service failed; trying again may help."""


def require_client() -> None:
    """Checks that the official client is installed, without importing it.

    Raises:
        UserError: it isn't.
    """
    client = importlib.util.find_spec("kaggle")
    # a folder of that name, as in a checkout of lastkd, is found too, but has no file
    if client is None or client.origin is None:
        more = "" if sys.version_info >= (3, 11) else " (it needs Python 3.11 or newer)"
        raise UserError(
            f"the kaggle package isn't installed{more}; install it with "
            "pip install 'lastkd[kaggle]'"
        )


def _refused_credentials() -> UserError:
    return UserError(f"Kaggle refuses your credentials; {HOW_TO_GET_CREDENTIALS}")


def _refusal(status: int, message: str, about: object) -> UserError:
    """The error for an HTTP status."""
    if status == 401:
        return _refused_credentials()
    if status in (403, 404):
        return NotThereError(f"{about}: Kaggle has nothing of that name that you may see; check it")
    if status == 429:
        return UnreachableError("Kaggle has had too many requests; try again later")
    if status >= 500:
        return UnreachableError(f"Kaggle has failed (HTTP {status}); try again later")
    return UserError(f"{about}: Kaggle refuses ({redacted(message)[:300]})")


def _translated(error: Exception, about: object) -> UserError | None:
    """The error for an exception of the client; None for an unknown one."""
    import requests
    import urllib3

    message = " ".join(str(error).split())
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return _refusal(error.response.status_code, message, about)
    if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        return UnreachableError(
            f"Kaggle can't be reached ({type(error).__name__}); check the network and run the same "
            "command again"
        )
    if isinstance(error, ValueError):  # how the client speaks of values that it won't send
        return UserError(f"{about}: the kaggle client refuses ({redacted(message)[:300]})")
    return None


def _keep_connections_alive() -> None:
    """Makes the system notice a peer that has vanished, as while a laptop sleeps."""
    from urllib3.connection import HTTPConnection

    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, seconds in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), seconds))
    for option in options:
        if option not in HTTPConnection.default_socket_options:
            HTTPConnection.default_socket_options.append(option)


class Kaggle:
    """The service as a user sees it.

    Every method raises a `UserError`: `NotThereError` if Kaggle shows nothing of that name,
    `UnreachableError` if the network failed.
    """

    def __init__(self) -> None:
        """Logs in.

        Raises:
            UserError: the client or the credentials are missing, refused, or Kaggle can't be
                reached.
        """
        require_client()
        require_credentials()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            from kaggle.api.kaggle_api_extended import KaggleApi

        _keep_connections_alive()
        self._api = KaggleApi()
        # a verbose client prints its headers, and with them the credentials
        self._api.args[:] = [word for word in self._api.args if word != "--verbose"]
        with self._asking("your account"):
            try:
                self._api.authenticate()
            except SystemExit:
                raise _refused_credentials() from None
        self.user = str(self._api.config_values["username"]).lower()

    @contextlib.contextmanager
    def _asking(self, about: object, *, quiet: bool = True) -> Iterator[Any]:
        """Yields a client; suppresses what it prints and translates what it raises."""
        silence = contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()
        try:
            with silence, self._api.build_kaggle_client() as client:
                yield client
        except UserError:
            raise
        except Exception as error:
            translated = _translated(error, about)
            if translated is None:
                raise
            raise translated from None

    def _asked(self, about: object, question: Callable[[Any], T]) -> T:
        """The answer to a request, which may be repeated if the connection breaks."""
        for wait in (*RETRIES_AFTER_S, None):
            try:
                with self._asking(about) as client:
                    return question(client)
            except UnreachableError:
                if wait is None:
                    raise
                time.sleep(wait)
        raise AssertionError

    # --- kernels ----------------------------------------------------------------------------

    def quota(self) -> Quota | None:
        """This week's GPU hours; None if Kaggle doesn't say."""
        answer = self._asked("your quota", lambda _: self._api.quota_view())
        if answer.gpu_quota is None:
            return None
        used, total = (
            (span.total_seconds() if span else 0.0) / 3600
            for span in (answer.gpu_quota.time_used, answer.gpu_quota.total_time_allowed)
        )
        return Quota(used, total, answer.quota_refresh_time)

    def kernel(self, reference: Reference) -> Kernel:
        from kagglesdk.kernels.types.kernels_api_service import (
            ApiGetKernelRequest,
            ApiGetKernelSessionStatusRequest,
        )

        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug = reference.owner, reference.slug
        about = self._asked(
            reference, lambda client: client.kernels.kernels_api_client.get_kernel(request)
        )
        status_request = ApiGetKernelSessionStatusRequest()
        status_request.user_name, status_request.kernel_slug = reference.owner, reference.slug
        session = self._asked(
            reference,
            lambda client: client.kernels.kernels_api_client.get_kernel_session_status(
                status_request
            ),
        )
        return Kernel(
            reference=reference,
            version=int(about.metadata.current_version_number or 0),
            status=session.status.name,
            failure=redacted(" ".join((session.failure_message or "").split())),
            text=about.blob.source or "" if about.blob else "",
        )

    def push(self, folder: Path, timeout_s: int) -> Pushed:
        """Pushes a new version from a folder with `kernel-metadata.json`; sent only once.

        Raises:
            UserError: Kaggle answers with an error, or refuses one of the sources.
        """
        with self._asking(folder):
            answer = self._api.kernels_push(str(folder), timeout=str(timeout_s))
        if answer.error:
            raise UserError(f"Kaggle doesn't start it: {' '.join(answer.error.split())}")
        refused = [
            *answer.invalid_dataset_sources,
            *answer.invalid_kernel_sources,
            *answer.invalid_competition_sources,
            *answer.invalid_model_sources,
        ]
        version = int(answer.version_number or 0)
        if refused:
            raise UserError(
                f"Kaggle has started version {version} without {', '.join(refused)}, which it "
                "refuses as a source; the kernel will end at once. Check the names, and that you "
                f"may use them ({answer.url})"
            )
        return Pushed(version, str(answer.url))

    def outputs(self, reference: Reference) -> tuple[list[OutputFile], str]:
        """The files of the latest version, and its log."""
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        request = ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug = reference.owner, reference.slug
        request.page_size = 100
        files: list[OutputFile] = []
        log = ""
        while True:
            answer = self._asked(
                reference,
                lambda client: client.kernels.kernels_api_client.list_kernel_session_output(
                    request
                ),
            )
            files += [OutputFile(file.file_name, file.url) for file in answer.files or []]
            log = log or answer.log or ""
            if not answer.next_page_token:
                return files, log
            request.page_token = answer.next_page_token

    def log_stream(self, reference: Reference) -> Iterator[dict[str, Any]]:
        """The lines that the latest version prints, from its start to its end."""
        with self._asking(
            reference, quiet=False
        ):  # otherwise the caller's own output would be suppressed too
            yield from self._api.kernels_logs_stream(str(reference))

    # --- datasets ---------------------------------------------------------------------------

    def dataset(self, reference: Reference) -> Dataset | None:
        """A dataset's latest version; None if this user can't see any."""
        from kagglesdk.datasets.types.dataset_api_service import (
            ApiGetDatasetRequest,
            ApiGetDatasetStatusRequest,
        )

        status_request = ApiGetDatasetStatusRequest()
        status_request.owner_slug, status_request.dataset_slug = reference.owner, reference.slug
        request = ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = reference.owner, reference.slug
        try:
            now = self._asked(
                reference,
                lambda client: client.datasets.dataset_api_client.get_dataset_status(
                    status_request
                ),
            )
            about = self._asked(
                reference, lambda client: client.datasets.dataset_api_client.get_dataset(request)
            )
        except NotThereError:
            return None
        return Dataset(int(about.current_version_number or 0), now.status.name.lower())

    def dataset_files(self, reference: Reference) -> dict[str, int]:
        """The size in bytes of each file of the latest version, by name."""
        from kagglesdk.datasets.types.dataset_api_service import ApiListDatasetFilesRequest

        request = ApiListDatasetFilesRequest()
        request.owner_slug, request.dataset_slug = reference.owner, reference.slug
        request.page_size = 100
        files: dict[str, int] = {}
        while True:
            answer = self._asked(
                reference,
                lambda client: client.datasets.dataset_api_client.list_dataset_files(request),
            )
            files |= {file.name: int(file.total_bytes or 0) for file in answer.dataset_files or []}
            if not answer.next_page_token:
                return files
            request.page_token = answer.next_page_token

    def send_dataset(self, folder: Path, *, new: bool, notes: str, shown: bool) -> None:
        """Makes a private dataset from a folder with `dataset-metadata.json`, or a new version.

        Args:
            shown: whether the client shows its progress.
        """
        with self._asking(folder, quiet=not shown):
            if new:
                answer = self._api.dataset_create_new(
                    str(folder), public=False, quiet=not shown, dir_mode="zip"
                )
            else:
                answer = self._api.dataset_create_version(
                    str(folder), notes, quiet=not shown, dir_mode="zip"
                )
        if answer.error or (answer.status or "ok").lower() == "error":
            message = " ".join(str(answer.error or answer.status).split())
            raise UserError(f"Kaggle refuses the dataset: {message}")
