"""Owns: a policy as values: entries, endpoints, rules. Built by schema.py, asked by judge.py.

Knows nothing of files. Every value can say what it looks like in a document (`to_doc`): that
form is the policy's canonical one, and schema.py reads it back to an equal value.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from netmgr.policy.hosts import Host
from netmgr.policy.match import PathGlob, parse_path_glob

ANY_BINARY: Final = "/**"


class Protocol(StrEnum):
    """What netmgr enforces inside an endpoint's connections."""

    L4 = ""  # nothing
    TCP = "tcp"  # nothing, said aloud
    SQL = "sql"  # nothing yet: always audited
    REST = "rest"  # method and path of every HTTP request


class Access(StrEnum):
    """Presets instead of rules."""

    READ_ONLY = "read-only"
    READ_WRITE = "read-write"
    FULL = "full"


class Tls(StrEnum):
    """Whether TLS may be ended by netmgr."""

    AUTO = "auto"  # where a rule has to look inside
    SKIP = "skip"  # never


@dataclass(frozen=True, slots=True)
class HttpRule:
    """Requests with this method (or `*`) on paths that fit.

    Attributes:
        place: `rules[0]`, `deny_rules[2]` or `access`, within the endpoint.
    """

    method: str
    path: PathGlob
    place: str

    def to_doc(self) -> dict[str, str]:
        """As it stands in a document."""
        return {"method": self.method, "path": self.path.text}


_EVERYTHING: Final = parse_path_glob("/**")
_PRESET_METHODS: Final[dict[Access, tuple[str, ...]]] = {
    Access.READ_ONLY: ("GET", "HEAD", "OPTIONS"),
    Access.READ_WRITE: ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH"),
    Access.FULL: ("*",),
}
PRESET_RULES: Final[dict[Access, tuple[HttpRule, ...]]] = {
    access: tuple(HttpRule(method, _EVERYTHING, "access") for method in methods)
    for access, methods in _PRESET_METHODS.items()
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an entry lets connections go, and what may be said there.

    Attributes:
        place: `web.endpoints[0]`: what decisions call it.
        ports: sorted, at least one.
        audit: a request that no rule allows goes on and is recorded.
        access: the preset that `allow` comes from; None where rules are written out.
    """

    place: str
    host: Host
    ports: tuple[int, ...]
    protocol: Protocol = Protocol.L4
    tls: Tls = Tls.AUTO
    audit: bool = False
    access: Access | None = None
    allow: tuple[HttpRule, ...] = ()
    deny: tuple[HttpRule, ...] = ()

    @property
    def inspects(self) -> bool:
        """Whether requests are judged one by one."""
        return self.protocol is Protocol.REST

    def to_doc(self, observed: bool) -> dict[str, Any]:
        """As it stands in a document, without what is the default.

        Args:
            observed: the entry already says `mode: observe`.
        """
        doc: dict[str, Any] = {"host": self.host.text}
        if len(self.ports) == 1:
            doc["port"] = self.ports[0]
        else:
            doc["ports"] = list(self.ports)
        if self.protocol is not Protocol.L4:
            doc["protocol"] = self.protocol.value
        if self.tls is not Tls.AUTO:
            doc["tls"] = self.tls.value
        if self.audit and not observed and self.protocol is not Protocol.SQL:
            doc["enforcement"] = "audit"
        if self.access is not None:
            doc["access"] = self.access.value
        elif self.allow:
            doc["rules"] = [{"allow": rule.to_doc()} for rule in self.allow]
        if self.deny:
            doc["deny_rules"] = [rule.to_doc() for rule in self.deny]
        return doc


@dataclass(frozen=True, slots=True)
class Entry:
    """One named part of a policy.

    Attributes:
        name: for people; the key where the document gives none.
        observe: `mode: observe`: everything in it is audited instead of enforced.
    """

    key: str
    name: str
    endpoints: tuple[Endpoint, ...]
    observe: bool = False

    def to_doc(self) -> dict[str, Any]:
        """As it stands in a document."""
        doc: dict[str, Any] = {}
        if self.name != self.key:
            doc["name"] = self.name
        if self.observe:
            doc["mode"] = "observe"
        doc["endpoints"] = [endpoint.to_doc(self.observe) for endpoint in self.endpoints]
        doc["binaries"] = [{"path": ANY_BINARY}]
        return doc
