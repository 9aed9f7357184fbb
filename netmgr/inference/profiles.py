"""Owns: the judgement of a provider's settings, and the resolving of a route from them.

Knows nothing of storage, encryption or sending. What a type is stands in
netmgr.inference.provider_type, which types there are in netmgr.inference.catalogue.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from netmgr.errors import BadInput, did_you_mean
from netmgr.inference.base_url import BaseUrl, parse_base_url
from netmgr.inference.catalogue import Catalogue, built_in
from netmgr.inference.dialect import Auth, AuthStyle, CallShape, Dialect
from netmgr.inference.options import (
    BASE_URL,
    CLIENT_KEY,
    COMMON_CONFIG_KEYS,
    COMMON_CREDENTIALS,
    MAX_TIMEOUT_S,
    PROXY_CREDENTIAL,
    Options,
    is_common,
    parse_options,
)
from netmgr.inference.provider_type import (
    MODEL,
    AuthMethod,
    ProviderType,
    UnknownWord,
    Variant,
    fill,
    fill_known,
    words_in,
)
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

_PEM_KEY: Final = re.compile(
    r"-----BEGIN (?:EC |RSA )?PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END (?:EC |RSA )?PRIVATE KEY-----\s*"
)
_UNSAFE_IN_SEGMENT: Final = re.compile(r"[/\\?#%\s]|\.\.")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as the operator created it and `validate_provider` passed it."""

    name: str
    type: str
    credentials: Mapping[str, Secret] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)


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
    _judge_config_keys(kind, config)
    options = parse_options(config)
    method = auth_method(kind, credentials)
    _judge_companions(credentials, options)
    words = _words(kind, config)
    base = base_url_of(kind, config)
    _judge_destination(kind, method, base, config)
    for setting, rule in kind.settings.items():
        if rule.required and rule.word not in words:
            raise BadInput(f"missing config key {setting}: expected {rule.expected or 'a value'}")
    return kind


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
        where = f"config key {chosen}"
        return parse_base_url(config[chosen], where, query_allowed=kind.base_url_query)
    if kind.base_url is None:
        key = (*kind.base_url_keys, BASE_URL)[0]
        raise BadInput(f"missing config key {key}: type {kind.name} has no base URL of its own")
    try:
        text = fill(kind.base_url, words if words is not None else _words(kind, config))
    except UnknownWord as missing:
        raise BadInput(_missing_word(kind, str(missing.args[0]))) from None
    return parse_base_url(text, f"type {kind.name}", query_allowed=kind.base_url_query)


def configured_base_url(kind: ProviderType, config: Mapping[str, str]) -> str | None:
    """The config key that replaces the base URL; None where none is given.

    Raises:
        BadInput: two are given.
    """
    given = [key for key in (*kind.base_url_keys, BASE_URL) if key in config]
    if len(given) > 1:
        raise BadInput(f"config keys {' and '.join(given)}: both give the base URL; keep one")
    return given[0] if given else None


def resolve_route(
    provider: Provider,
    model: str,
    *,
    route_id: str,
    timeout_s: float = 0,
    total_timeout_s: float = 0,
    aliases: Mapping[str, str] = MappingProxyType({}),
    types: Catalogue | None = None,
) -> InferenceRoute:
    """What a route of `provider` and `model` comes to.

    Args:
        timeout_s: 0 is the default of 60 s.
        total_timeout_s: 0 is no bound.
        types: which types there are; the built-in ones where None.

    Raises:
        BadInput: the provider or the model would not pass validation.
    """
    kind = validate_provider(provider.type, provider.credentials, provider.config, types)
    for key, value in provider.credentials.items():
        validate_credential(key, value)
    options = parse_options(provider.config)
    words = _with_model(kind, provider.config, model)
    variant = _variant(kind, provider, words)
    timeout = _seconds("timeout", timeout_s) or DEFAULT_TIMEOUT_S
    return InferenceRoute(
        id=route_id,
        provider=provider.name,
        type=kind.name,
        base=base_url_of(kind, provider.config, words),
        model=_filled(kind, variant.model, words),
        aliases=_aliases(kind, provider, variant, aliases),
        dialect=_dialect(kind, variant, auth_method(kind, provider.credentials), options, words),
        credentials=dict(provider.credentials),
        timeout_s=timeout,
        total_timeout_s=_seconds("total timeout", total_timeout_s) or None,
        connect_timeout_s=options.connect_timeout_s or DEFAULT_CONNECT_TIMEOUT_S,
        first_byte_timeout_s=options.first_byte_timeout_s or timeout,
        idle_timeout_s=options.idle_timeout_s or DEFAULT_IDLE_TIMEOUT_S,
        ca_pem=options.ca_pem,
        client_cert_pem=options.client_cert_pem,
        proxy=options.proxy,
        config=dict(provider.config),
    )


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


# -- resolving ------------------------------------------------------------------------------


def _words(kind: ProviderType, config: Mapping[str, str]) -> dict[str, str]:
    """What the settings say, and what follows from them.

    Raises:
        BadInput: a value does not have the form of its setting.
    """
    words: dict[str, str] = {}
    for key, setting in kind.settings.items():
        value = config.get(key, setting.default)
        if value is None:
            continue
        if setting.form is not None and not setting.form.fullmatch(value):
            raise BadInput(f"config key {key}: {value!r}: expected {setting.expected}")
        words[setting.word] = value
    return _derived(kind, words)


def _with_model(kind: ProviderType, config: Mapping[str, str], model: str) -> dict[str, str]:
    return _derived(kind, _words(kind, config) | {MODEL: validate_model(model, kind)})


def _aliases(
    kind: ProviderType, provider: Provider, variant: Variant, aliases: Mapping[str, str]
) -> dict[str, str]:
    """The aliases' models as the provider calls them.

    Raises:
        BadInput: one of them is asked in another way than the route's own model.
    """
    found = {}
    for name, model in validate_aliases(aliases, kind).items():
        words = _with_model(kind, provider.config, model)
        if _variant(kind, provider, words) is not variant:
            raise BadInput(
                f"alias {name!r}: type {kind.name} asks {model!r} by another protocol than the "
                "route's own model; give it a route of its own"
            )
        found[name] = _filled(kind, variant.model, words)
    return found


def _derived(kind: ProviderType, words: Mapping[str, str]) -> dict[str, str]:
    found = dict(words)
    for name, word in kind.words.items():
        if name not in found and (value := word.derive(found)) is not None:
            found[name] = value
    return found


def _variant(kind: ProviderType, provider: Provider, words: Mapping[str, str]) -> Variant:
    for variant in kind.variants:
        if variant.holds(words):
            break
    else:
        raise BadInput(f"model {words[MODEL]!r}: type {kind.name} does not say how it is asked")
    key = configured_base_url(kind, provider.config)
    if variant.base_url_fixed and key is not None:
        what = " and ".join(f"{word} {value}" for word, value in variant.when.items())
        raise BadInput(f"config key {key}: the base URL cannot be replaced for {what}")
    return variant


def _dialect(
    kind: ProviderType,
    variant: Variant,
    method: AuthMethod,
    options: Options,
    words: Mapping[str, str],
) -> Dialect:
    return Dialect(
        protocols=variant.protocols,
        auth=Auth(
            style=method.style,
            credentials=method.credentials,
            optional=method.optional,
            header=method.header,
            service=method.service,
            region=_filled(kind, method.region, words),
        ),
        forward_headers=variant.forward_headers | options.forward_headers,
        add_headers=variant.add_headers,
        set_headers=options.set_headers,
        forward_query=options.forward_query,
        path_prefix=options.path_prefix or kind.path_prefix,
        paths=options.paths,
        models=options.models or variant.models,
        calls={name: _call(kind, call, words) for name, call in variant.calls.items()},
        patterns=kind.patterns,
    )


def _call(kind: ProviderType, call: CallShape, words: Mapping[str, str]) -> CallShape:
    """The call with every word filled in but the model: aliases have others."""
    others = {word: value for word, value in words.items() if word != MODEL}
    texts = [t and fill_known(t, others) for t in (call.target, call.stream_target)]
    for text in texts:
        for word in words_in(text or "") - {MODEL}:
            raise BadInput(_missing_word(kind, word))
    return replace(call, target=texts[0], stream_target=texts[1])


def _filled(kind: ProviderType, text: str, words: Mapping[str, str]) -> str:
    try:
        return fill(text, words)
    except UnknownWord as missing:
        raise BadInput(_missing_word(kind, str(missing.args[0]))) from None


def _missing_word(kind: ProviderType, word: str) -> str:
    """What to do where a word has no value."""
    for key, setting in kind.settings.items():
        if setting.word == word:
            basis = kind.words.get(word)
            why = f" (it does not follow from the {basis.of})" if basis is not None else ""
            return f"missing config key {key}: expected {setting.expected}{why}"
    return f"type {kind.name}: nothing says what {{{word}}} is here"


def _seconds(what: str, value: float) -> float:
    if not 0 <= value <= MAX_TIMEOUT_S:  # a NaN fails both comparisons
        raise BadInput(f"{what} {value!r}: expected 0 to {MAX_TIMEOUT_S:.0f} seconds")
    return float(value)
