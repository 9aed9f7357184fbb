"""Owns: which stores of certificates a command needs that runs with the host's files: those that
the host has programs for. They cost tens of milliseconds, so nobody else gets them unasked.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netmgr import calls
from netmgr.client import Client
from netmgr.errors import NetmgrError, Unreachable
from netmgr.keys.injection import JAVA_TARGETS, NSS_TARGETS
from netmgr.keys.stores import CERTUTIL
from netmgr_cli import screen
from netmgr_cli.identity import Identity
from netmgr_cli.scenery import USER_NSS


def with_stores(
    client: Client, sandbox: Mapping[str, Any], identity: Identity
) -> Mapping[str, Any]:
    """The sandbox with the stores that programs of this host read. Where one cannot be made, that
    is said, and the command runs without."""
    missing = _missing(sandbox["files"], identity)
    if not missing:
        return sandbox
    try:
        return {**client.send(calls.sandbox_trust(sandbox["name"], missing))}
    except Unreachable:
        raise
    except NetmgrError as error:
        screen.note(f"netmgr: {error.message}")
        return sandbox


def _missing(files: Mapping[str, Any], identity: Identity) -> list[calls.TrustStore]:
    found: list[calls.TrustStore] = []
    if files["java_truststore"] is None and (_is_any(JAVA_TARGETS) or shutil.which("java")):
        found.append("java")
    databases = (*NSS_TARGETS, *(Path(identity.home, name) for name in USER_NSS))
    if files["nss_database"] is None and _is_any(databases) and shutil.which(CERTUTIL):
        found.append("nss")
    return found


def _is_any(paths: tuple[Path, ...]) -> bool:
    return any(path.exists() for path in paths)
