"""Ids in answers: any bytes, in any pieces; what is found is an id, and found once."""

from fuzz.cuts import bytewise, uneven
from netmgr.inference.protocols import Protocol
from netmgr_proxy.inference.object_ids import MAX_FOUND, ObjectIds

WORDS = (
    b'"response":{"id":"',
    b'"item": {"type":"message","id":"resp_1"',
    b'"container_id":"c"',
    b'{"id":"resp_1","output":[{"id":"m"}]}',
    b"\n\n",
)


def fuzz(data: bytes) -> None:
    """Byte by byte equals all at once."""
    for protocol in (Protocol.RESPONSES, Protocol.MESSAGES):
        for stream in (True, False):
            whole = _found(protocol, stream, [data])
            assert len(set(whole)) == len(whole) <= MAX_FOUND
            if len(data) < 300:
                assert whole == _found(protocol, stream, bytewise(data))
                assert whole == _found(protocol, stream, uneven(data))


def _found(protocol: Protocol, stream: bool, pieces: list[bytes]) -> list[str]:
    ids = ObjectIds(protocol, stream=stream)
    names: list[str] = []
    for piece in pieces:
        if ids.feed(piece):
            names += ids.take()
    return names + (ids.take() if ids.finish() else [])
