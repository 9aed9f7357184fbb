"""Owns: provider types as data, the judgement of a provider's settings, the resolving of a route.

Knows nothing of storage, encryption or sending. What this build does not enforce yet is refused
here by name, never accepted and ignored.
"""

import re
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.base_url import BaseUrl, parse_base_url
from netmgr.inference.protocols import Protocol
from netmgr.inference.route import (
    DEFAULT_CONNECT_TIMEOUT_S,
    DEFAULT_IDLE_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    InferenceRoute,
)
from netmgr.secret import Secret

MAX_CREDENTIAL: Final = 8192  # characters; the longest in use are JWTs of about 2 KiB
MAX_MODEL: Final = 256  # characters; it is spliced into every request
MAX_ALIASES: Final = 64  # of one route; agents in use ask for at most a handful of models
MAX_TIMEOUT_S: Final = 86_400.0  # a day: nothing that waits longer is still wanted
MAX_CA_PEM: Final = 256 * 1024  # characters; a distribution's whole bundle is about 220 KiB

_OPENAI_PROTOCOLS: Final = (
    Protocol.CHAT,
    Protocol.COMPLETIONS,
    Protocol.RESPONSES,
    Protocol.EMBEDDINGS,
    Protocol.MODELS,
)


class AuthStyle(StrEnum):
    """How the key is shown to the provider."""

    BEARER = "bearer"  # authorization: Bearer KEY
    X_API_KEY = "x-api-key"  # x-api-key: KEY


@dataclass(frozen=True, slots=True)
class ProviderType:
    """One kind of provider, as data.

    Attributes:
        name: what `provider create --type` calls it.
        default_base_url: used where the config has no `base_url_key`.
        protocols: what its API speaks, in the order in which verification tries it.
        credential_key: the one credential it has; no other name is ever taken for it.
        base_url_key: the config key that replaces the base URL.
        passthrough_headers: client headers that go on, beside those that always do.
        default_headers: added where the client did not send the same name.
        discovery: environment variables that `--from-existing` reads.
    """

    name: str
    default_base_url: str
    protocols: tuple[Protocol, ...]
    credential_key: str
    base_url_key: str
    auth: AuthStyle
    passthrough_headers: frozenset[bytes] = frozenset()
    default_headers: tuple[tuple[bytes, bytes], ...] = ()
    discovery: tuple[str, ...] = ()

    @property
    def config_keys(self) -> tuple[str, ...]:
        """Every config key that this type knows."""
        return (self.base_url_key, *COMMON_CONFIG_KEYS)


COMMON_CONFIG_KEYS: Final = (
    "CONNECT_TIMEOUT",  # seconds until the connection stands
    "FIRST_BYTE_TIMEOUT",  # seconds until the answer begins; otherwise the route's timeout
    "IDLE_TIMEOUT",  # seconds between two chunks of a stream
    "CA_PEM",  # PEM text of the certificates to trust for this provider, instead of the system's
)

PROVIDER_TYPES: Final[dict[str, ProviderType]] = {
    profile.name: profile
    for profile in (
        ProviderType(
            name="openai",
            default_base_url="https://api.openai.com/v1",
            protocols=_OPENAI_PROTOCOLS,
            credential_key="OPENAI_API_KEY",
            base_url_key="OPENAI_BASE_URL",
            auth=AuthStyle.BEARER,
            passthrough_headers=frozenset({b"openai-organization", b"x-model-id"}),
            discovery=("OPENAI_API_KEY",),
        ),
        ProviderType(
            name="nvidia",
            default_base_url="https://integrate.api.nvidia.com/v1",
            protocols=_OPENAI_PROTOCOLS,
            credential_key="NVIDIA_API_KEY",
            base_url_key="NVIDIA_BASE_URL",
            auth=AuthStyle.BEARER,
            passthrough_headers=frozenset({b"x-model-id"}),
            discovery=("NVIDIA_API_KEY",),
        ),
        ProviderType(
            name="anthropic",
            default_base_url="https://api.anthropic.com/v1",
            protocols=(Protocol.MESSAGES, Protocol.MODELS),
            credential_key="ANTHROPIC_API_KEY",
            base_url_key="ANTHROPIC_BASE_URL",
            auth=AuthStyle.X_API_KEY,
            passthrough_headers=frozenset({b"anthropic-version", b"anthropic-beta"}),
            default_headers=((b"anthropic-version", b"2023-06-01"),),
            discovery=("ANTHROPIC_API_KEY",),
        ),
        ProviderType(
            name="deepinfra",
            default_base_url="https://api.deepinfra.com/v1/openai",
            protocols=_OPENAI_PROTOCOLS,
            credential_key="DEEPINFRA_API_KEY",
            base_url_key="DEEPINFRA_BASE_URL",
            auth=AuthStyle.BEARER,
            passthrough_headers=frozenset({b"x-model-id"}),
            discovery=("DEEPINFRA_API_KEY",),
        ),
    )
}

# Known kinds that need more than a base URL and a key; each spelling people use.
_NOT_BUILT: Final = {
    "google-vertex-ai": "google-vertex-ai",
    "vertex": "google-vertex-ai",
    "vertex-ai": "google-vertex-ai",
    "google-vertex": "google-vertex-ai",
    "gcp-vertex": "google-vertex-ai",
    "aws-bedrock": "aws-bedrock",
    "bedrock": "aws-bedrock",
    "azure-openai": "azure-openai",
    "azure": "azure-openai",
}


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as the operator created it and `validate_provider` passed it."""

    name: str
    type: str
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)


def provider_type(name: str) -> ProviderType:
    """The type called `name` (blanks around it and case do not matter).

    Raises:
        BadInput: no such type, or one that this version does not support.
    """
    wanted = name.strip().lower()
    found = PROVIDER_TYPES.get(wanted)
    if found is not None:
        return found
    known = ", ".join(sorted(PROVIDER_TYPES))
    if wanted in _NOT_BUILT:
        raise BadInput(
            f"provider type {_NOT_BUILT[wanted]!r} is not supported by this version; "
            f"expected one of {known}"
        )
    raise BadInput(
        f"unknown provider type {name!r}; expected one of {known}"
        + did_you_mean(wanted, PROVIDER_TYPES)
    )


def validate_provider(
    type_name: str, credentials: Collection[str], config: Mapping[str, str]
) -> ProviderType:
    """Judge a provider before it is stored.

    Args:
        credentials: the credentials' names; a mapping will do. Values: `validate_credential`.

    Returns:
        Its type; store `ProviderType.name`, the canonical spelling.

    Raises:
        BadInput: unknown type, a credential or config key that the type does not have,
            a missing credential, or a config value that cannot be used.
    """
    profile = provider_type(type_name)
    for key in credentials:
        if key != profile.credential_key:
            raise BadInput(
                f"credential {key!r}: a provider of type {profile.name} has exactly one, "
                f"{profile.credential_key}" + did_you_mean(key, [profile.credential_key])
            )
    if profile.credential_key not in credentials:
        raise BadInput(
            f"missing credential {profile.credential_key}: a provider of type {profile.name} "
            f"needs it (--credential {profile.credential_key} reads the environment variable)"
        )
    for key in config:
        if key not in profile.config_keys:
            raise BadInput(
                f"unknown config key {key!r} for type {profile.name}; expected one of "
                + ", ".join(profile.config_keys)
                + did_you_mean(key.upper(), profile.config_keys)
            )
    base_url_of(profile, config)
    _timeouts(config)
    _ca_pem(config)
    return profile


def validate_credential(key: str, value: Secret) -> None:
    """Judge a credential's value: what cannot stand in a header is refused when it is given.

    Raises:
        BadInput: empty, too long, or with a blank, control or non-ASCII character.
            The message tells the place, never the value.
    """
    text = value.reveal()
    if not text:
        raise BadInput(f"credential {key}: the value is empty")
    if len(text) > MAX_CREDENTIAL:
        raise BadInput(f"credential {key}: longer than {MAX_CREDENTIAL} characters")
    for place, char in enumerate(text, 1):
        if not "\x21" <= char <= "\x7e":
            raise BadInput(
                f"credential {key}: character {place} of {len(text)} is a blank, a control or "
                "a non-ASCII character; expected visible ASCII (a trailing newline in a file?)"
            )


def validate_model(model: str) -> str:
    """The model's name as it will be sent.

    Raises:
        BadInput: blank, padded, too long, or with a control character.
    """
    if not model or model != model.strip() or len(model) > MAX_MODEL or not model.isprintable():
        raise BadInput(
            f"model {model!r}: expected 1 to {MAX_MODEL} printable characters without blanks "
            "around them"
        )
    return model


def validate_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """What clients may ask for by name -> the model that they get.

    Raises:
        BadInput: too many, or a name or model that `validate_model` refuses.
    """
    if len(aliases) > MAX_ALIASES:
        raise BadInput(f"{len(aliases)} aliases: a route takes {MAX_ALIASES}")
    return {validate_model(name): validate_model(model) for name, model in aliases.items()}


def base_url_of(profile: ProviderType, config: Mapping[str, str]) -> BaseUrl:
    """Where a provider's requests go.

    Raises:
        BadInput: as `parse_base_url`.
    """
    text = config.get(profile.base_url_key)
    if text is None:
        return parse_base_url(profile.default_base_url, f"type {profile.name}")
    return parse_base_url(text, f"config key {profile.base_url_key}")


def resolve_route(
    provider: Provider,
    model: str,
    *,
    route_id: str,
    timeout_s: float = 0,
    total_timeout_s: float = 0,
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> InferenceRoute:
    """What a route of `provider` and `model` comes to.

    Args:
        timeout_s: 0 is the default of 60 s.
        total_timeout_s: 0 is no bound.

    Raises:
        BadInput: the provider or the model would not pass validation.
    """
    profile = validate_provider(provider.type, provider.credentials, provider.config)
    credential = provider.credentials[profile.credential_key]
    validate_credential(profile.credential_key, credential)
    timeout = _seconds("timeout", timeout_s) or DEFAULT_TIMEOUT_S
    connect, first_byte, idle = _timeouts(provider.config)
    return InferenceRoute(
        id=route_id,
        provider=provider.name,
        type=profile.name,
        base=base_url_of(profile, provider.config),
        model=validate_model(model),
        aliases=validate_aliases(aliases),
        credential=credential,
        timeout_s=timeout,
        total_timeout_s=_seconds("total timeout", total_timeout_s) or None,
        connect_timeout_s=connect or DEFAULT_CONNECT_TIMEOUT_S,
        first_byte_timeout_s=first_byte or timeout,
        idle_timeout_s=idle or DEFAULT_IDLE_TIMEOUT_S,
        ca_pem=_ca_pem(provider.config),
        config=dict(provider.config),
    )


def _seconds(what: str, value: float) -> float:
    if not 0 <= value <= MAX_TIMEOUT_S:  # a NaN fails both comparisons
        raise BadInput(f"{what} {value!r}: expected 0 to {MAX_TIMEOUT_S:.0f} seconds")
    return float(value)


_NUMBER = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")


def _timeouts(config: Mapping[str, str]) -> tuple[float | None, float | None, float | None]:
    """Connect, first byte, idle; None where the config says nothing."""
    found: list[float | None] = []
    for key in ("CONNECT_TIMEOUT", "FIRST_BYTE_TIMEOUT", "IDLE_TIMEOUT"):
        text = config.get(key)
        if text is None:
            found.append(None)
            continue
        if not _NUMBER.fullmatch(text) or not 0 < float(text) <= MAX_TIMEOUT_S:
            raise BadInput(
                f"config key {key}: {text!r}: expected seconds, more than 0, "
                f"{MAX_TIMEOUT_S:.0f} at most (like 30 or 2.5)"
            )
        found.append(float(text))
    return found[0], found[1], found[2]


def _ca_pem(config: Mapping[str, str]) -> str | None:
    text = config.get("CA_PEM")
    if text is None:
        return None
    # Read by the library that will use it; cryptography would cost every proxy worker 10 MB.
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if len(text) > MAX_CA_PEM or not text.isascii():
            raise ValueError("too long, or not ASCII")
        trial.load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError) as error:
        raise BadInput(
            "config key CA_PEM: expected the PEM text of at least one certificate, "
            f'{MAX_CA_PEM} characters at most (--config CA_PEM="$(cat FILE)")'
        ) from error
    return text
