"""Owns: reading a TLS ClientHello from a connection's first bytes. Pure; no I/O.

Knows nothing of what a name or a missing name means for the connection.
Sources: RFC 8446 §4.1.2 and §5.1 (layout, record limits), RFC 6066 §3 (server name),
RFC 7301 §3.1 (ALPN), RFC 9849 (encrypted client hello: extension 0xfe0d).
"""

from dataclasses import dataclass
from typing import Final

HANDSHAKE: Final = 22  # TLS record type
CLIENT_HELLO: Final = 1
RECORD_HEAD: Final = 5
MESSAGE_HEAD: Final = 4
MAX_RECORD: Final = 1 << 14  # RFC 8446 §5.1
MAX_HELLO: Final = 16 * 1024  # a hello with a post-quantum key share needs about 2 KiB
MAX_RECORDS: Final = 64  # a hello in more pieces than this is made to hide, not to speak
MAX_HELLO_BYTES: Final = MAX_HELLO + MESSAGE_HEAD + MAX_RECORDS * RECORD_HEAD

_SERVER_NAME: Final = 0
_ALPN: Final = 16
_ECH: Final = 0xFE0D
_HOST_NAME: Final = 0


class BadHello(ValueError):
    """The bytes begin like a TLS handshake and are no valid ClientHello."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says before anything is encrypted.

    Attributes:
        sni: the server name, lower case without a trailing dot; None where none was sent.
        alpn: application protocols in the client's order.
        ech: an encrypted inner hello is there; `sni` is then the outer name.
    """

    sni: str | None
    alpn: tuple[str, ...]
    ech: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """Not all there yet; it is no use to look again before `until` bytes have come in all."""

    until: int


def looks_like_tls(data: bytes) -> bool:
    """Whether the first two bytes (or the one that is there) begin a TLS handshake record."""
    return data[:1] == b"\x16" and data[1:2] in (b"", b"\x03")


def parse_hello(data: bytes) -> ClientHello | Missing:
    """Read a ClientHello that may be spread over several records.

    Args:
        data: all bytes of the connection so far.

    Raises:
        BadHello: it can no longer become a valid ClientHello, whatever comes.
    """
    message = _join_records(data)
    return message if isinstance(message, Missing) else _parse_body(message)


def _join_records(data: bytes) -> bytes | Missing:
    """The ClientHello message's body, gathered from its records."""
    message = bytearray()
    wanted = MESSAGE_HEAD
    at = 0
    for _ in range(MAX_RECORDS):
        head = data[at : at + RECORD_HEAD]
        if not looks_like_tls(head):
            if head:
                raise BadHello("a record that is no TLS handshake stands in the ClientHello")
            return Missing(at + RECORD_HEAD)
        if len(head) < RECORD_HEAD:
            return Missing(at + RECORD_HEAD)
        length = int.from_bytes(head[3:5], "big")
        if not 0 < length <= MAX_RECORD:
            raise BadHello(f"a TLS record of {length} bytes")
        start = at + RECORD_HEAD
        message += data[start : start + length]
        wanted = _check_message_head(message)
        if len(message) >= wanted:
            return bytes(message[MESSAGE_HEAD:wanted])
        if len(data) < start + length:
            return Missing(start + min(length, wanted - len(message) + len(data) - start))
        at = start + length
    raise BadHello(f"a ClientHello in more than {MAX_RECORDS} records")


def _check_message_head(message: bytearray) -> int:
    """Length of the whole message as far as it can be known."""
    if message and message[0] != CLIENT_HELLO:
        raise BadHello(f"a TLS handshake that begins with message type {message[0]}")
    if len(message) < MESSAGE_HEAD:
        return MESSAGE_HEAD
    length = int.from_bytes(message[1:4], "big")
    if length > MAX_HELLO:
        raise BadHello(f"a ClientHello of {length} bytes; {MAX_HELLO} at most")
    return MESSAGE_HEAD + length


class _Cursor:
    """Reads length-prefixed vectors; every shortage is a BadHello."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise BadHello("a length in the ClientHello points past its end")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))


def _parse_body(body: bytes) -> ClientHello:
    cursor = _Cursor(body)
    cursor.take(2 + 32)  # legacy_version, random
    if len(cursor.vector(1)) > 32:
        raise BadHello("a session id of more than 32 bytes")
    ciphers = cursor.vector(2)
    if not ciphers or len(ciphers) % 2:
        raise BadHello("a list of cipher suites of uneven or no length")
    if not cursor.vector(1):
        raise BadHello("an empty list of compression methods")
    extensions = _parse_extensions(cursor)
    name = extensions.get(_SERVER_NAME)
    alpn = extensions.get(_ALPN)
    return ClientHello(
        sni=None if name is None else _parse_server_name(name),
        alpn=() if alpn is None else _parse_alpn(alpn),
        ech=_ECH in extensions,
    )


def _parse_extensions(cursor: _Cursor) -> dict[int, bytes]:
    """Extensions by type. A repeated type is refused: two server names would be two truths."""
    if not cursor.left:
        return {}
    block = _Cursor(cursor.vector(2))
    if cursor.left:
        raise BadHello("bytes after the ClientHello's extensions")
    found: dict[int, bytes] = {}
    while block.left:
        kind = block.number(2)
        if kind in found:
            raise BadHello(f"extension {kind} stands twice in the ClientHello")
        found[kind] = block.vector(2)
    return found


def _parse_server_name(data: bytes) -> str:
    cursor = _Cursor(data)
    names = _Cursor(cursor.vector(2))
    if cursor.left or names.number(1) != _HOST_NAME:
        raise BadHello("a server name extension that holds no host name")
    name = names.vector(2)
    if names.left:
        raise BadHello("more than one server name")
    if not name or not all(0x21 <= byte <= 0x7E for byte in name):
        raise BadHello("a server name with bytes outside visible ASCII")
    return name.decode("ascii").lower().removesuffix(".")


def _parse_alpn(data: bytes) -> tuple[str, ...]:
    cursor = _Cursor(data)
    block = _Cursor(cursor.vector(2))
    if cursor.left or not block.left:
        raise BadHello("an ALPN extension of wrong length")
    protocols: list[str] = []
    while block.left:
        protocol = block.vector(1)
        if not protocol:
            raise BadHello("an empty ALPN protocol")
        protocols.append(protocol.decode("latin-1"))
    return tuple(protocols)
