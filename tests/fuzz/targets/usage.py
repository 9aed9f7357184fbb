"""Token counts in an answer that passes: never an error, never a count that no record can hold.

The first byte chooses the content-encoding.
"""

import zlib
from itertools import chain

from fuzz.cuts import bytewise, uneven
from netmgr.journal.wire import MAX_COUNT
from netmgr_proxy.inference.usage import UsageMeter

CODINGS = (b"", b"gzip", b"deflate", b"br")
WORDS = (
    b'{"usage":{"prompt_tokens":5,"completion_tokens":7}}',
    b',"usage":',
    b'\\"usage":{',
    b'"input_tokens":',
    b'"cache_read_input_tokens":',
    b"9" * 30,
    b"-1",
    b"1.5",
    b"true",
    b"{",
    b"}",
)


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once."""
    coding, stream = CODINGS[data[0] % 4] if data else b"", data[1:]
    found = [_count(coding, pieces) for pieces in ([stream], bytewise(stream), uneven(stream))]
    # zlib gives nothing of a piece that ends in damage: what counts then is where it was cut.
    assert found[1:] == found[:1] * 2 or (coding and _is_damaged(coding, stream)), found
    for count in chain.from_iterable(found):
        assert count is None or 0 <= count <= MAX_COUNT, count


def _is_damaged(coding: bytes, stream: bytes) -> bool:
    inflater = zlib.decompressobj(16 + zlib.MAX_WBITS if coding == b"gzip" else zlib.MAX_WBITS)
    try:
        inflater.decompress(stream)
    except zlib.error:
        return True
    return False


def _count(coding: bytes, pieces: list[bytes]) -> tuple[int | None, int | None]:
    meter = UsageMeter(coding)
    for piece in pieces:
        meter.feed(piece)
    return meter.tokens_in, meter.tokens_out
