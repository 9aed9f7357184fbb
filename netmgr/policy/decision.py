"""Owns: the questions that a policy is asked and the values that it answers with."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from netmgr.policy.calls.call import Calls
from netmgr.reasons import Reason, Verdict


@dataclass(frozen=True, slots=True)
class Target:
    """A connection's other end as the sandbox means it.

    Attributes:
        name: canonical DNS name that the dialled address stands for; None for a literal address.
        ip: the literal address as text where there is no name; else None.
        port: 1 to 65535.
    """

    name: str | None
    ip: str | None
    port: int

    def __str__(self) -> str:
        return f"{self.name or self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it is judged and sent.

    Attributes:
        method: as it was sent; the rules are held against its upper case.
        path: canonical path (netmgr.policy.path), beginning with '/'.
        query: the query without '?', undecoded; '' where there is none.
        websocket: it is a WebSocket handshake, or (method WEBSOCKET_TEXT) a message behind one.
        calls: what it asks for inside; None where nobody has looked.
    """

    method: str
    path: str
    query: str = ""
    websocket: bool = False
    calls: Calls | None = None


class Reader(StrEnum):
    """By which protocol the inside of a request is read."""

    GRAPHQL = "graphql"
    JSON_RPC = "json-rpc"
    MCP = "mcp"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What has to be read before a request can be judged.

    Attributes:
        max_body: bytes that are read at most.
    """

    reader: Reader
    max_body: int


EVERYWHERE: Final = "--global"  # the scope of the policy over all sandboxes


class Treatment(StrEnum):
    """What the proxy does with an allowed connection."""

    SPLICE = "splice"  # relay bytes; only the first ones are looked at
    TERMINATE = "terminate"  # end TLS here and judge every request


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, by which rule, and what would change it.

    Attributes:
        verdict: allowed, denied or audited.
        reason: the code that every face shows.
        rule: policy key and place (`web.endpoints[0]`), or None.
        message: one sentence for a person.
        nearest: the rule or host nearest to what was asked, where one is near.
        remedy_args: arguments of `netmgr policy update NAME ...` that would allow it, or None.
        treatment: only meaningful on an allowed connection.
        final: a denial that no audit softens.
    """

    verdict: Verdict
    reason: Reason
    rule: str | None = None
    message: str = ""
    nearest: str | None = None
    remedy_args: str | None = None
    treatment: Treatment = Treatment.SPLICE
    final: bool = False

    @property
    def permits(self) -> bool:
        """Whether the traffic goes on (allowed, or only audited)."""
        return self.verdict is not Verdict.DENIED

    def remedy(self, scope: str) -> str | None:
        """The command line that would allow it.

        Args:
            scope: the sandbox's name, or EVERYWHERE where the global policy is in force.
        """
        if self.remedy_args is None:
            return None
        return f"netmgr policy update {scope} {self.remedy_args}"


@dataclass(frozen=True, slots=True)
class NameDecision:
    """Whether a name is answered in DNS.

    Attributes:
        ports: TCP ports on which some rule allows the name; empty where it is denied.
    """

    decision: Decision
    ports: frozenset[int] = frozenset()


class PlanKind(StrEnum):
    """How far a destination's resolved addresses are trusted (see netmgr.guard)."""

    EXACT = "exact"  # an exact, authored host: private addresses are intended
    PUBLIC = "public"  # a wildcard: only globally routable addresses
    LISTED = "listed"  # `allowed_ips`: inside `networks` only
    LITERAL = "literal"  # the host is an address itself
    HOST = "host"  # host.openshell.internal and declared aliases: the host's loopback


@dataclass(frozen=True, slots=True)
class DestinationPlan:
    """Which addresses a name may be dialled at."""

    kind: PlanKind
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
