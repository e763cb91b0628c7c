"""Kaggle credentials: finds them, and keeps them from leaving this machine by accident.

The official client logs in while it is imported, so they are looked up without it first.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path

from lastkd.errors import UserError
from lastkd.files.json_text import parse_json

HOW_TO_GET_CREDENTIALS = (
    "make a token at https://www.kaggle.com/settings (API) and put it into ~/.kaggle/access_token "
    "or the variable KAGGLE_API_TOKEN"
)

# names of files in which tools keep secrets; such a file is never uploaded
_NAMES = (
    "kaggle.json",
    "access_token*",
    "credentials",
    "*credentials*.json",
    "*credentials*.txt",
    "*credentials*.y*ml",
    ".env*",
    "*.env",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".pypirc",
    ".npmrc",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "*.pem",
    "*.p12",
    "*.pfx",
    "*.key",
    "*secret*",
    "*password*",
    "token",
    "token.*",
    "*_token",
    "*_token.*",
)


def _kaggle_json() -> Path:
    """The path at which the client looks for kaggle.json."""
    config_dir = os.environ.get("KAGGLE_CONFIG_DIR")
    if config_dir:
        return Path(config_dir) / "kaggle.json"
    folder = Path.home() / ".kaggle"
    if not folder.exists():
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    return folder / "kaggle.json"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _mapping(path: Path) -> dict[str, str]:
    try:
        content = parse_json(_text(path) or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _token() -> str:
    token = os.environ.get("KAGGLE_API_TOKEN", "")
    if token:
        return _text(Path(token)) if Path(token).is_file() else token
    home = Path.home() / ".kaggle"
    return _text(home / "access_token") or _text(home / "access_token.txt")


def _legacy() -> dict[str, str]:
    legacy = _mapping(_kaggle_json())
    for key in ("username", "key"):
        value = os.environ.get(f"KAGGLE_{key.upper()}")
        if value:
            legacy[key] = value
    return legacy


def _oauth() -> dict[str, str]:
    return _mapping(Path.home() / ".kaggle" / "credentials.json")


def known_user() -> str | None:
    """The user's name, if the credentials contain it: a token alone doesn't."""
    legacy = _legacy()
    if not _token() and legacy.get("key"):
        return legacy.get("username")
    return _oauth().get("username") or legacy.get("username")


def require_credentials() -> None:
    """Checks that the client will find credentials.

    Raises:
        UserError: there are none where it looks.
    """
    legacy = _legacy()
    if not (_token() or (legacy.get("username") and legacy.get("key")) or _oauth()):
        raise UserError(f"no Kaggle credentials found; {HOW_TO_GET_CREDENTIALS}")


def secrets() -> list[str]:
    """The user's secrets, to search texts for them."""
    oauth = _oauth()
    known = [_token(), _legacy().get("key", "")]
    known += [str(oauth.get(name) or "") for name in ("refresh_token", "access_token")]
    return [secret for secret in known if len(secret) >= 8]


def redacted(text: str) -> str:
    """`text` with the user's secrets replaced."""
    for secret in secrets():
        text = text.replace(secret, "***")
    return text


def refuse_secrets(text: str, where: str) -> None:
    """Checks a text that is about to leave this machine.

    Args:
        where: what to call the text in the error.

    Raises:
        UserError: it contains one of the user's secrets.
    """
    if any(secret in text for secret in secrets()):
        raise UserError(f"{where}: contains your Kaggle credentials; remove them, nothing was sent")


def refuse_credential_files(paths: Iterable[Path]) -> None:
    """Checks the names of files that are about to leave this machine.

    Raises:
        UserError: one is named like a file with credentials.
    """
    for path in paths:
        name = path.name.lower()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _NAMES):
            raise UserError(
                f"{path}: is named like a file with credentials and is never uploaded; move it "
                "away or rename it"
            )
