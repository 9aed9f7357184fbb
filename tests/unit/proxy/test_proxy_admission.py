"""What is kept of a model call's head for the next call, and what never is."""

from dataclasses import replace
from typing import Any, Final

import pytest

from netmgr.inference.profiles import Provider
from netmgr.inference.resolve import resolve_route
from netmgr.policy.decision import Target
from netmgr.reasons import Reason
from netmgr.secret import Secret
from netmgr_proxy.admission import ONE_PIECE, Admissions, ModelRefused
from netmgr_proxy.inference.rewrite import pin_model
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.wire.face import Refused
from netmgr_proxy.wire.request import Head

HEAD: Final = Head(
    method="POST",
    target=b"/v1/chat/completions",
    http10=False,
    host=b"inference.local",
    length=2,
    keep_alive=True,
    expects_continue=False,
    upgrade=None,
    fields=((b"Content-Type", b"application/json"), (b"Authorization", b"Bearer mine")),
)


def live(key: str = "sk-1", serial: int = 1, **more: Any) -> LiveRoute:
    """A route in force."""
    config = {"OPENAI_BASE_URL": "https://p.test/v1"}
    provider = Provider("p", "openai", {"OPENAI_API_KEY": Secret(key)}, config)
    route = resolve_route(provider, "m", route_id="r")
    return LiveRoute(replace(route, **more), serial, None)


def admissions() -> Admissions:
    """A connection without a call so far."""
    return Admissions("10.0.0.2", Target("inference.local", None, 443))


def test_calls_with_bodies_of_any_length_share_an_admission() -> None:
    connection, route = admissions(), live()
    first = connection.admit(HEAD, route)
    assert connection.admit(replace(HEAD, length=30), route) is first
    for body in (b'{"model":"x"}', b'{"model":"x","n":1}'):
        pinned = pin_model(body, "m")
        assert b"".join(first.render(pinned)) == (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: p.test\r\n"
            b"accept-encoding: identity\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\nauthorization: Bearer sk-1\r\n\r\n%b"
            % (pinned.length, pinned.joined())
        )


def test_a_long_body_is_not_copied() -> None:
    body = b'{"text":"%b","model":"x"}' % bytes(ONE_PIECE).replace(b"\0", b"a")
    pinned = pin_model(body, "m")
    head, *pieces = admissions().admit(HEAD, live()).render(pinned)
    assert bytes(head).endswith(b"\r\n\r\n")
    assert b"".join(pieces) == pinned.joined()
    views = [piece for piece in pieces if isinstance(piece, memoryview)]
    assert [view.obj is body for view in views] == [True, True]


def test_a_call_without_a_body_has_no_length() -> None:
    head = replace(HEAD, method="GET", target=b"/v1/models", length=0)
    assert b"".join(admissions().admit(head, live()).render(None)) == (
        b"GET /v1/models HTTP/1.1\r\nhost: p.test\r\naccept-encoding: identity\r\n"
        b"authorization: Bearer sk-1\r\n\r\n"
    )


def test_another_route_is_another_key_and_another_connection() -> None:
    connection = admissions()
    before = connection.admit(HEAD, live())
    after = connection.admit(HEAD, live("sk-2", serial=2))
    assert b"Bearer sk-2" in after.after
    assert b"sk-1" not in after.before + after.after
    assert after.origin != before.origin


def test_a_route_that_was_put_in_force_again_is_another() -> None:
    connection = admissions()
    assert connection.admit(HEAD, live()) is not connection.admit(HEAD, live())


def test_a_route_that_is_gone_is_gone_at_once() -> None:
    connection, route = admissions(), live()
    connection.admit(HEAD, route)
    for _ in range(2):
        with pytest.raises(ModelRefused) as refused:
            connection.admit(HEAD, None)
        assert refused.value.refusal.reason is Reason.NOT_CONFIGURED


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"target": b"/v1/files"}, Reason.PATTERN_NOT_SUPPORTED),
        ({"method": "DELETE"}, Reason.PATTERN_NOT_SUPPORTED),
        ({"fields": ((b"content-encoding", b"br"),)}, Reason.MALFORMED_REQUEST),
    ],
)
def test_a_good_call_lets_no_bad_one_pass(parts: dict[str, Any], reason: Reason) -> None:
    connection, route = admissions(), live()
    connection.admit(HEAD, route)
    with pytest.raises(ModelRefused) as refused:
        connection.admit(replace(HEAD, **parts), route)
    assert refused.value.refusal.reason is reason


def test_another_host_is_refused_after_a_good_call() -> None:
    connection, route = admissions(), live()
    connection.admit(HEAD, route)
    with pytest.raises(Refused):
        connection.admit(replace(HEAD, host=b"elsewhere.example"), route)
