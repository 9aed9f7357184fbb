"""Owns: asking the dialer for a connected socket, and what its refusals mean here."""

import socket
from dataclasses import dataclass
from typing import Any, Final

from netmgr.policy.decision import Target
from netmgr.policy.owner import UNKNOWN, Owner
from netmgr.process.ipc import Answer, Peer, PeerClosed, PeerRefused
from netmgr.reasons import Reason
from netmgr_proxy.wire.face import Refusal, Refused

_UNNAMED: Final = "the dialer could not connect"


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connected socket.

    Attributes:
        sock: non-blocking, TCP_NODELAY; the receiver owns it.
        peer: the real address that it is connected to.
    """

    sock: socket.socket
    peer: str | None


class Dialer:
    """The way out: the only one that this process has."""

    def __init__(self, deadline_s: float) -> None:
        self._channel: Peer | None = None
        self._deadline_s = deadline_s

    def use(self, channel: Peer) -> None:
        """Ask over this channel from now on: the dialer's process is new, or ours is."""
        if self._channel is not None:
            self._channel.close()
        self._channel = channel

    async def dial(
        self,
        address: str,
        target: Target,
        revision: int,
        route: str | None = None,
        owner: Owner = UNKNOWN,
    ) -> Dialled:
        """Connect to `target` for the sandbox at `address`.

        Args:
            revision: the policy revision by which it was allowed.
            route: the id of an inference route, whose origin the dialer knows itself; None for
                what the sandbox named.
            owner: the programs that hold the connection, where the policy asks.

        Raises:
            Refused: it was not allowed, or it failed.
        """
        body: dict[str, Any] = {
            "address": address or None,
            "name": target.name,
            "ip": target.ip,
            "port": target.port,
            "revision": revision,
            "purpose": "egress" if route is None else "inference",
        }
        if route is not None:
            body["route"] = route
        if owner.known:
            body["owner"] = owner.to_doc()
        try:
            if self._channel is None:
                raise PeerClosed("not introduced yet")
            answer = await self._channel.ask("dial", body, deadline_s=self._deadline_s)
        except PeerRefused as refusal:
            raise Refused(_translate(refusal)) from None
        except PeerClosed:
            why = "the dialer is not running; it is being restarted"
            raise Refused(Refusal(Reason.UPSTREAM_UNREACHABLE, why)) from None
        except TimeoutError:
            why = f"{target} could not be connected to within {self._deadline_s:g} s"
            raise Refused(Refusal(Reason.UPSTREAM_TIMEOUT, why)) from None
        return _take(answer)


def _translate(refusal: PeerRefused) -> Refusal:
    try:
        reason = Reason(refusal.code)
    except ValueError:
        reason = Reason.UPSTREAM_UNREACHABLE
    details = refusal.details
    rule, remedy = details.get("rule"), details.get("remedy")
    return Refusal(reason, refusal.message or _UNNAMED, rule=rule, remedy=remedy)


def _take(answer: Answer) -> Dialled:
    sock = socket.socket(fileno=answer.fds[0])
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Dialled(sock, answer.body.get("peer"))
