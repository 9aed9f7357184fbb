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
    pieces: list[bytes] = []
    left = most
    while body:
        reader = zlib.decompressobj(_WINDOW[coding])
        try:
            piece = reader.decompress(body, left + 1)
        except zlib.error:
            return _not(coding, shape)
        left -= len(piece)
        if left < 0:
            why = (
                f"the request's body is larger than {most} bytes once its {coding.decode()} is read"
            )
            return Refusal(413, Reason.LIMIT_EXCEEDED, why, shape=shape)
        if not reader.eof:
            return _not(coding, shape)  # it breaks off
        pieces.append(piece)
        body = reader.unused_data  # a further member (RFC 1952 §2.2)
        if body and coding == b"deflate":
            return _not(coding, shape)
    return b"".join(pieces)


def _not(coding: bytes, shape: Shape) -> Refusal:
    why = f"the request's body is not the {coding.decode()} that its content-encoding says"
    return Refusal(400, Reason.MALFORMED_REQUEST, why, close=False, shape=shape)
