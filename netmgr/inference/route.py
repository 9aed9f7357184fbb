"""Owns: a resolved route: where the model calls of a scope go, as what, and with which key.

Knows nothing of how a route came about (netmgr.inference.profiles) or how it is travelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from netmgr.inference.base_url import MOCK, BaseUrl, parse_base_url
from netmgr.inference.dialect import MODELS, Dialect, ModelList
from netmgr.inference.rules import LEAST, CallRules, ModelMode
from netmgr.secret import Secret

DEFAULT_TIMEOUT_S: Final = 60.0  # contract: `--timeout` 0 or omitted
DEFAULT_CONNECT_TIMEOUT_S: Final = 10.0  # contract
DEFAULT_IDLE_TIMEOUT_S: Final = 120.0  # contract: between two chunks of a stream


@dataclass(frozen=True, slots=True)
class InferenceRoute:
    """One route. Frozen: a request keeps the one that it began with.

    Attributes:
        id: what the daemon calls it; the dialer knows it by the same id.
        provider: the provider's name.
        type: name of its type, for messages; what follows from it is in `dialect`.
        base: where requests go.
        model: what the body's `model` becomes, unless it is an alias; as the provider calls it.
        aliases: what a client may ask for by name -> the model that it gets.
        rules: what calls over it may be.
        dialect: how the provider is spoken to.
        credentials: by name; empty in the dialer's copy.
        timeout_s: a buffered answer whole; a stream until its first body byte. Seconds, as all.
        total_timeout_s: bound of a whole stream; None is off.
        first_byte_timeout_s: from the request's last byte to the answer's first.
        idle_timeout_s: between two chunks of a stream.
        ca_pem: certificates to trust for this origin instead of the system's; None for those.
        client_cert_pem: the chain to show in the TLS handshake; its key is a credential.
        proxy: where a CONNECT opens the way to the base URL's host; None: straight there.
        config: the provider's settings, names as the operator wrote them.
        expires_at: when the credential ends, epoch seconds; None is never.
        endpoint: its name in the routing file; '' where `inference set` wrote it.
    """

    id: str
    provider: str
    type: str
    base: BaseUrl
    model: str
    dialect: Dialect = field(default_factory=Dialect)
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    timeout_s: float = DEFAULT_TIMEOUT_S
    total_timeout_s: float | None = None
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    first_byte_timeout_s: float = DEFAULT_TIMEOUT_S
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S
    ca_pem: str | None = None
    client_cert_pem: str | None = None
    proxy: BaseUrl | None = None
    config: dict[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    rules: CallRules = LEAST
    expires_at: float | None = None
    endpoint: str = ""

    @property
    def made_up(self) -> bool:
        """Whether no provider is asked: `mock://`, of the test mode."""
        return self.base.scheme == MOCK

    @property
    def dialled(self) -> BaseUrl:
        """What the dialer connects to."""
        return self.proxy or self.base

    def with_rules(self, rules: CallRules) -> "InferenceRoute":
        """The route under these rules; where they have a deadline, it replaces the provider's.

        Where a sandbox may name some models only, or names of its own, the provider's catalogue
        would mislead it: then netmgr lists them, unless the operator has said who does.
        """
        dialect = self.dialect
        named = self.aliases or rules.models or rules.model_mode is ModelMode.REJECT
        if named and MODELS not in self.config:
            dialect = replace(dialect, models=ModelList.SYNTHESISED)
        return replace(
            self,
            rules=rules,
            dialect=dialect,
            connect_timeout_s=rules.connect_timeout_s or self.connect_timeout_s,
            first_byte_timeout_s=rules.first_byte_timeout_s or self.first_byte_timeout_s,
            idle_timeout_s=rules.idle_timeout_s or self.idle_timeout_s,
        )

    def to_wire(self, with_credential: bool) -> dict[str, Any]:
        """As the `route` of an `inference` operation; the key only for proxy workers."""
        body: dict[str, Any] = {
            "id": self.id,
            "provider": self.provider,
            "type": self.type,
            "base_url": str(self.base),
            "model": self.model,
            "timeout_s": self.timeout_s,
            "total_timeout_s": self.total_timeout_s,
            "connect_timeout_s": self.connect_timeout_s,
            "first_byte_timeout_s": self.first_byte_timeout_s,
            "idle_timeout_s": self.idle_timeout_s,
            "ca_pem": self.ca_pem,
            "client_cert_pem": self.client_cert_pem,
            "proxy": str(self.proxy) if self.proxy else None,
            "dialect": self.dialect.to_wire(),
            "config": dict(self.config),
            "aliases": dict(self.aliases),
            "rules": self.rules.to_doc(),
            "expires_at": self.expires_at,
            "endpoint": self.endpoint,
        }
        if with_credential:
            body["credentials"] = {name: key.reveal() for name, key in self.credentials.items()}
        return body

    @classmethod
    def from_wire(cls, body: dict[str, Any]) -> "InferenceRoute":
        """The route that `to_wire` described.

        Raises:
            KeyError: a part is missing.
            BadInput: the base URL would not have passed the daemon either.
        """
        proxy = body["proxy"]
        return cls(
            id=body["id"],
            provider=body["provider"],
            type=body["type"],
            # Whether a query is allowed was the daemon's to judge, by type.
            base=parse_base_url(
                body["base_url"], "route base_url", query_allowed=True, mock_allowed=True
            ),
            model=body["model"],
            dialect=Dialect.from_wire(body["dialect"]),
            credentials={n: Secret(key) for n, key in body.get("credentials", {}).items()},
            timeout_s=body["timeout_s"],
            total_timeout_s=body["total_timeout_s"],
            connect_timeout_s=body["connect_timeout_s"],
            first_byte_timeout_s=body["first_byte_timeout_s"],
            idle_timeout_s=body["idle_timeout_s"],
            ca_pem=body["ca_pem"],
            client_cert_pem=body["client_cert_pem"],
            proxy=parse_base_url(proxy, "proxy", cleartext_anywhere=True) if proxy else None,
            config=dict(body["config"]),
            aliases=dict(body.get("aliases", {})),
            rules=CallRules.from_doc(body.get("rules", {})),
            expires_at=body.get("expires_at"),
            endpoint=body.get("endpoint", ""),
        )
