"""Owns: which middlewares a policy has, and which of them look at what goes to a host.

Knows nothing of what a middleware does. `exclude` wins over `include`; the chain is in their
`order`. What carries requests to a host that is looked at has to be ended here: `enforced` says so
to the endpoints.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from netmgr.middleware.chain import Stage
from netmgr.policy.decision import Target
from netmgr.policy.hosts import AnyHost, ExactHost, Host, LiteralHost, WildcardHost, may_overlap
from netmgr.policy.http_rules import PRESET_RULES, SOCKET_PRESETS, Access
from netmgr.policy.rules import Endpoint, Entry, Protocol, Tls

Pattern = ExactHost | LiteralHost | WildcardHost
MAX_HOSTS: Final = 4096  # whose chains are kept ready; wildcards make any number of names


@dataclass(frozen=True, slots=True)
class Selector:
    """The hosts of one middleware."""

    include: tuple[Pattern, ...]
    exclude: tuple[Pattern, ...] = ()

    def selects(self, host: str) -> bool:
        """Whether it looks at what goes to `host`, a canonical name or an address."""
        return _any_fits(self.include, host) and not _any_fits(self.exclude, host)

    def may_select(self, host: Host) -> bool:
        """Whether it looks at something that an endpoint with this host lets through."""
        if isinstance(host, AnyHost):
            return True
        if isinstance(host, ExactHost | LiteralHost):
            return self.selects(host.text)
        excluded = any(pattern.text == host.text for pattern in self.exclude)
        return not excluded and any(_may_meet(pattern, host) for pattern in self.include)

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document."""
        doc = {"include": [pattern.text for pattern in self.include]}
        if self.exclude:
            doc["exclude"] = [pattern.text for pattern in self.exclude]
        return doc


@dataclass(frozen=True, slots=True)
class Middleware:
    """One entry of `network_middlewares`."""

    stage: Stage
    selector: Selector

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document, without what is the default."""
        stage = self.stage
        doc: dict[str, Any] = {"name": stage.name} if stage.name != stage.key else {}
        doc["middleware"] = stage.middleware
        if stage.order:
            doc["order"] = stage.order
        if stage.config:
            doc["config"] = stage.config
        if not stage.required:
            doc["on_error"] = "fail_open"
        return doc | {"endpoints": self.selector.to_doc()}


class Middlewares:
    """All of a policy's, in the order of their stages."""

    __slots__ = ("_chains", "all")

    def __init__(self, found: Iterable[Middleware] = ()) -> None:
        self.all: Final = tuple(sorted(found, key=lambda each: each.stage.order))
        self._chains: dict[str, tuple[Stage, ...]] = {}

    def chain(self, target: Target) -> tuple[Stage, ...]:
        """The stages that look at what goes to `target`; none for most."""
        if not self.all:
            return ()
        host = target.name or target.ip or ""
        chain = self._chains.get(host)
        if chain is None:
            if len(self._chains) >= MAX_HOSTS:
                self._chains.clear()
            chain = tuple(each.stage for each in self.all if each.selector.selects(host))
            self._chains[host] = chain
        return chain

    def over(self, endpoint: Endpoint) -> list[Middleware]:
        """Those that look at something that the endpoint lets through."""
        return [each for each in self.all if each.selector.may_select(endpoint.host)]

    def to_doc(self) -> dict[str, Any]:
        """The section of a document."""
        return {each.stage.key: each.to_doc() for each in self.all}


NO_MIDDLEWARES: Final = Middlewares()


def is_opaque(endpoint: Endpoint) -> bool:
    """Whether the endpoint says itself that nobody looks inside."""
    return endpoint.tls is Tls.SKIP or endpoint.protocol in (Protocol.TCP, Protocol.SQL)


def enforced(entries: Iterable[Entry], middlewares: Middlewares) -> tuple[Entry, ...]:
    """Entries as they are judged: an L4 endpoint that a middleware looks at is ended here, and
    lets every request and every message of a WebSocket through."""
    if not middlewares.all:
        return tuple(entries)
    return tuple(
        replace(entry, endpoints=tuple(_enforced(entry.endpoints, middlewares)))
        for entry in entries
    )


def _enforced(endpoints: Iterable[Endpoint], middlewares: Middlewares) -> Iterator[Endpoint]:
    for endpoint in endpoints:
        if endpoint.inspects or is_opaque(endpoint) or not middlewares.over(endpoint):
            yield endpoint
            continue
        full = Access.FULL
        # Under audit no rule allows: it goes on all the same, and is recorded as audited.
        http, socket = ((), ()) if endpoint.audit else (PRESET_RULES[full], SOCKET_PRESETS[full])
        opened = replace(endpoint, access=None if endpoint.audit else full, forced=True)
        yield replace(opened, protocol=Protocol.REST, allow=http)
        yield replace(opened, protocol=Protocol.WEBSOCKET, allow=socket)


def _any_fits(patterns: Iterable[Pattern], host: str) -> bool:
    return any(
        pattern.matches(host) if isinstance(pattern, WildcardHost) else pattern.text == host
        for pattern in patterns
    )


def _may_meet(pattern: Pattern, host: WildcardHost) -> bool:
    if isinstance(pattern, WildcardHost):
        return may_overlap(pattern, host)
    return isinstance(pattern, ExactHost) and host.matches(pattern.text)
