"""Owns: what was derived from a model call's head and its route: admission, and the head sent on.

A client sends nearly the same head with every call. What follows from it is kept for the next call
of the same connection, and only while the same route is in force. Nothing is shared between
connections; an idle one, and with it what it holds of the route, ends after the keep-alive timeout.
Knows nothing of sockets and of bodies.
"""

from dataclasses import dataclass

from netmgr.policy.decision import Target
from netmgr_proxy.authority import check_authority
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.headers import judge_request_headers, request_headers
from netmgr_proxy.inference.rewrite import PinnedBody
from netmgr_proxy.inference.url import join
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.request import Head


class ModelRefused(Exception):
    """Carries a refusal of the inference room, which has a face of its own."""

    def __init__(self, refusal: errors.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def origin_of(address: str, live: LiveRoute) -> Origin:
    """Where a route's calls go, for the pool and the dialer."""
    base = live.route.base
    target = Target(base.host, None, base.port)
    return Origin(address, target, base.scheme == "https", (live.route.id, live.serial))


@dataclass(frozen=True, slots=True)
class Admission:
    """A call's head that may be sent on, and what follows from it.

    Attributes:
        before: the provider's head up to the number of Content-Length; whole without a body.
        after: the rest of it.
    """

    head: Head
    live: LiveRoute
    admitted: Admitted
    origin: Origin
    before: bytes
    after: bytes

    def render(self, body: PinnedBody | None) -> bytes:
        """The request as the provider gets it, body included."""
        if body is None:
            return self.before
        return b"".join((self.before, b"%d" % body.length, self.after, *body.chunks))


class Admissions:
    """The last admission of one connection.

    Args:
        address: the sandbox's address.
        target: what the client connected to.
    """

    __slots__ = ("_address", "_last", "_target")

    def __init__(self, address: str, target: Target) -> None:
        self._address = address
        self._target = target
        self._last: Admission | None = None

    def admit(self, head: Head, live: LiveRoute | None) -> Admission:
        """Judge head and route.

        Args:
            live: the route in force now; None where there is none.

        Raises:
            Refused, ModelRefused: the call goes no further.
        """
        last = self._last
        if last is not None and last.live is live and head.is_like(last.head):
            return last
        self._last = None  # what is refused keeps nothing
        target = check_authority(head, self._target, "https")
        admitted = admit(head.method, target, live.route if live else None)
        if isinstance(admitted, errors.Refusal):
            raise ModelRefused(admitted)
        assert live is not None  # admit refuses where no route is
        objection = judge_request_headers(head.fields, admitted.shape)
        if objection is not None:
            raise ModelRefused(objection)
        before, after = _render_head(admitted, head)
        origin = origin_of(self._address, live)
        self._last = admission = Admission(head, live, admitted, origin, before, after)
        return admission


def _render_head(admitted: Admitted, head: Head) -> tuple[bytes, bytes]:
    """The provider's head around the number of its Content-Length, where there is a body."""
    route = admitted.route
    target = join(route.base, admitted.path, admitted.query)
    lines = [f"{admitted.method} {target} HTTP/1.1".encode("ascii")]
    if not admitted.pattern.has_body:
        lines += [name + b": " + value for name, value in request_headers(head.fields, route, None)]
        return b"\r\n".join(lines) + b"\r\n\r\n", b""
    fields = request_headers(head.fields, route, 0)
    place = fields.index((b"content-length", b"0")) + 1
    lines += [name + b": " + value for name, value in fields[:place]]
    rest = [name + b": " + value for name, value in fields[place:]]
    before = b"\r\n".join(lines).removesuffix(b"0")
    return before, b"".join(b"\r\n" + line for line in rest) + b"\r\n\r\n"
