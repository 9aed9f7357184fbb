"""Owns: Google's application default credentials: where gcloud keeps them, and how each kind of
them renews a token.

Places and forms: cloud.google.com/docs/authentication/application-default-credentials; gcloud's
CLOUDSDK_CONFIG. Knows nothing of asking for a token: the daemon does that.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from netmgr import provider_calls
from netmgr.errors import BadInput
from netmgr.inference.refresh import GOOGLE_TOKEN_URL

MAX_FILE: Final = 64 * 1024  # bytes; the largest kind has about 3 KiB
NAMED: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_FILE: Final = "application_default_credentials.json"
_USER: Final = ("client_id", "client_secret", "refresh_token")


def places(environ: Mapping[str, str]) -> list[Path]:
    """Where the file may be, in the order in which it is looked for. A file that is named
    outright, or a directory, is the only place."""
    if named := environ.get(NAMED):
        return [Path(named)]
    if config := environ.get("CLOUDSDK_CONFIG"):
        return [Path(config, _FILE)]
    return [Path(environ.get("HOME") or "/root", ".config", "gcloud", _FILE)]


def find_renewal(key: str, environ: Mapping[str, str]) -> dict[str, Any] | None:
    """How the file that is there renews the credential `key`, as the API takes it; None where no
    file is.

    Raises:
        BadInput: a file that is named is not there, or one cannot be used; it is named, never
            quoted.
    """
    for path in places(environ):
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_FILE + 1)
        except FileNotFoundError:
            if NAMED in environ:
                raise BadInput(f"{NAMED}: {path}: no such file") from None
            continue
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error
        return read_renewal(key, raw, str(path))
    return None


def read_renewal(key: str, raw: bytes, source: str) -> dict[str, Any]:
    """A file's content as a way to renew the credential `key`.

    Raises:
        BadInput: it is none, or of a kind that needs more than a file.
    """
    try:
        found = json.loads(raw) if len(raw) <= MAX_FILE else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{source}: expected the JSON that gcloud writes")
    match found.get("type"):
        case "authorized_user":
            return _user(key, found, source)
        case "service_account":
            secrets = {"key_file": raw.decode()}
            return provider_calls.renewal("google-service-account-jwt", {}, secrets, key=key)
    raise BadInput(
        f"{source}: type {str(found.get('type'))[:64]!r}: expected authorized_user (gcloud auth "
        "application-default login) or service_account (a key file)"
    )


def _user(key: str, found: dict[str, Any], source: str) -> dict[str, Any]:
    words = {name: found.get(name) for name in _USER}
    for name, word in words.items():
        if not isinstance(word, str) or not word.strip():
            raise BadInput(
                f"{source}: {name} is missing: run gcloud auth application-default login"
            )
    token_url = found.get("token_uri") or GOOGLE_TOKEN_URL
    material = {"token_url": str(token_url), "client_id": str(words.pop("client_id"))}
    secrets = {name: str(word) for name, word in words.items()}
    return provider_calls.renewal("oauth2-refresh-token", material, secrets, key=key)
