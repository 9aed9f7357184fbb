"""What is kept of a request head for the next one, and what never is."""

from dataclasses import replace
from typing import Any, Final

import pytest

from netmgr.policy.decision import Target
from netmgr.policy.policy import parse_policy
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.judged import Endpoint
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refused
from netmgr_proxy.wire.request import Head, RequestReader

TARGET: Final = Target("api.example.com", None, 443)
POLICY: Final = """
version: 1
network_policies:
  a:
    endpoints:
      - {host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: ACCESS}
    binaries: [{path: "/**"}]
"""


def sandbox(access: str, revision: int = 1) -> SandboxView:
    """A sandbox whose policy lets `access` through."""
    policy = parse_policy(POLICY.replace("ACCESS", access), "test")
    return SandboxView("10.0.0.2", "a", None, {}, policy, revision)


def head(**parts: Any) -> Head:
    """A POST of three bytes, but for `parts`."""
    plain = Head(
        method="POST",
        target=b"/v1/items?q=1",
        http10=False,
        host=b"api.example.com",
        length=3,
        keep_alive=True,
        expects_continue=False,
        upgrade=None,
        fields=((b"Accept", b"*/*"),),
    )
    return replace(plain, **parts)


def endpoint() -> Endpoint:
    """A connection without a request so far."""
    return Endpoint("10.0.0.2", TARGET, "https")


def test_heads_that_differ_in_length_share_what_was_derived() -> None:
    connection = endpoint()
    first = connection.read(head())
    assert connection.read(head(length=12)) is first
    assert first.render(head()).endswith(b"Accept: */*\r\nContent-Length: 3\r\n\r\n")
    assert first.render(head(length=12)).endswith(b"\r\nContent-Length: 12\r\n\r\n")
    assert first.render(head(length=0)).endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert first.render(head(length=None)).endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_a_get_without_a_body_has_no_framing_field() -> None:
    get = head(method="GET", length=0, fields=())
    rendered = endpoint().read(get).render(get)
    assert rendered == b"GET /v1/items?q=1 HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        {"method": "PUT"},
        {"target": b"/v1/other"},
        {"fields": ()},
        {"fields": ((b"accept", b"*/*"),)},
        {"http10": True},
        {"host": b"API.example.com"},
    ],
)
def test_heads_that_differ_otherwise_share_nothing(parts: dict[str, Any]) -> None:
    connection = endpoint()
    assert connection.read(head(**parts)) is not connection.read(head())


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"host": b"other.example.com"}, Reason.AUTHORITY_MISMATCH),
        ({"upgrade": b"h2c"}, Reason.UNSUPPORTED_PROTOCOL),
        ({"target": b"no-slash"}, Reason.MALFORMED_REQUEST),
    ],
)
def test_a_good_head_lets_no_bad_one_pass(parts: dict[str, Any], reason: Reason) -> None:
    connection = endpoint()
    connection.read(head())
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            connection.read(head(**parts))
        assert refused.value.refusal.reason is reason


def test_a_decision_is_kept_until_the_sandbox_is_replaced() -> None:
    judged = endpoint().read(head())
    before = sandbox("full")
    assert judged.judge(before, TARGET) is judged.judge(before, TARGET)
    with pytest.raises(Refused):
        judged.judge(sandbox("read-only", revision=2), TARGET)


def test_another_policy_of_the_same_number_is_asked_too() -> None:
    judged = endpoint().read(head())
    judged.judge(sandbox("full"), TARGET)
    with pytest.raises(Refused):
        judged.judge(sandbox("read-only"), TARGET)


def test_a_refusal_is_not_kept_and_keeps_nothing() -> None:
    judged = endpoint().read(head())
    allowed, denied = sandbox("full"), sandbox("read-only", revision=2)
    judged.judge(allowed, TARGET)
    for _ in range(2):
        with pytest.raises(Refused):
            judged.judge(denied, TARGET)
    assert judged.judge(allowed, TARGET).permits


def test_bodies_of_repeated_heads_are_read_by_their_own_length() -> None:
    reader, connection = RequestReader(4096, 20), endpoint()
    seen = []
    for body in (b"abc", b"abcdefghijkl", b"abc"):
        reader.feed(b"POST / HTTP/1.1\r\nHost: api.example.com\r\n")
        reader.feed(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        got = reader.next()
        assert isinstance(got, Head)
        seen.append(connection.read(got))
        assert seen[-1].render(got).endswith(b"Content-Length: %d\r\n\r\n" % len(body))
        assert (reader.next(), reader.next()) != (None, None)
    assert seen[0] is seen[1] is seen[2]


def test_origins_are_equal_by_what_they_are() -> None:
    one = Origin("10.0.0.2", TARGET, True)
    assert one == Origin("10.0.0.2", TARGET, True)
    assert hash(one) == hash(Origin("10.0.0.2", TARGET, True))
    assert one != Origin("10.0.0.3", TARGET, True)
    assert one != Origin("10.0.0.2", TARGET, True, ("r", 1))
