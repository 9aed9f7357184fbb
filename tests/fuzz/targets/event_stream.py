"""Amazon's event stream: frames are a matter of bytes, not of pieces; tokens never fail."""

from fuzz.cuts import bytewise, uneven
from netmgr_proxy.inference.eventstream import MAX_READ, FrameReader
from netmgr_proxy.inference.frame_usage import FrameMeter

WORDS = (
    b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff",  # the shortest frame there is
    b'{"bytes":"',
    b'"usage":{"inputTokens":1,"outputTokens":2}',
    b"\x0b:event-type\x07\0\x05chunk",
    b"\0\0\0\0",
)


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once; what is kept is bounded."""
    whole = _read([data])
    assert whole == _read(bytewise(data)) == _read(uneven(data))
    meter = FrameMeter()
    meter.feed(data)
    assert meter.tokens_in is None or meter.tokens_in >= 0


def _read(pieces: list[bytes]) -> tuple[list[bytes], bool, bool]:
    reader = FrameReader()
    found = []
    for piece in pieces:
        found += [frame.payload for frame in reader.feed(piece)]
        assert all(len(payload) <= MAX_READ for payload in found)
    return found, reader.broken, reader.at_boundary
