"""Owns: a policy as values: entries, endpoints, rules. Built by schema.py, asked by judge.py.

Knows nothing of files. Every value can say what it looks like in a document (`to_doc`): that
form is the policy's canonical one, and schema.py reads it back to an equal value.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from netmgr.policy.calls.rules import CallRule, Inside
from netmgr.policy.hosts import Host
from netmgr.policy.http_rules import Access, HttpRule
from netmgr.policy.limits import NO_LIMITS, EntryLimits
from netmgr.policy.match import PathGlob
from netmgr.policy.programs import ANY_PROGRAM, Programs

_Rule = HttpRule | CallRule


class Protocol(StrEnum):
    """What netmgr enforces inside an endpoint's connections."""

    L4 = ""  # nothing
    TCP = "tcp"  # nothing, said aloud
    SQL = "sql"  # nothing yet: always audited
    REST = "rest"  # method and path of every HTTP request
    WEBSOCKET = "websocket"  # the handshake, and a client's messages
    GRAPHQL = "graphql"  # operations and their root fields
    JSON_RPC = "json-rpc"  # methods
    MCP = "mcp"  # methods, tools and their arguments


INSPECTED: Final = frozenset(
    (Protocol.REST, Protocol.WEBSOCKET, Protocol.GRAPHQL, Protocol.JSON_RPC, Protocol.MCP)
)


class Tls(StrEnum):
    """Whether TLS may be ended by netmgr."""

    AUTO = "auto"  # where a rule has to look inside
    SKIP = "skip"  # never


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an entry lets connections go, and what may be said there.

    Attributes:
        place: `web.endpoints[0]`: what decisions call it.
        ports: sorted, at least one.
        path: requests on other paths are not its business; None covers every path.
        audit: a request that no rule allows goes on and is recorded.
        encoded_slash: `%2F` may stand inside a segment.
        inside: what may be asked inside of requests, where that is looked at.
        access: the preset that `allow` comes from; None where rules are written out.
        programs: for whom it is; the entry's own.
        networks: `allowed_ips`: where it must be; empty: as its host says.
        forced: it looks inside only because a middleware does; where another endpoint judges
            requests, that one alone does.
    """

    place: str
    host: Host
    ports: tuple[int, ...]
    protocol: Protocol = Protocol.L4
    tls: Tls = Tls.AUTO
    path: PathGlob | None = None
    audit: bool = False
    encoded_slash: bool = False
    access: Access | None = None
    allow: tuple[HttpRule, ...] = ()
    deny: tuple[HttpRule, ...] = ()
    programs: Programs = ANY_PROGRAM
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    inside: Inside | None = None
    forced: bool = False

    @property
    def inspects(self) -> bool:
        """Whether requests are judged one by one."""
        return self.protocol in INSPECTED

    @property
    def entry(self) -> str:
        """The key of the entry that it stands in."""
        return self.place.rpartition(".endpoints[")[0]

    @property
    def specificity(self) -> int:
        """How narrow its `path` is; the narrowest of several says how a request is read."""
        return self.path.specificity if self.path is not None else 0

    def to_doc(self, observed: bool) -> dict[str, Any]:
        """As it stands in a document, without what is the default.

        Args:
            observed: the entry's mode is `observe`.
        """
        doc = self._where()
        if self.protocol is not Protocol.L4:
            doc["protocol"] = self.protocol.value
        if self.path is not None:
            doc["path"] = self.path.text
        if self.tls is not Tls.AUTO:
            doc["tls"] = self.tls.value
        if self.audit is not observed and self.protocol is not Protocol.SQL:
            doc["enforcement"] = "audit" if self.audit else "enforce"
        if self.encoded_slash:
            doc["allow_encoded_slash"] = True
        if self.access is not None:
            doc["access"] = self.access.value
        elif allow := _in_order(self.allow, self.inside.allow if self.inside else ()):
            doc["rules"] = [{"allow": rule.to_doc()} for rule in allow]
        if deny := _in_order(self.deny, self.inside.deny if self.inside else ()):
            doc["deny_rules"] = [rule.to_doc() for rule in deny]
        return doc | self._inside_doc()

    def _where(self) -> dict[str, Any]:
        doc: dict[str, Any] = {"host": self.host.text} if self.host.text else {}
        if len(self.ports) == 1:
            doc["port"] = self.ports[0]
        else:
            doc["ports"] = list(self.ports)
        if self.networks:
            doc["allowed_ips"] = [_shown(network) for network in self.networks]
        return doc

    def _inside_doc(self) -> dict[str, Any]:
        if self.inside is None:
            return {}
        if self.protocol in (Protocol.GRAPHQL, Protocol.WEBSOCKET):
            return self.inside.graphql_doc()
        key = "mcp" if self.protocol is Protocol.MCP else "json_rpc"
        doc = self.inside.rpc_doc()
        return {key: doc} if doc else {}


def _in_order(http: tuple[HttpRule, ...], calls: tuple[CallRule, ...]) -> list[_Rule]:
    """Rules of both kinds as they stood in the document: `rules[0]`, `rules[1]`, ..."""
    if not calls:
        return list(http)
    rules: list[_Rule] = [*http, *calls]
    return sorted(rules, key=lambda rule: int(rule.place.partition("[")[2].rstrip("]") or 0))


@dataclass(frozen=True, slots=True)
class Expiry:
    """When an entry ends.

    Attributes:
        text: a date, or a time in UTC, as it stands in a canonical document.
        at: epoch seconds of the first moment at which the entry holds no more.
    """

    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One named part of a policy.

    Attributes:
        name: for people; the key where the document gives none.
        observe: `mode: observe`: everything in it is audited instead of enforced.
        source: where it came from, for people; JSON values.
        expires: None where it holds until somebody changes the policy.
    """

    key: str
    name: str
    endpoints: tuple[Endpoint, ...]
    observe: bool = False
    limits: EntryLimits = NO_LIMITS
    source: dict[str, Any] = field(default_factory=dict)
    expires: Expiry | None = None
    programs: Programs = ANY_PROGRAM

    def to_doc(self, observe: bool = False) -> dict[str, Any]:
        """As it stands in a document.

        Args:
            observe: the document's default mode is `observe`.
        """
        doc: dict[str, Any] = {}
        if self.name != self.key:
            doc["name"] = self.name
        if self.observe is not observe:
            doc["mode"] = "observe" if self.observe else "enforce"
        if self.expires is not None:
            doc["expires"] = self.expires.text
        doc["endpoints"] = [endpoint.to_doc(self.observe) for endpoint in self.endpoints]
        doc["binaries"] = self.programs.to_doc()
        if self.limits != NO_LIMITS:
            doc["limits"] = self.limits.to_doc()
        if self.source:
            doc["source"] = self.source
        return doc


def entry_of(place: str | None) -> str:
    """The key of the entry that a decision's rule stands in; '' where there is none."""
    return (place or "").rpartition(".endpoints[")[0]


def _shown(network: IPv4Network | IPv6Network) -> str:
    """A single address without its prefix length."""
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)
