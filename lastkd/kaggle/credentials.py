"""Kaggle credentials: whether there are any, and that none leaves this machine by accident.

The official client logs in while it is imported, so what is there is looked up before.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable
from pathlib import Path

from lastkd.errors import UserError
from lastkd.files.json_text import parse_json

HOW_TO_GET_THEM = (
    "make a token at https://www.kaggle.com/settings (API) and put it into ~/.kaggle/access_token "
    "or the variable KAGGLE_API_TOKEN"
)

# names under which tools keep secrets; a file so named is never uploaded
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
    """Where the client looks for kaggle.json."""
    given = os.environ.get("KAGGLE_CONFIG_DIR")
    if given:
        return Path(given) / "kaggle.json"
    usual = Path.home() / ".kaggle"
    if not usual.exists():
        usual = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    return usual / "kaggle.json"


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
    given = os.environ.get("KAGGLE_API_TOKEN", "")
    if given:
        return _text(Path(given)) if Path(given).is_file() else given
    home = Path.home() / ".kaggle"
    return _text(home / "access_token") or _text(home / "access_token.txt")


def _legacy() -> dict[str, str]:
    kept = _mapping(_kaggle_json())
    for key in ("username", "key"):
        given = os.environ.get(f"KAGGLE_{key.upper()}")
        if given:
            kept[key] = given
    return kept


def _oauth() -> dict[str, str]:
    return _mapping(Path.home() / ".kaggle" / "credentials.json")


def known_user() -> str | None:
    """The user's name where it is written down; a token alone doesn't tell it."""
    legacy = _legacy()
    if not _token() and legacy.get("key"):
        return legacy.get("username")
    return _oauth().get("username") or legacy.get("username")


def require_credentials() -> None:
    """
    Raises:
        UserError: there are none, in any of the places where the client looks.
    """
    legacy = _legacy()
    if not (_token() or (legacy.get("username") and legacy.get("key")) or _oauth()):
        raise UserError(f"no Kaggle credentials found; {HOW_TO_GET_THEM}")


def secrets() -> list[str]:
    """Every secret that is at hand, for searching texts for it."""
    oauth = _oauth()
    found = [_token(), _legacy().get("key", "")]
    found += [str(oauth.get(name) or "") for name in ("refresh_token", "access_token")]
    return [secret for secret in found if len(secret) >= 8]


def redacted(text: str) -> str:
    """`text` without the user's secrets."""
    for secret in secrets():
        text = text.replace(secret, "***")
    return text


def refuse_secrets(text: str, where: str) -> None:
    """
    Raises:
        UserError: `text` holds one of the user's secrets.
    """
    if any(secret in text for secret in secrets()):
        raise UserError(f"{where}: holds your Kaggle credentials; take them out, nothing was sent")


def refuse_credential_files(paths: Iterable[Path]) -> None:
    """
    Raises:
        UserError: one of the files is named as credentials are.
    """
    for path in paths:
        name = path.name.lower()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _NAMES):
            raise UserError(
                f"{path}: is named like a file with credentials and is never uploaded; move it "
                "away or rename it"
            )
