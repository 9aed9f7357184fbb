"""A coded request body: never more than the bound, and the bytes that another reader finds.

The first byte chooses the coding (`d` is deflate); a `c` behind it has the rest coded first.
"""

import gzip
import zlib

from netmgr.inference.protocols import Shape
from netmgr_proxy.inference.coding import plain_body
from netmgr_proxy.inference.errors import Refusal

BOUND = 4096
WORDS = (
    gzip.compress(b"{}", mtime=0),
    zlib.compress(b"{}"),
    gzip.compress(bytes(BOUND + 1), mtime=0),
    b"\x1f\x8b",
)


def fuzz(data: bytes) -> None:
    """What is whole and within the bound is read; everything else is refused."""
    coding = b"deflate" if data[:1] == b"d" else b"gzip"
    text = data[2:]
    if data[1:2] != b"c":
        found = plain_body(text, coding, BOUND, Shape.OPENAI)
        assert isinstance(found, Refusal) or len(found) <= BOUND
        if isinstance(found, bytes) and text:
            assert found == (gzip.decompress(text) if coding == b"gzip" else zlib.decompress(text))
        return
    coded = gzip.compress(text) if coding == b"gzip" else zlib.compress(text)
    found = plain_body(coded, coding, BOUND, Shape.OPENAI)
    assert found == text if len(text) <= BOUND else isinstance(found, Refusal)
