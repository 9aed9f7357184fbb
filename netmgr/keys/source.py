"""Owns: where the vault's key comes from: a root-only file, a systemd credential, a kernel keyring.

The setting `vault_key` says which. Knows nothing of what is encrypted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from netmgr.errors import HostFailed
from netmgr.keys.key_file import read_key_file
from netmgr.keys.keyring import read_user_key
from netmgr.keys.vault import Vault, parse_keys
from netmgr.settings.values import KeySource, KeyStore

CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"  # systemd.exec(5), "LoadCredential="


def open_vault(
    source: KeySource, file: Path, environ: Mapping[str, str], *, must_exist: bool
) -> Vault:
    """The vault of that place.

    Args:
        file: the key file, where the source is one.
        must_exist: see Vault.open; the other places are never made by us.

    Raises:
        HostFailed: there is no key, others could read it, or it is none.
    """
    match source.kind:
        case KeyStore.FILE:
            return Vault.open(file, must_exist=must_exist)
        case KeyStore.CREDENTIAL:
            return _of_credential(source, environ)
        case KeyStore.KEYRING:
            return _of_keyring(source)


def _of_credential(source: KeySource, environ: Mapping[str, str]) -> Vault:
    directory = environ.get(CREDENTIALS)
    if not directory:
        raise HostFailed(
            f"vault_key {source}: systemd gave no credentials; the unit needs "
            f"LoadCredentialEncrypted={source.name}:FILE or LoadCredential="
        )
    path = Path(directory) / source.name
    try:
        return Vault(parse_keys(read_key_file(path), str(path)))
    except FileNotFoundError:
        raise HostFailed(f"vault_key {source}: there is no credential {path}") from None


def _of_keyring(source: KeySource) -> Vault:
    try:
        text = read_user_key(source.name).decode("ascii", "replace")
    except OSError as problem:
        raise HostFailed(
            f"vault_key {source}: {problem.strerror}; load it before the daemon starts: "
            f"keyctl padd user {source.name} @u < KEYFILE"
        ) from problem
    return Vault(parse_keys(text, f"keyring {source.name}"))
