"""Owns: the config keys that every provider has, whatever its type: their form and their values.

Knows nothing of types and routes. A key that is not here (or in the type) is refused elsewhere by
name; a value that cannot be meant is refused here.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.base_url import BaseUrl, parse_base_url
from netmgr.inference.declared import OPERATED_BY, RESIDENCY, Declared, parse_declared
from netmgr.inference.defaults import DEFAULT_MODEL, STANDBY
from netmgr.inference.dialect import MODELS, Leniency, ModelList
from netmgr.inference.headers import judge_header_name, judge_header_value

MAX_TIMEOUT_S: Final = 86_400.0  # a day: nothing that waits longer is still wanted
MAX_PEM: Final = 256 * 1024  # characters; a distribution's whole bundle is about 220 KiB
MAX_NAMES: Final = 64  # headers or query names in one list

BASE_URL: Final = "BASE_URL"
SET_HEADER: Final = "SET_HEADER."  # and a header's name behind it

COMMON_CONFIG_KEYS: Final = {
    BASE_URL: "where requests go; the type's own key for it says the same",
    "PATH_PREFIX": "what stands for the /v1 of a sandbox's path, below the base URL; / is nothing",
    "PATHS": "spellings of a path that are taken: exact, slash (a trailing one), "
    "lenient (that, and a missing /v1)",
    MODELS: "who answers /v1/models: passthrough (the provider) or synthesised (netmgr)",
    "FORWARD_HEADERS": "names of further client headers that go on, with commas between them",
    SET_HEADER + "NAME": "a header that every request gets",
    "FORWARD_QUERY": "query names that go on, with commas between them; * is any",
    "CONNECT_TIMEOUT": "seconds until the connection stands",
    "FIRST_BYTE_TIMEOUT": "seconds until the answer begins; otherwise the route's timeout",
    "IDLE_TIMEOUT": "seconds between two chunks of a stream",
    DEFAULT_MODEL: "with it, the provider serves where no route is set: this model",
    STANDBY: "local: it takes over from such a default while it is healthy",
    "CA_PEM": "certificates to trust for this provider, instead of the system's",
    "CLIENT_CERT_PEM": "the client's certificate chain; its key is the credential CLIENT_KEY_PEM",
    "PROXY": "http://HOST:PORT of a proxy to CONNECT through; credential PROXY_CREDENTIAL",
    OPERATED_BY: "self, processor or third_party: who runs it; `audit prove` goes by it",
    RESIDENCY: "where it computes, with commas between: eu, de; `audit prove` goes by it",
    "ALLOW_CLEARTEXT": "yes: the credential may go over http:// to a private address",
}
CLIENT_KEY: Final = "CLIENT_KEY_PEM"
PROXY_CREDENTIAL: Final = "PROXY_CREDENTIAL"  # USER:PASSWORD
COMMON_CREDENTIALS: Final = (CLIENT_KEY, PROXY_CREDENTIAL)

_NUMBER: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,3})?")
_PREFIX: Final = re.compile(r"/|(?:/[A-Za-z0-9._~@-]+)+")
_QUERY_NAME: Final = re.compile(r"\*|[A-Za-z0-9_.\[\]-]{1,128}")
# Names by which services take a key in a query: never let through, whatever the list says.
# A client's own among them would have the provider serve it on somebody else's account.
_QUERY_CREDENTIAL: Final = re.compile(
    r"(?i)x-(?:amz|goog)-.*|sig|signature|(?:proxy-)?authorization|bearer|credentials?|passw(?:or)?d"
    r"|(?:x[-_])?(?:ocp-apim-)?(?:access|api|auth|bearer|client|id|oauth|refresh|secret|security"
    r"|session|subscription)?[-_]?(?:key|secret|token)|(?:aws|google)access(?:key)?id"
)


@dataclass(frozen=True, slots=True)
class Options:
    """The common settings of one provider; None where the config says nothing."""

    path_prefix: str | None
    paths: Leniency
    models: ModelList | None
    forward_headers: frozenset[str]
    set_headers: tuple[tuple[str, str], ...]
    forward_query: frozenset[str] | None
    connect_timeout_s: float | None
    first_byte_timeout_s: float | None
    idle_timeout_s: float | None
    ca_pem: str | None
    client_cert_pem: str | None
    proxy: BaseUrl | None
    allow_cleartext: bool
    declared: Declared


def parse_options(config: Mapping[str, str]) -> Options:
    """The common settings of a provider's config; keys of the type are passed over.

    Raises:
        BadInput: a value that cannot be meant, by its key.
    """
    return Options(
        path_prefix=_path_prefix(config.get("PATH_PREFIX")),
        paths=Leniency(_choice(config, "PATHS", list(Leniency), Leniency.SLASH)),
        models=ModelList(_choice(config, MODELS, list(ModelList), ModelList.PASSTHROUGH))
        if MODELS in config
        else None,
        forward_headers=_header_names(config.get("FORWARD_HEADERS")),
        set_headers=_set_headers(config),
        forward_query=_query_names(config.get("FORWARD_QUERY")),
        connect_timeout_s=_seconds(config, "CONNECT_TIMEOUT"),
        first_byte_timeout_s=_seconds(config, "FIRST_BYTE_TIMEOUT"),
        idle_timeout_s=_seconds(config, "IDLE_TIMEOUT"),
        ca_pem=_certificates(config, "CA_PEM"),
        client_cert_pem=_certificates(config, "CLIENT_CERT_PEM"),
        proxy=_proxy(config.get("PROXY")),
        declared=parse_declared(config),
        allow_cleartext=_choice(config, "ALLOW_CLEARTEXT", ["yes", "no"], "no") == "yes",
    )


def is_common(key: str) -> bool:
    """Whether every provider has that config key."""
    return key in COMMON_CONFIG_KEYS or (key.startswith(SET_HEADER) and len(key) > len(SET_HEADER))


def is_query_credential(name: str) -> bool:
    """Whether a query name is one by which services take a key."""
    return _QUERY_CREDENTIAL.fullmatch(name) is not None


def _path_prefix(text: str | None) -> str | None:
    if text is None:
        return None
    segments = text.split("/")
    if not _PREFIX.fullmatch(text) or "." in segments or ".." in segments:
        raise BadInput(f"config key PATH_PREFIX: {text!r}: expected a path like /v2, or /")
    return text


def _choice(config: Mapping[str, str], key: str, options: list[str], default: str) -> str:
    text = config.get(key)
    if text is None:
        return default
    if text not in options:
        words = [str(option) for option in options]
        raise BadInput(
            f"config key {key}: {text!r}: expected one of {', '.join(words)}"
            + did_you_mean(text, words)
        )
    return text


def _names(text: str, key: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if len(names) > MAX_NAMES or not all(names):
        raise BadInput(f"config key {key}: expected 1 to {MAX_NAMES} names with commas between")
    return names


def _header_names(text: str | None) -> frozenset[str]:
    names = _names(text, "FORWARD_HEADERS") if text is not None else []
    for name in names:
        if problem := judge_header_name(name):
            raise BadInput(f"config key FORWARD_HEADERS: {problem}")
    return frozenset(name.lower() for name in names)


def _set_headers(config: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for key, value in config.items():
        if not key.startswith(SET_HEADER):
            continue
        name = key.removeprefix(SET_HEADER).lower()
        if problem := judge_header_name(name) or judge_header_value(value):
            raise BadInput(f"config key {key}: {problem}")
        if name in found:
            raise BadInput(f"config key {key}: the header {name} is set twice")
        found[name] = value
    if len(found) > MAX_NAMES:
        raise BadInput(f"config keys {SET_HEADER}*: {MAX_NAMES} headers at most")
    return tuple(sorted(found.items()))


def _query_names(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    names = _names(text, "FORWARD_QUERY")
    for name in names:
        if not _QUERY_NAME.fullmatch(name):
            raise BadInput(f"config key FORWARD_QUERY: {name!r}: expected a name, or *")
        if is_query_credential(name):
            raise BadInput(f"config key FORWARD_QUERY: {name} carries a credential; never sent on")
    return frozenset(names)


def _seconds(config: Mapping[str, str], key: str) -> float | None:
    text = config.get(key)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or not 0 < float(text) <= MAX_TIMEOUT_S:
        raise BadInput(
            f"config key {key}: {text!r}: expected seconds, more than 0, "
            f"{MAX_TIMEOUT_S:.0f} at most (like 30 or 2.5)"
        )
    return float(text)


def _certificates(config: Mapping[str, str], key: str) -> str | None:
    text = config.get(key)
    if text is None:
        return None
    # Read by the library that will use it; cryptography would cost every proxy worker 10 MB.
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if len(text) > MAX_PEM or not text.isascii():
            raise ValueError("too long, or not ASCII")
        trial.load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError) as error:
        raise BadInput(
            f"config key {key}: expected the PEM text of at least one certificate, "
            f"{MAX_PEM} characters at most (--config {key}=@FILE)"
        ) from error
    return text


def _proxy(text: str | None) -> BaseUrl | None:
    if text is None:
        return None
    url = parse_base_url(text, "config key PROXY", cleartext_anywhere=True)
    if url.scheme != "http" or url.path:
        raise BadInput(f"config key PROXY: {text!r}: expected http://HOST:PORT")
    return url
