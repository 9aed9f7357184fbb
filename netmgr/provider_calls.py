"""Owns: the questions of the control API about providers, as values; the rest is netmgr.calls.

Knows nothing of sockets or httpx.
"""

from collections.abc import Mapping

from netmgr.calls import CHANGE_S, Call, Json, given, path_part


def _content(
    credentials: Mapping[str, str], config: Mapping[str, str], expires: Mapping[str, float]
) -> Json:
    return {"credentials": dict(credentials), "config": dict(config), "expires": dict(expires)}


def provider_create(
    name: str,
    kind: str,
    credentials: Mapping[str, str],
    config: Mapping[str, str],
    expires: Mapping[str, float],
    refresh: Json | None = None,
) -> Call[Json]:
    """Store a provider. The answer names the credentials' keys, never a value.

    Args:
        expires: when credentials end, epoch seconds; 0 is never.
        refresh: `renewal`'s: a credential that is fetched, first before the answer.
    """
    body = {"name": name, "type": kind, **_content(credentials, config, expires)}
    if refresh is not None:
        body["refresh"] = refresh
    return Call("POST", "/v1/providers", body=body, deadline_s=CHANGE_S)


def provider_list() -> Call[Json]:
    """`{"providers": [...]}`."""
    return Call("GET", "/v1/providers")


def credential_names(providers: Json) -> frozenset[str]:
    """Names of all credentials in the answer to `provider_list`. Variables of these names hold
    secrets of the operator's, and stay out of a sandbox."""
    return frozenset(name for p in providers["providers"] for name in p["credentials"])


def provider_get(name: str) -> Call[Json]:
    """One provider."""
    return Call("GET", f"/v1/providers/{path_part(name)}")


def provider_update(
    name: str,
    credentials: Mapping[str, str],
    config: Mapping[str, str],
    expires: Mapping[str, float],
    *,
    force: bool,
) -> Call[Json]:
    """Change what is given; an empty value removes the key. With `force`, calls end that are under
    way with what it replaces."""
    body = {**_content(credentials, config, expires), "force": force}
    return Call("PATCH", f"/v1/providers/{path_part(name)}", body=body, deadline_s=CHANGE_S)


def provider_delete(name: str, *, force: bool) -> Call[Json]:
    """Delete a provider; with `force` even where a route refers to it."""
    return Call(
        "DELETE",
        f"/v1/providers/{path_part(name)}",
        query=given(force=1 if force else None),
        deadline_s=CHANGE_S,
    )


def provider_types() -> Call[Json]:
    """What kinds of provider there are, with the names of their credentials."""
    return Call("GET", "/v1/provider-types")


# -- credentials that renew themselves -------------------------------------------------------------


def _refresh(name: str) -> str:
    return f"/v1/providers/{path_part(name)}/refresh"


def refresh_status(name: str) -> Call[Json]:
    """`{"provider", "refresh": [...]}`: names of secrets, never values."""
    return Call("GET", _refresh(name))


def renewal(
    strategy: str,
    material: Mapping[str, str],
    secrets: Mapping[str, str],
    *,
    key: str | None = None,
) -> Json:
    """How a credential renews itself, as the API takes it.

    Args:
        key: which; None is the usual one of the provider's type.
    """
    return {
        "key": key,
        "strategy": strategy,
        "material": dict(material),
        "secrets": dict(secrets),
    }


def refresh_configure(name: str, refresh: Json) -> Call[Json]:
    """Renew a credential by itself from now on; a token is fetched before the answer."""
    return Call("PUT", _refresh(name), body=refresh, deadline_s=CHANGE_S)


def refresh_rotate(name: str, *, key: str | None) -> Call[Json]:
    """Renew now."""
    return Call("POST", f"{_refresh(name)}/rotate", body={"key": key}, deadline_s=CHANGE_S)


def refresh_delete(name: str, *, key: str | None) -> Call[Json]:
    """Renew no longer."""
    return Call("DELETE", _refresh(name), query=given(key=key), deadline_s=CHANGE_S)


# -- the key of what is encrypted at rest ----------------------------------------------------------


def vault_status() -> Call[Json]:
    """Where the key comes from, which it is, and how much is under it."""
    return Call("GET", "/v1/vault")


def vault_rotate() -> Call[Json]:
    """Make a new key and put everything under it."""
    return Call("POST", "/v1/vault/rotate", deadline_s=CHANGE_S)
