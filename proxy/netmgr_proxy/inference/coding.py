"""Owns: a coded request body, read: gzip and deflate, to a bound (RFC 9110 §8.4.1).

The body that is judged is the one that is sent: the provider gets it plain. Pure.
"""

import zlib
from typing import Final

from netmgr.inference.protocols import Shape
from netmgr.reasons import Reason
from netmgr_proxy.inference.errors import Refusal

ACCEPTED: Final = "gzip, deflate, identity"  # as Accept-Encoding says it
_WINDOW: Final = {
    b"gzip": 16 + zlib.MAX_WBITS,
    b"x-gzip": 16 + zlib.MAX_WBITS,
    b"deflate": zlib.MAX_WBITS,  # zlib's wrapper; the bare stream is a mistake of old browsers
}


def is_read(coding: bytes) -> bool:
    """Whether a body in this one coding (lower case) can be read."""
    return coding in _WINDOW


def plain_body(body: bytes, coding: bytes, most: int, shape: Shape) -> bytes | Refusal:
    """The body without its coding; no more than `most` bytes of it are ever made.

    Args:
        coding: one of those that `is_read`.
    """
    try:
        read = _plain(body, coding, most)
    except _TooLarge:
        why = f"the request's body is larger than {most} bytes once its {coding.decode()} is read"
        return Refusal(413, Reason.LIMIT_EXCEEDED, why, shape=shape)
    return _not(coding, shape) if read is None else read


def plain_or_none(body: bytes, coding: bytes, most: int) -> bytes | None:
    """The body without its coding; None where it is not in it, or is larger than `most` then."""
    try:
        return _plain(body, coding, most)
    except _TooLarge:
        return None


class _TooLarge(Exception):
    """More comes out than may."""


def _plain(body: bytes, coding: bytes, most: int) -> bytes | None:
    """The body without its coding; None where it is not in it."""
    pieces: list[bytes] = []
    left = most
    while body:
        reader = zlib.decompressobj(_WINDOW[coding])
        try:
            piece = reader.decompress(body, left + 1)
        except zlib.error:
            return None
        left -= len(piece)
        if left < 0:
            raise _TooLarge
        if not reader.eof:
            return None  # it breaks off
        pieces.append(piece)
        body = reader.unused_data  # a further member (RFC 1952 §2.2)
        if body and coding == b"deflate":
            return None
    return b"".join(pieces)


def _not(coding: bytes, shape: Shape) -> Refusal:
    why = f"the request's body is not the {coding.decode()} that its content-encoding says"
    return Refusal(400, Reason.MALFORMED_REQUEST, why, close=False, shape=shape)
