"""Owns: what was derived from a model call's head and its route: admission, and the head sent on.

A client sends nearly the same head with every call. What follows from it is kept for the next call
of the same connection, and only while the same route, or the same endpoints, are in force. Nothing
is shared between connections; an idle one, and with it what it holds of the route, ends after the
keep-alive timeout.
Knows nothing of sockets and of bodies.
"""

from dataclasses import dataclass
from typing import Final

from netmgr.inference.scope import endpoint_of
from netmgr.inference.sigv4 import Signer
from netmgr.policy.decision import Target
from netmgr_proxy.authority import check_authority
from netmgr_proxy.inference import errors
from netmgr_proxy.inference.admit import Admitted, admit
from netmgr_proxy.inference.headers import body_coding, judge_request_headers, request_headers
from netmgr_proxy.inference.outgoing import fixed_target, outgoing_target
from netmgr_proxy.inference.rewrite import PinnedBody
from netmgr_proxy.routes import LiveRoute
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.request import Head

# Bytes of a body that is sent in one piece with its head, since every piece is a TLS record of its
# own; to copy a longer one costs more than that.
ONE_PIECE: Final = 64 * 1024
MAX_KEPT: Final = 8  # endpoints of one plan; a longer one is judged anew


class ModelRefused(Exception):
    """Carries a refusal of the inference room, which has a face of its own."""

    def __init__(self, refusal: errors.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def origin_of(address: str, live: LiveRoute) -> Origin:
    """Where a route's calls go, for the pool and the dialer."""
    base = live.route.base
    target = Target(base.host, None, base.port)
    route = (live.route.id, live.serial)
    return Origin(address, target, base.scheme == "https", route, connect=live.connect)


@dataclass(frozen=True, slots=True)
class Admission:
    """A call's head that may be sent on, and what follows from it.

    Attributes:
        target: the request target at the provider; None where the body has a say in it.
        before: the head behind the request line, up to the number of Content-Length; whole
            without a body.
        after: the rest of it.
        signer: signs each request, where the provider wants that.
        coding: of the client's body; b'' where it is plain.
    """

    head: Head
    live: LiveRoute
    admitted: Admitted
    origin: Origin
    target: str | None
    before: bytes
    after: bytes
    signer: Signer | None
    coding: bytes = b""

    def render(self, body: PinnedBody | None, now: float = 0.0) -> list[bytes | memoryview]:
        """The request as the provider gets it, body included: in one piece, or where the body is
        long in as many as it takes to copy nothing.

        Args:
            now: seconds since the epoch, for a signature.
        """
        target = self.target or outgoing_target(self.admitted, body)
        line = f"{self.admitted.method} {target} HTTP/1.1".encode("ascii")
        if self.signer is not None:
            payload = body.joined() if body is not None else b""
            host = self.live.route.base.authority
            signed = self.signer.sign(self.admitted.method, target, host, payload, now=now)
            line = b"\r\n".join((line, *(name + b": " + value for name, value in signed)))
        if body is None:
            return [line + self.before]
        head = b"".join((line, self.before, b"%d" % body.length, self.after))
        if body.length > ONE_PIECE:
            return [head, *body.chunks]
        return [b"".join((head, *body.chunks))]


class Admissions:
    """The last admissions of one connection: those by which its last head could go.

    Args:
        address: the sandbox's address.
        target: what the client connected to.
    """

    __slots__ = ("_address", "_kept", "_target")

    def __init__(self, address: str, target: Target) -> None:
        self._address = address
        self._target = target
        self._kept: dict[str | None, Admission] = {}  # by the scope of the route

    def admit(self, head: Head, live: LiveRoute | None, scheme: str = "https") -> Admission:
        """Judge head and route.

        Args:
            live: the route in force now; None where there is none.
            scheme: of this connection.

        Raises:
            Refused, ModelRefused: the call goes no further.
        """
        scope = live.scope if live is not None else None
        last = self._kept.get(scope)
        if last is not None and last.live is live and head.is_like(last.head):
            return last
        self._forget(scope, head)  # what is refused keeps nothing
        target = check_authority(head, self._target, scheme)
        admitted = admit(head.method, target, live.route if live else None)
        if isinstance(admitted, errors.Refusal):
            raise ModelRefused(admitted)
        assert live is not None  # admit refuses where no route is
        objection = judge_request_headers(head.fields, admitted.shape, live.route)
        if objection is not None:
            raise ModelRefused(objection)
        admission = _make(head, live, admitted, self._address)
        self._kept[scope] = admission
        return admission

    def _forget(self, scope: str | None, head: Head) -> None:
        """Only endpoints of one plan are kept side by side, and only of the last head."""
        kept = self._kept
        kept.pop(scope, None)
        alone = endpoint_of(scope) is None or len(kept) >= MAX_KEPT
        if alone or any(not head.is_like(each.head) for each in kept.values()):
            kept.clear()


def _make(head: Head, live: LiveRoute, admitted: Admitted, address: str) -> Admission:
    """The admission of a request that may go on."""
    before, after = _render_fields(admitted, head)
    return Admission(
        head=head,
        live=live,
        admitted=admitted,
        origin=origin_of(address, live),
        target=fixed_target(admitted),
        before=before,
        after=after,
        signer=live.signer,
        coding=body_coding(head.fields),
    )


def _render_fields(admitted: Admitted, head: Head) -> tuple[bytes, bytes]:
    """The provider's header fields around the number of Content-Length, where there is a body.

    Both begin with a line end, and the last of them ends the head.
    """
    route = admitted.route
    if not admitted.pattern.has_body:
        length = 0 if admitted.method == "POST" else None
        return _lines(request_headers(head.fields, route, length)) + b"\r\n\r\n", b""
    fields = request_headers(head.fields, route, 0)
    place = fields.index((b"content-length", b"0")) + 1
    before = _lines(fields[:place]).removesuffix(b"0")
    return before, _lines(fields[place:]) + b"\r\n\r\n"


def _lines(fields: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"\r\n" + name + b": " + value for name, value in fields)
