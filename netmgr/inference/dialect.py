"""Owns: how one route's provider is spoken to: all that a proxy worker has to know of its type.

Derived in the daemon from a provider's type and settings (netmgr.inference.profiles) and handed
over with the route, so that a worker needs no file and no table of types. Knows nothing of bytes.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from netmgr.inference.pattern import Pattern
from netmgr.inference.protocols import Protocol


class AuthStyle(StrEnum):
    """How the credential is shown to the provider."""

    BEARER = "bearer"  # authorization: Bearer KEY
    HEADER = "header"  # NAME: KEY
    SIGV4 = "sigv4"  # AWS Signature Version 4 over each request
    NONE = "none"


MODELS: Final = "MODELS"  # the config key that says which ModelList


class ModelList(StrEnum):
    """Who answers GET /v1/models."""

    PASSTHROUGH = "passthrough"  # the provider
    SYNTHESISED = "synthesised"  # netmgr, with what the sandbox may use


class Leniency(StrEnum):
    """Which spellings of a path beside the exact one are taken for it."""

    EXACT = "exact"
    SLASH = "slash"  # a trailing slash
    LENIENT = "lenient"  # that, and a missing /v1


@dataclass(frozen=True, slots=True)
class Auth:
    """Which credential goes onto a request, and how.

    Attributes:
        credentials: names in the route's credentials: the key; for SIGV4 key id and secret.
        optional: names that go along where they are set (SIGV4: the session token).
        header: lower-case name for HEADER.
        service, region: of the signature.
    """

    style: AuthStyle
    credentials: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    header: str = ""
    service: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class CallShape:
    """How the requests of one operation look at the provider.

    Attributes:
        target: path below the base URL, `{model}` for the model; None: as the sandbox asked.
        stream_target: the same for a body that asks for a stream.
        model_in_body: whether the body names the model; otherwise it is not touched or removed.
        remove: top-level keys that the provider would refuse.
        add: top-level keys that it wants, where the client sent none; JSON values.
    """

    target: str | None = None
    stream_target: str | None = None
    model_in_body: bool = True
    remove: tuple[str, ...] = ()
    add: tuple[tuple[str, str], ...] = ()

    @property
    def edits(self) -> bool:
        """Whether the body changes in more than the model's value."""
        return not self.model_in_body or bool(self.remove or self.add)

    def target_of(self, model: str, *, stream: bool) -> str | None:
        """The path below the base URL; None where the sandbox's own is meant."""
        chosen = self.stream_target if stream and self.stream_target else self.target
        return chosen and chosen.replace("{model}", quote(model, safe="-._~@"))


AS_ASKED = CallShape()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a route's provider is spoken to.

    Attributes:
        protocols: in the order in which verification tries them.
        forward_headers: client headers that go on beside those that always do; lower case.
        add_headers: added where the client did not send the same name.
        set_headers: always so, whatever the client sent.
        forward_query: names of the client's query that go on; '*' is any.
        path_prefix: what stands for the sandbox's /v1 below the base URL; None: read off the base.
        calls: by operation, where something differs from what the sandbox asked.
        patterns: requests beside those that every version knows.
    """

    protocols: tuple[Protocol, ...] = ()
    auth: Auth = field(default_factory=lambda: Auth(AuthStyle.NONE))
    forward_headers: frozenset[str] = frozenset()
    add_headers: tuple[tuple[str, str], ...] = ()
    set_headers: tuple[tuple[str, str], ...] = ()
    forward_query: frozenset[str] = frozenset()
    path_prefix: str | None = None
    paths: Leniency = Leniency.SLASH
    models: ModelList = ModelList.PASSTHROUGH
    calls: dict[str, CallShape] = field(default_factory=dict)
    patterns: tuple[Pattern, ...] = ()

    def call(self, operation: str) -> CallShape:
        """How that operation's requests look at the provider."""
        return self.calls.get(operation, AS_ASKED)

    def to_wire(self) -> dict[str, Any]:
        """As JSON; no credential is in it."""
        return {
            "protocols": [protocol.value for protocol in self.protocols],
            "auth": {
                "style": self.auth.style.value,
                "credentials": list(self.auth.credentials),
                "optional": list(self.auth.optional),
                "header": self.auth.header,
                "service": self.auth.service,
                "region": self.auth.region,
            },
            "forward_headers": sorted(self.forward_headers),
            "add_headers": [list(pair) for pair in self.add_headers],
            "set_headers": [list(pair) for pair in self.set_headers],
            "forward_query": sorted(self.forward_query),
            "path_prefix": self.path_prefix,
            "paths": self.paths.value,
            "models": self.models.value,
            "calls": {name: _call_to_wire(call) for name, call in self.calls.items()},
            "patterns": [pattern.to_wire() for pattern in self.patterns],
        }

    @classmethod
    def from_wire(cls, body: dict[str, Any]) -> "Dialect":
        """The dialect that `to_wire` described.

        Raises:
            KeyError, ValueError: it is none.
        """
        auth = body["auth"]
        return cls(
            protocols=tuple(map(Protocol, body["protocols"])),
            auth=Auth(
                AuthStyle(auth["style"]),
                tuple(auth["credentials"]),
                tuple(auth["optional"]),
                auth["header"],
                auth["service"],
                auth["region"],
            ),
            forward_headers=frozenset(body["forward_headers"]),
            add_headers=_pairs(body["add_headers"]),
            set_headers=_pairs(body["set_headers"]),
            forward_query=frozenset(body["forward_query"]),
            path_prefix=body["path_prefix"],
            paths=Leniency(body["paths"]),
            models=ModelList(body["models"]),
            calls={name: _call_from_wire(call) for name, call in body["calls"].items()},
            patterns=tuple(map(Pattern.from_wire, body["patterns"])),
        )


def _call_to_wire(call: CallShape) -> dict[str, Any]:
    return {
        "target": call.target,
        "stream_target": call.stream_target,
        "model_in_body": call.model_in_body,
        "remove": list(call.remove),
        "add": [list(pair) for pair in call.add],
    }


def _call_from_wire(body: dict[str, Any]) -> CallShape:
    return CallShape(
        target=body["target"],
        stream_target=body["stream_target"],
        model_in_body=body["model_in_body"],
        remove=tuple(body["remove"]),
        add=_pairs(body["add"]),
    )


def _pairs(items: list[list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in items)
