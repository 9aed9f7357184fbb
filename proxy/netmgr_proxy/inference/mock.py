"""Owns: the answers of a provider that is made up (`mock://`); the daemon allows it in tests only.

The answers are the scripted model's; a header says that they are none of a model's. Knows nothing
of sockets.
"""

from typing import Final, NamedTuple

from netmgr.testing.model_answers import default_answer
from netmgr.testing.model_script import parse_reply

MARK: Final = (b"x-netmgr-mock", b"true")


class MockAnswer(NamedTuple):
    """What the client gets."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def mock_answer(target: str, body: bytes) -> MockAnswer:
    """The answer to a request as the provider would have got it.

    Args:
        target: path and query.
    """
    reply = parse_reply(default_answer(target.partition("?")[0], {}, body), "mock")
    headers = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
    return MockAnswer(reply.status, [*headers, MARK], b"".join(reply.pieces))
