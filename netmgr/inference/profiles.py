"""Owns: the judgement of a provider's settings, before they are stored.

Knows nothing of storage, encryption or sending. What a type is stands in
netmgr.inference.provider_type, which types there are in netmgr.inference.catalogue.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.base_url import MOCK, BaseUrl, parse_base_url
from netmgr.inference.catalogue import Catalogue, built_in
from netmgr.inference.defaults import DEFAULT_MODEL, judge_defaults
from netmgr.inference.options import (
    BASE_URL,
    CLIENT_KEY,
    COMMON_CONFIG_KEYS,
    COMMON_CREDENTIALS,
    PROXY_CREDENTIAL,
    Options,
    is_common,
    parse_options,
)
from netmgr.inference.provider_type import AuthMethod, ProviderType
from netmgr.inference.words import filled, words_of
from netmgr.secret import Secret

MAX_CREDENTIAL: Final = 8192  # characters; the longest in use are JWTs of about 2 KiB
MAX_MODEL: Final = 256  # characters; it is spliced into every request
MAX_ALIASES: Final = 64  # of one route; agents in use ask for at most a handful of models

_PEM_KEY: Final = re.compile(
    r"-----BEGIN (EC |RSA |)PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END \1PRIVATE KEY-----\s*"
)
_UNSAFE_IN_SEGMENT: Final = re.compile(r"[/\\?#%\s]|\.\.")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as the operator created it and `validate_provider` passed it.

    Attributes:
        kind: what `type` means; the built-in type of that name where None.
    """

    name: str
    type: str
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    kind: ProviderType | None = None


def provider_type(name: str, types: Catalogue | None = None) -> ProviderType:
    """The type called `name`; of the built-in ones where no catalogue is given.

    Raises:
        BadInput: there is no such type; names the nearest.
    """
    return (types or built_in()).get(name)


def config_keys(kind: ProviderType) -> tuple[str, ...]:
    """Every config key that a provider of that type may have."""
    return (*kind.base_url_keys, *kind.settings, *COMMON_CONFIG_KEYS)


def validate_provider(
    type_name: str,
    credentials: Collection[str],
    config: Mapping[str, str],
    types: Catalogue | None = None,
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
    kind = provider_type(type_name, types)
    judge_provider(kind, credentials, config)
    return kind


def judge_provider(
    kind: ProviderType, credentials: Collection[str], config: Mapping[str, str]
) -> None:
    """The same where the type is known.

    Raises:
        BadInput: as `validate_provider`.
    """
    _judge_config_keys(kind, config)
    options = parse_options(config)
    method = auth_method(kind, credentials)
    _judge_companions(credentials, options)
    words = words_of(kind, config)
    base = base_url_of(kind, config)
    _judge_destination(kind, method, base, config)
    judge_defaults(config, base)
    if DEFAULT_MODEL in config:
        validate_model(config[DEFAULT_MODEL])
    for setting, rule in kind.settings.items():
        if rule.required and rule.word not in words:
            raise BadInput(f"missing config key {setting}: expected {rule.expected or 'a value'}")


def auth_method(kind: ProviderType, credentials: Collection[str]) -> AuthMethod:
    """The way to be let in that exactly these credentials are for.

    Raises:
        BadInput: an unknown name, or none or two ways at once.
    """
    known = (*kind.credential_names, *COMMON_CREDENTIALS)
    for name in credentials:
        if name not in known:
            raise BadInput(
                f"unknown credential {name!r} for type {kind.name}; it has "
                + ", ".join(kind.credential_names or ("none",))
                + did_you_mean(name, known)
            )
    given = frozenset(credentials) - set(COMMON_CREDENTIALS)
    for method in kind.auth:
        if method.fits(given):
            return method
    ways = " or ".join(" and ".join(m.credentials) or "none" for m in kind.auth)
    if not given:
        first = kind.auth[0].credentials[0]
        raise BadInput(
            f"missing credential {ways}: a provider of type {kind.name} needs it "
            f"(--credential {first} reads the environment variable)"
        )
    raise BadInput(
        f"credentials {', '.join(sorted(given))}: a provider of type {kind.name} takes {ways}"
    )


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
    if key == CLIENT_KEY:
        if not _PEM_KEY.fullmatch(text):
            raise BadInput(f"credential {key}: expected one private key in PEM, not encrypted")
        return
    for place, char in enumerate(text, 1):
        if not "\x21" <= char <= "\x7e":
            raise BadInput(
                f"credential {key}: character {place} of {len(text)} is a blank, a control or "
                "a non-ASCII character; expected visible ASCII (a trailing newline in a file?)"
            )
    if key == PROXY_CREDENTIAL and ":" not in text:
        raise BadInput(f"credential {key}: expected USER:PASSWORD")


def validate_model(model: str, kind: ProviderType | None = None) -> str:
    """The model's name as the operator gave it.

    Args:
        kind: the type of provider that it is for, where that is known.

    Raises:
        BadInput: blank, padded, too long, or with a control character; or it stands in a path
            of this type and could lead elsewhere.
    """
    if not model or model != model.strip() or len(model) > MAX_MODEL or not model.isprintable():
        raise BadInput(
            f"model {model!r}: expected 1 to {MAX_MODEL} printable characters without blanks "
            "around them"
        )
    segment = kind is not None and kind.segment_model
    if segment and (_UNSAFE_IN_SEGMENT.search(model) or not model.isascii()):
        assert kind is not None
        raise BadInput(
            f"model {model!r}: it stands in the path of a {kind.name} request; expected no "
            "'/', '\\', '?', '#', '%', '..' or blanks"
        )
    return model


def validate_aliases(
    aliases: Mapping[str, str], kind: ProviderType | None = None
) -> dict[str, str]:
    """What clients may ask for by name -> the model that they get.

    Raises:
        BadInput: too many, or a name or model that `validate_model` refuses.
    """
    if len(aliases) > MAX_ALIASES:
        raise BadInput(f"{len(aliases)} aliases: a route takes {MAX_ALIASES}")
    return {validate_model(name): validate_model(model, kind) for name, model in aliases.items()}


def base_url_of(
    kind: ProviderType, config: Mapping[str, str], words: Mapping[str, str] | None = None
) -> BaseUrl:
    """Where a provider's requests go.

    Raises:
        BadInput: as `parse_base_url`; or there is none.
    """
    chosen = configured_base_url(kind, config)
    if chosen is not None:
        base = parse_base_url(
            config[chosen],
            f"config key {chosen}",
            query_allowed=kind.base_url_query,
            mock_allowed=kind.mock,
        )
        return _with_vendors_path(kind, base, f"config key {chosen}")
    if kind.base_url is None:
        key = (*kind.base_url_keys, BASE_URL)[0]
        raise BadInput(f"missing config key {key}: type {kind.name} has no base URL of its own")
    text = filled(kind, kind.base_url, words if words is not None else words_of(kind, config))
    return parse_base_url(text, f"type {kind.name}", query_allowed=kind.base_url_query)


def _with_vendors_path(kind: ProviderType, base: BaseUrl, where: str) -> BaseUrl:
    """A base URL on a vendor's own host, with one of the paths that there are.

    Raises:
        BadInput: it has another; the message names all of them on that host.
    """
    if not kind.base_url_paths or not base.is_below(kind.base_url_hosts):
        return base
    if not base.path and not base.query:
        return replace(base, path=kind.base_url_paths[0])
    given = {part.partition("=")[0] for part in base.query.split("&")}
    for form in kind.base_url_paths:
        path, _, name = form.partition("?")
        wanted = re.escape(path).replace(r"\*", "[^/]+")
        if re.fullmatch(wanted, base.path) and (not name or name in given):
            return base
    forms = [f"{base.origin}{form}".replace("*", "NAME") for form in kind.base_url_paths]
    known = ", ".join(f"{form}=..." if "?" in form else form for form in forms)
    raise BadInput(f"{where}: {base} is no base URL of {kind.title}; expected one of {known}")


def configured_base_url(kind: ProviderType, config: Mapping[str, str]) -> str | None:
    """The config key that replaces the base URL; None where none is given.

    Raises:
        BadInput: two are given.
    """
    given = [key for key in (*kind.base_url_keys, BASE_URL) if key in config]
    if len(given) > 1:
        raise BadInput(f"config keys {' and '.join(given)}: both give the base URL; keep one")
    return given[0] if given else None


# -- judging --------------------------------------------------------------------------------


def _judge_config_keys(kind: ProviderType, config: Mapping[str, str]) -> None:
    keys = config_keys(kind)
    for key in config:
        if key not in keys and not is_common(key):
            raise BadInput(
                f"unknown config key {key!r} for type {kind.name}; expected one of "
                + ", ".join(keys)
                + did_you_mean(key.upper(), keys)
            )


def _judge_companions(credentials: Collection[str], options: Options) -> None:
    """Two settings of which each means nothing without the other."""
    pairs = (
        (CLIENT_KEY, options.client_cert_pem is not None, "CLIENT_CERT_PEM"),
        (PROXY_CREDENTIAL, options.proxy is not None, "PROXY"),
    )
    for credential, has_config, key in pairs:
        if credential in credentials and not has_config:
            raise BadInput(f"credential {credential}: needs the config key {key} beside it")
    if options.client_cert_pem is not None and CLIENT_KEY not in credentials:
        raise BadInput(f"config key CLIENT_CERT_PEM: needs the credential {CLIENT_KEY} beside it")


def _judge_destination(
    kind: ProviderType, method: AuthMethod, base: BaseUrl, config: Mapping[str, str]
) -> None:
    """Whether a credential of that kind may go to that base URL."""
    key = configured_base_url(kind, config)
    if method.needs_base_url and key is None:
        names = " or ".join(" and ".join(m.credentials) for m in kind.auth if m.credentials)
        raise BadInput(
            f"missing config key {(*kind.base_url_keys, BASE_URL)[0]}: without a credential "
            f"({names}) a provider of type {kind.name} has no base URL of its own"
        )
    where = f"config key {key}" if key is not None else f"type {kind.name}"
    if base.scheme == MOCK:
        return  # nothing leaves
    if method.hosts and not (
        base.scheme == "https" and base.port == 443 and base.is_below(method.hosts)
    ):
        raise BadInput(
            f"{where}: {base} is none of the vendor's hosts; a credential of type {kind.name} "
            f"goes by https, port 443, to hosts below {', '.join(method.hosts)} only"
        )
    cleartext = base.scheme == "http" and not base.on_loopback
    if cleartext and method.credentials and config.get("ALLOW_CLEARTEXT") != "yes":
        raise BadInput(
            f"{where}: http:// would send the key in the clear to {base.host}; expected https:// "
            "(or --config ALLOW_CLEARTEXT=yes, for a private address that you trust the way to)"
        )
