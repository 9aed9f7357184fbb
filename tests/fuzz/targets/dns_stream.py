"""DNS over TCP: the cut of the stream is no matter, and no length is believed beyond a query's."""

from fuzz.cuts import bytewise, uneven
from netmgr_dns.tcp import QueryReader
from netmgr_dns.wire import MAX_QUERY


def fuzz(data: bytes) -> None:
    """Messages byte by byte equal all at once, as far as the stream is good."""
    whole, broke = _read([data])
    for pieces in (bytewise(data), uneven(data)):
        messages, broke_too = _read(pieces)
        assert broke_too == broke
        assert messages[: len(whole)] == whole
        assert broke or len(messages) == len(whole)
        assert all(len(message) <= MAX_QUERY for message in messages)


def _read(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    reader = QueryReader()
    messages: list[bytes] = []
    for piece in pieces:
        try:
            messages += reader.feed(piece)
        except ValueError:
            return messages, True
    return messages, False
