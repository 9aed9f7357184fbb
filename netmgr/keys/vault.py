"""Owns: encryption of secrets at rest, and the key file. Knows nothing of what the secrets are for.

AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D §8.2.2). What a secret belongs to is bound
as associated data, so that a blob copied into another row does not open.
"""

import base64
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netmgr.errors import HostFailed
from netmgr.secret import Secret

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
MAX_KEY_FILE: Final = 4096
KEY_MODE: Final = 0o600
_FORMAT: Final = "netmgr-key-1"


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret.

    Attributes:
        key_id: which key opens it.
        blob: nonce, ciphertext and tag.
    """

    key_id: str
    blob: bytes


class Vault:
    """Seals and opens secrets with one key."""

    def __init__(self, key_id: str, key: bytes) -> None:
        self.key_id = key_id
        self._cipher = AESGCM(key)

    @classmethod
    def open(cls, path: Path, *, must_exist: bool) -> "Vault":
        """The vault of a key file.

        Args:
            path: the file. Its directory exists.
            must_exist: whether something is stored that only this key opens; otherwise an
                absent file is made.

        Raises:
            HostFailed: it is absent although it must exist, belongs to another user, is
                readable for others, or is no key file.
        """
        try:
            text = _read_key(path)
        except FileNotFoundError:
            if must_exist:
                raise HostFailed(
                    f"{path}: the key is gone, but encrypted credentials are stored; restore the "
                    "file from a backup, or move the state directory away and begin anew"
                ) from None
            _create_key(path)
            text = _read_key(path)
        return cls(*_parse_key(text, path))

    def seal(self, secret: Secret, *belongs_to: str) -> Sealed:
        """Encrypt a secret for its place, for example ("provider", name, key)."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        data = secret.reveal().encode()
        return Sealed(
            self.key_id, nonce + self._cipher.encrypt(nonce, data, self._binding(belongs_to))
        )

    def unseal(self, sealed: Sealed, *belongs_to: str) -> Secret:
        """The secret again.

        Raises:
            HostFailed: another key, another place, or a changed blob.
        """
        place = " ".join(belongs_to)
        if sealed.key_id != self.key_id:
            raise HostFailed(
                f"{place}: encrypted with key {sealed.key_id}, but the key file holds {self.key_id}"
            )
        nonce, data = sealed.blob[:NONCE_BYTES], sealed.blob[NONCE_BYTES:]
        try:
            return Secret(self._cipher.decrypt(nonce, data, self._binding(belongs_to)).decode())
        except (InvalidTag, ValueError):
            raise HostFailed(f"{place}: the stored secret is damaged or not this one's") from None

    def _binding(self, belongs_to: tuple[str, ...]) -> bytes:
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        parts = [part.encode() for part in (self.key_id, *belongs_to)]
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _read_key(path: Path) -> str:
    try:
        # O_NONBLOCK: a pipe of that name would keep the daemon waiting for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be read: {problem.strerror}") from problem
    try:
        _check_owner(os.fstat(fd), path)
        return os.read(fd, MAX_KEY_FILE).decode("ascii", "replace")
    finally:
        os.close(fd)


def _check_owner(status: os.stat_result, path: Path) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise HostFailed(f"{path}: not a regular file")
    if status.st_uid != os.geteuid():
        raise HostFailed(
            f"{path}: belongs to uid {status.st_uid}, expected {os.geteuid()}; "
            "replace the key if that user was not to know it"
        )
    if mode & 0o077:
        raise HostFailed(
            f"{path}: mode {mode:04o} lets others read the key, expected {KEY_MODE:04o}; "
            f"see who could have, then: chmod {KEY_MODE:04o} {path}"
        )


def _parse_key(text: str, path: Path) -> tuple[str, bytes]:
    words = text.split()
    try:
        form, key_id, encoded = words
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        form, key_id, key = "", "", b""
    if form != _FORMAT or len(key) != KEY_BYTES or not key_id:
        raise HostFailed(f"{path}: not a key file of netmgr ({_FORMAT} ID KEY); restore it")
    return key_id, key


def _create_key(path: Path) -> None:
    """Whole or not at all, and never over another: written aside, then linked (link(2) fails where
    the name exists)."""
    key_id, key = secrets.token_hex(KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES)
    aside = path.with_name(f".{path.name}.{key_id}")
    try:
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, KEY_MODE)
                file.write(f"{_FORMAT} {key_id} {base64.b64encode(key).decode()}\n".encode())
                file.flush()
                os.fsync(fd)
            os.link(aside, path)
        finally:
            os.unlink(aside)
        _sync_directory(path.parent)
    except FileExistsError:
        return  # somebody was faster; that key is read then
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be created: {problem.strerror}") from problem


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
