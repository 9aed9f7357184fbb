"""Owns: what the OpenAPI document says of providers and model inference: a table and examples."""

from typing import Any, Final

from netmgr import answers
from netmgr.control.operation import CHANGE, NOT_FOUND, Operation

Json = dict[str, Any]

_PROVIDER: Final[Json] = {
    "name": "openai",
    "type": "openai",
    "credentials": ["OPENAI_API_KEY"],
    "config": {},
}
_REFRESH: Final[Json] = {
    "provider": "vertex",
    "refresh": [{"key": "GOOGLE_ACCESS_TOKEN", "strategy": "google-service-account-jwt"}],
}
_ROUTE: Final[Json] = {"provider": "openai", "model": "gpt-5"}
_SIGN_ON: Final[Json] = {
    "key": None,
    "strategy": "oauth2-client-credentials",
    "material": {"token_url": "https://login.example.com/token", "client_id": "netmgr"},
    "secrets": {"client_secret": "..."},
}


CREDENTIALS: Final = {
    ("POST", "/v1/providers"): Operation(
        "provider_create",
        "Store a provider; no answer ever holds a credential's value",
        sent={"name": "openai", "type": "openai", "credentials": {"OPENAI_API_KEY": "sk-..."}},
        got=_PROVIDER,
        errors=(409, 502),
    ),
    ("GET", "/v1/providers"): Operation(
        "provider_list", "Every provider", got={"providers": [_PROVIDER]}
    ),
    ("GET", "/v1/provider-types"): Operation(
        "provider_types",
        "What kinds of provider there are",
        got={"types": [{"type": "openai", "from_existing": ["OPENAI_API_KEY"], "config": []}]},
    ),
    ("GET", "/v1/providers/{name}"): Operation(
        "provider_get", "One provider", got=_PROVIDER, errors=NOT_FOUND
    ),
    ("PATCH", "/v1/providers/{name}"): Operation(
        "provider_update",
        "Change what is given; an empty value removes the key",
        sent={"credentials": {"OPENAI_API_KEY": "sk-..."}},
        got=_PROVIDER,
        errors=CHANGE,
    ),
    ("DELETE", "/v1/providers/{name}"): Operation(
        "provider_delete",
        "Delete a provider; with `force` one that a route refers to",
        answers.Removed,
        got={"removed": ["openai"]},
        errors=CHANGE,
    ),
    ("GET", "/v1/providers/{name}/refresh"): Operation(
        "refresh_status", "How credentials renew themselves", got=_REFRESH, errors=NOT_FOUND
    ),
    ("PUT", "/v1/providers/{name}/refresh"): Operation(
        "refresh_configure",
        "Renew a credential by itself from now on",
        sent=_SIGN_ON,
        got=_REFRESH,
        errors=(404, 409, 502),
    ),
    ("DELETE", "/v1/providers/{name}/refresh"): Operation(
        "refresh_delete",
        "Renew no longer",
        answers.Removed,
        got={"removed": ["vertex"]},
        errors=NOT_FOUND,
    ),
    ("POST", "/v1/providers/{name}/refresh/rotate"): Operation(
        "refresh_rotate",
        "Renew now",
        sent={"key": None},
        got=_REFRESH,
        errors=(404, 502),
    ),
    ("GET", "/v1/vault"): Operation(
        "vault_status",
        "Where the key of what is encrypted at rest comes from",
        got={"source": "file", "key_id": "5b1c", "sealed": 12},
    ),
    ("POST", "/v1/vault/rotate"): Operation(
        "vault_rotate",
        "Make a new key and put everything under it",
        got={"key_id": "77aa", "sealed": 12},
    ),
}

INFERENCE: Final = {
    ("GET", "/v1/inference"): Operation(
        "inference_get",
        "Which model answers at inference.local, for all and for each sandbox",
        got={"routes": [_ROUTE], "standby": []},
        errors=NOT_FOUND,
    ),
    ("PUT", "/v1/inference"): Operation(
        "inference_set",
        "Point inference.local at a provider's model; probed before it is saved",
        sent=_ROUTE,
        got=_ROUTE,
        errors=(404, 409, 502),
    ),
    ("PATCH", "/v1/inference"): Operation(
        "inference_update",
        "Change what is given of a route",
        sent={"model": "gpt-5-mini"},
        got=_ROUTE,
        errors=(404, 409, 502),
    ),
    ("DELETE", "/v1/inference"): Operation(
        "inference_delete", "Forget a route; done also where none is set", got={"deleted": True}
    ),
    ("POST", "/v1/inference/test"): Operation(
        "inference_test",
        "Probe the route in force",
        sent={"sandbox": "build-17"},
        got={"ok": True},
        errors=(404, 502),
    ),
    ("GET", "/v1/inference/limits"): Operation(
        "limits_get", "Limits and what is used of them", got={"limits": []}
    ),
    ("PATCH", "/v1/inference/limits"): Operation(
        "limits_set",
        "Change single limits of a sandbox, of a tenant, or of all others",
        sent={"tenant": "research", "limits": {"tokens_per_day": 1000000}},
        got={"tenant": "research"},
        errors=NOT_FOUND,
    ),
    ("DELETE", "/v1/inference/limits"): Operation(
        "limits_delete", "Forget limits and what was used of them", got={"deleted": True}
    ),
    ("GET", "/v1/inference/prices"): Operation(
        "prices_get", "What models cost", got={"currency": "USD", "prices": {}}
    ),
    ("PUT", "/v1/inference/prices"): Operation(
        "prices_set",
        "Replace the price file",
        sent={"text": "currency: USD\nmodels: {}\n", "source": "prices.yaml"},
        got={"currency": "USD"},
    ),
    ("DELETE", "/v1/inference/prices"): Operation(
        "prices_delete", "Forget the price file", got={"deleted": True}
    ),
    ("GET", "/v1/inference/usage"): Operation(
        "inference_usage",
        "Tokens and cost, by model, provider, sandbox, tenant, hour or day",
        got={"by": "model", "usage": []},
    ),
}
