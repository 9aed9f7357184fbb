"""Owns: what was derived from a request's head: what is judged, the decision, the head sent on.

The same client sends nearly the same head again and again. What follows from it is kept for the
next request of the same connection, which is judged anew only under another policy. Nothing is
shared between connections. Knows nothing of sockets.
"""

from dataclasses import dataclass
from typing import Final

from netmgr.policy.decision import Decision, Request, Target
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.policy.path import MalformedTarget, canonical_path
from netmgr.process.view import SandboxView
from netmgr.reasons import Reason
from netmgr_proxy.authority import canonical_authority, check_authority
from netmgr_proxy.upstreams import Origin
from netmgr_proxy.wire.face import Refusal, Refused, refusal_of
from netmgr_proxy.wire.handshake import EXTENSIONS, WEBSOCKET
from netmgr_proxy.wire.request import REPEATED_LENGTH, Head

# Sent again on a new connection when a pooled one turns out to be dead (RFC 9110 §9.2.2).
REPEATABLE: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


@dataclass(slots=True)
class Judged:
    """A head and what follows from it.

    Attributes:
        start: the head as the origin gets it, without its framing field.
        decision: by the policy that `judge` was asked with last; None before.
        sandbox: the view by which it was judged; views are replaced, never changed.
    """

    head: Head
    request: Request
    start: bytes
    decision: Decision | None = None
    sandbox: SandboxView | None = None

    def judge(self, sandbox: SandboxView, target: Target, owner: Owner = UNKNOWN) -> Decision:
        """The decision of the policy in force.

        Raises:
            Refused: it does not permit this request.
        """
        timed = sandbox.policy.timed is not None  # then the next moment may decide otherwise
        if sandbox is self.sandbox and self.decision is not None and not timed:
            return self.decision
        self.sandbox = None  # a refusal is never kept
        decision = sandbox.policy.judge_request(target, self.request, owner)
        if not decision.permits:
            raise Refused(refusal_of(decision, sandbox.scope))
        self.decision, self.sandbox = decision, sandbox
        return decision

    def render(self, head: Head) -> bytes:
        """The head as the origin gets it; `head` is this one or differs in its length only."""
        if head.upgrade is not None:
            return self.start + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        if head.length is None:
            return self.start + b"Transfer-Encoding: chunked\r\n\r\n"
        if head.length or head.method not in REPEATABLE:
            return b"%bContent-Length: %d\r\n\r\n" % (self.start, head.length)
        return self.start + b"\r\n"


class Endpoint:
    """What all requests of one connection have in common, and the last of them.

    Args:
        address: the sandbox's address.
        scheme: `https` where the client's TLS was ended here; the origin is asked likewise.
        owner: the programs that hold it, as they were when it was opened.
    """

    __slots__ = ("_last", "origin", "owner", "scheme", "target")

    def __init__(self, address: str, target: Target, scheme: str, owner: Owner = UNKNOWN) -> None:
        self.target = target
        self.owner = owner
        self.scheme = scheme
        self.origin = Origin(address, target, tls=scheme == "https", owner=owner)
        self._last: Judged | None = None

    def read(self, head: Head) -> Judged:
        """What follows from `head`; it is still to be judged.

        Raises:
            Refused: it is no request that may be sent to this target.
        """
        last = self._last
        if last is not None and head.is_like(last.head):
            return last
        request = self._read_request(head)
        self._last = judged = Judged(head, request, self.render_start(head, request))
        return judged

    def _read_request(self, head: Head) -> Request:
        if head.upgrade not in (None, WEBSOCKET):
            protocol = head.upgrade.decode("latin-1")
            why = (
                f"an upgrade to {protocol} is not possible on an endpoint whose requests are judged"
            )
            raise Refused(Refusal(Reason.UNSUPPORTED_PROTOCOL, why))
        if head.repeats_length:  # whoever made that sees requests where we may not
            raise Refused(Refusal(Reason.MALFORMED_REQUEST, REPEATED_LENGTH))
        target = check_authority(head, self.target, self.scheme)
        try:
            path, query = canonical_path(target, allow_encoded_slash=True)
        except MalformedTarget as fault:
            raise Refused(Refusal(Reason.MALFORMED_REQUEST, f"request target: {fault}")) from None
        return Request(head.method, path, query, websocket=head.upgrade == WEBSOCKET)

    def render_start(self, head: Head, request: Request) -> bytes:
        """The head as the origin gets it, without its framing field."""
        query = f"?{request.query}" if request.query else ""
        authority = canonical_authority(self.target, self.scheme)
        lines = [f"{request.method} {request.path}{query} HTTP/1.1\r\nHost: {authority}".encode()]
        # Extensions would change what frames mean; without an offer no server grants one.
        drop = EXTENSIONS if head.upgrade is not None else None
        lines += [name + b": " + value for name, value in head.fields if name.lower() != drop]
        return b"\r\n".join(lines) + b"\r\n"
