"""Owns: encryption of secrets at rest. Knows nothing of what they are for, nor where the key lives.

AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D §8.2.2). What a secret belongs to is bound
as associated data, so that a blob copied into another row does not open.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from netmgr.errors import HostFailed
from netmgr.keys.key_file import create_key_file, read_key_file
from netmgr.secret import Secret

KEY_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
MAX_KEYS: Final = 16  # lines of a key text; each older one is a rotation that was not finished
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


@dataclass(frozen=True, slots=True)
class Key:
    """One key and the name by which blobs refer to it. `render` is what a key file holds."""

    id: str
    key: bytes = field(repr=False)

    @classmethod
    def create(cls) -> "Key":
        """A new one."""
        return cls(secrets.token_hex(KEY_ID_BYTES), secrets.token_bytes(KEY_BYTES))

    def render(self) -> str:
        """Its line."""
        return f"{_FORMAT} {self.id} {base64.b64encode(self.key).decode()}\n"


class Vault:
    """Seals with the first of its keys, opens with any.

    Args:
        keys: the current one first; the others are being replaced.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = tuple(keys)
        self.key_id = self.keys[0].id
        self._ciphers = {key.id: AESGCM(key.key) for key in self.keys}

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
            text = read_key_file(path)
        except FileNotFoundError:
            if must_exist:
                raise HostFailed(
                    f"{path}: the key is gone, but encrypted credentials are stored; restore the "
                    "file from a backup, or move the state directory away and begin anew"
                ) from None
            create_key_file(path, Key.create().render())
            text = read_key_file(path)
        return cls(parse_keys(text, str(path)))

    def seal(self, secret: Secret, *belongs_to: str) -> Sealed:
        """Encrypt a secret for its place, for example ("provider", name, key)."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        data = secret.reveal().encode()
        bound = _binding(self.key_id, belongs_to)
        return Sealed(self.key_id, nonce + self._ciphers[self.key_id].encrypt(nonce, data, bound))

    def unseal(self, sealed: Sealed, *belongs_to: str) -> Secret:
        """The secret again.

        Raises:
            HostFailed: another key, another place, or a changed blob.
        """
        place = " ".join(belongs_to)
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            held = ", ".join(key.id for key in self.keys)
            raise HostFailed(
                f"{place}: encrypted with key {sealed.key_id}, but the key source holds {held}"
            )
        nonce, data = sealed.blob[:NONCE_BYTES], sealed.blob[NONCE_BYTES:]
        try:
            plain = cipher.decrypt(nonce, data, _binding(sealed.key_id, belongs_to))
            return Secret(plain.decode())
        except (InvalidTag, ValueError):
            raise HostFailed(f"{place}: the stored secret is damaged or not this one's") from None


def parse_keys(text: str, where: str) -> tuple[Key, ...]:
    """The keys of a key text: one per line, the current one first.

    Args:
        where: what the text is called in an error.

    Raises:
        HostFailed: a line is no key, there is none, or one stands twice.
    """
    keys = tuple(_parse_key(line, where) for line in text.splitlines() if line.strip())
    if not 0 < len(keys) <= MAX_KEYS or len({key.id for key in keys}) < len(keys):
        raise HostFailed(
            f"{where}: not a key file of netmgr: expected 1 to {MAX_KEYS} keys, each once"
        )
    return keys


def _parse_key(line: str, where: str) -> Key:
    try:
        form, key_id, encoded = line.split()
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        form, key_id, key = "", "", b""
    if form != _FORMAT or len(key) != KEY_BYTES:
        raise HostFailed(f"{where}: not a key file of netmgr ({_FORMAT} ID KEY); restore it")
    return Key(key_id, key)


def _binding(key_id: str, belongs_to: tuple[str, ...]) -> bytes:
    # Lengths keep ("ab", "c") and ("a", "bc") apart.
    parts = [part.encode() for part in (key_id, *belongs_to)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
