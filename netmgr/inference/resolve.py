"""Owns: what a provider and a model come to: the route that workers act on.

Knows nothing of storage and of who may use a route. The provider's settings are judged by
netmgr.inference.profiles, once more here: nothing is resolved that would not be stored.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from netmgr.errors import BadInput
from netmgr.inference.dialect import Auth, CallShape, Dialect
from netmgr.inference.options import MAX_TIMEOUT_S, Options, parse_options
from netmgr.inference.profiles import (
    Provider,
    auth_method,
    base_url_of,
    configured_base_url,
    judge_provider,
    provider_type,
    validate_aliases,
    validate_credential,
    validate_model,
)
from netmgr.inference.provider_type import (
    MODEL,
    AuthMethod,
    ProviderType,
    Variant,
    fill_known,
    words_in,
)
from netmgr.inference.route import (
    DEFAULT_CONNECT_TIMEOUT_S,
    DEFAULT_IDLE_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    InferenceRoute,
)
from netmgr.inference.words import filled, missing_word, words_with_model


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
    kind = provider.kind or provider_type(provider.type)
    judge_provider(kind, provider.credentials, provider.config)
    for key, value in provider.credentials.items():
        validate_credential(key, value)
    options = parse_options(provider.config)
    words = words_with_model(kind, provider.config, validate_model(model, kind))
    variant = _variant(kind, provider.config, words)
    timeout = _seconds("timeout", timeout_s) or DEFAULT_TIMEOUT_S
    return InferenceRoute(
        id=route_id,
        provider=provider.name,
        type=kind.name,
        base=base_url_of(kind, provider.config, words),
        model=filled(kind, variant.model, words),
        aliases=_aliases(kind, provider.config, variant, aliases),
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


def judge_model(
    kind: ProviderType, config: Mapping[str, str], model: str, aliases: Mapping[str, str]
) -> None:
    """Whether a provider with that config can be asked for that model and those aliases.

    Raises:
        BadInput: it cannot.
    """
    words = words_with_model(kind, config, validate_model(model, kind))
    variant = _variant(kind, config, words)
    base_url_of(kind, config, words)
    filled(kind, variant.model, words)
    _aliases(kind, config, variant, aliases)
    for call in variant.calls.values():
        _call(kind, call, words)


def _aliases(
    kind: ProviderType, config: Mapping[str, str], variant: Variant, aliases: Mapping[str, str]
) -> dict[str, str]:
    """The aliases' models as the provider calls them.

    Raises:
        BadInput: one of them is asked in another way than the route's own model.
    """
    found = {}
    for name, model in validate_aliases(aliases, kind).items():
        words = words_with_model(kind, config, model)
        if _variant(kind, config, words) is not variant:
            raise BadInput(
                f"alias {name!r}: type {kind.name} asks {model!r} by another protocol than the "
                "route's own model; give it a route of its own"
            )
        found[name] = filled(kind, variant.model, words)
    return found


def _variant(kind: ProviderType, config: Mapping[str, str], words: Mapping[str, str]) -> Variant:
    for variant in kind.variants:
        if variant.holds(words):
            break
    else:
        raise BadInput(f"model {words[MODEL]!r}: type {kind.name} does not say how it is asked")
    key = configured_base_url(kind, config)
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
            region=filled(kind, method.region, words),
        ),
        forward_headers=variant.forward_headers | options.forward_headers,
        add_headers=variant.add_headers,
        set_headers=options.set_headers,
        forward_query=kind.forward_query
        if options.forward_query is None
        else options.forward_query,
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
            raise BadInput(missing_word(kind, word))
    return replace(call, target=texts[0], stream_target=texts[1])


def _seconds(what: str, value: float) -> float:
    if not 0 <= value <= MAX_TIMEOUT_S:  # a NaN fails both comparisons
        raise BadInput(f"{what} {value!r}: expected 0 to {MAX_TIMEOUT_S:.0f} seconds")
    return float(value)
