"""What a connection begins with: a class once given stays, however the bytes come."""

from collections.abc import Iterable

from netmgr_proxy.wire.classify import MAX_FIRST_BYTES, First, Tls, classify, classify_ended
from netmgr_proxy.wire.hello import Missing

WORDS = (
    b"\x16\x03\x01",
    b"GET / HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b" HTTP/",
    b"\r\n\r\n",
    b"\n\n",
)


def fuzz(data: bytes) -> None:
    """Byte by byte, and looking again only where it was said to, both equal all at once."""
    whole = classify(data)
    assert _first_decision(data, range(1, len(data) + 1)) == whole
    assert _first_decision(data, _as_told(data)) == whole
    assert not isinstance(classify_ended(data), Missing) or not data
    if isinstance(whole, Tls) and whole.hello.sni is not None:
        assert whole.hello.sni.isascii()
        assert whole.hello.sni.isprintable()


def _first_decision(data: bytes, ends: Iterable[int]) -> First:
    for end in ends:
        found = classify(data[:end])
        if not isinstance(found, Missing):
            return found
        assert end < found.until <= max(MAX_FIRST_BYTES, end + 1)
    return classify(data)


def _as_told(data: bytes) -> Iterable[int]:
    end = 1
    while end <= len(data):
        yield end
        found = classify(data[:end])
        end = found.until if isinstance(found, Missing) else len(data) + 1
