"""A key in an answer: gone however the answer is cut, in the same length."""

from fuzz.cuts import bytewise, uneven
from netmgr_proxy.inference.echo import EchoGuard

KEY = b"sk-sk-operator-key-sk-o"
WORDS = (KEY, KEY[:9], KEY[:-1], b"sk-", b"s", b"\n")


def fuzz(data: bytes) -> None:
    """Byte by byte, unevenly and all at once."""
    for pieces in ([data], bytewise(data), uneven(data)):
        guard = EchoGuard((KEY,), error=False)
        out = b"".join([*map(guard.feed, (p for p in pieces if p)), guard.rest()])
        assert len(out) == len(data)
        assert KEY not in out
        if KEY[:16] not in data:
            assert out == data
